"""Chat templates of several forms: what they can express, and how llama.cpp writes and reads calls with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from mcp_server.errors import UnsupportedByModel
from mcp_server.model_files.gguf import ModelFile
from mcp_server.providers.llama_cpp.decision import opening_in
from mcp_server.providers.llama_cpp.provider import LlamaCppProvider
from mcp_server.providers.llama_cpp.settings import LlamaCppModel, LlamaCppSettings
from mcp_server.providers.llama_cpp.template import Template, template_of
from mcp_server.values import FinishReason
from tests.providers.conftest import events_of
from tests.providers.test_llama_cpp_tools import SHOWN, asking, calls_of, finish_of, user

HEAD = """{%- if tools %}{{- '<|im_start|>system\\nTools:' }}
{%- for tool in tools %}{{- '\\n' + tool | tojson }}{%- endfor %}{{- '<|im_end|>\\n' }}{%- endif %}
{%- for message in messages %}{{- '<|im_start|>' + message.role + '\\n' }}
{%- if message.content %}{{- message.content }}{%- endif %}
{%- for call in message.tool_calls %}"""
TAIL = """{%- endfor %}{{- '<|im_end|>\\n' }}{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""
BARE = """{{- '{"name": "' + call.function.name + '", "parameters": ' + (call.function.arguments | tojson) + '}' }}"""
LIST = """{%- if loop.first %}{{- '[TOOL_CALLS][' }}{%- else %}{{- ', ' }}{%- endif %}
{{- '{"name": "' + call.function.name + '", "arguments": ' + (call.function.arguments | tojson) + '}' }}
{%- if loop.last %}{{- ']' }}{%- endif %}"""
TAGS = """{{- '\\n<tool_call>\\n<function=' + call.function.name + '>\\n' }}
{%- for name, value in call.function.arguments|items %}
{{- '<parameter=' + name + '>\\n' + (value if value is string else value | tojson) + '\\n</parameter>\\n' }}
{%- endfor %}{{- '</function>\\n</tool_call>' }}"""


@pytest.mark.parametrize("calls", [BARE, LIST, TAGS], ids=["bare JSON", "a list", "tags"])
@pytest.mark.asyncio(loop_scope="session")
async def test_calls_are_read_in_the_form_of_the_template(model_file: Path, tmp_path: Path, calls: str) -> None:
    """Where the model chooses to call a tool, and where it must though it would rather not."""
    template = tmp_path / "form.jinja"
    template.write_text(HEAD + calls + TAIL, encoding="utf-8")
    model = LlamaCppModel(path=model_file, chat_template=template, temperature=0.0)
    provider = LlamaCppProvider(LlamaCppSettings(models={"tooled": model}))
    try:
        chosen = await events_of(provider, asking(*SHOWN, user("Weather in Paris?")))
        assert calls_of(chosen) == [("weather", {"city": "Paris"})]
        forced = await events_of(provider, asking(*SHOWN, user("Say hello."), mode="required"))
        assert finish_of(forced).reason is FinishReason.TOOL_CALLS
        assert {name for name, _ in calls_of(forced)} == {"weather"}
    finally:
        await provider.close()


@pytest.mark.asyncio(loop_scope="session")
async def test_what_a_template_refuses_is_refused(model_file: Path, tmp_path: Path) -> None:
    """Before an answer and in a count, of short prompts and long ones, with the words of the template."""
    template = tmp_path / "strict.jinja"
    refusal = "{%- if messages|length == 2 %}{{ raise_exception('Roles must alternate') }}{%- endif %}"
    template.write_text(refusal + HEAD + BARE + TAIL, encoding="utf-8")
    model = LlamaCppModel(path=model_file, chat_template=template)
    provider = LlamaCppProvider(LlamaCppSettings(models={"tooled": model}))
    try:
        for words in ("Hi.", "Hi. " * 200):
            request = asking(user(words), user("Hello?"), mode="none")
            with pytest.raises(UnsupportedByModel, match="Roles must alternate"):
                await events_of(provider, request)
            with pytest.raises(UnsupportedByModel, match="Roles must alternate"):
                await provider.count_tokens(request)
    finally:
        await provider.close()


@pytest.mark.parametrize(
    ("text", "can"),
    [
        ("", Template()),
        ("{% for m in messages %}{{ m.content }}{% endfor %}", Template()),
        ("{{ 'These tools: <tools>' }} tools {{ message.tools }}", Template()),
        ("{%- if tools %}{{ tools | tojson }}{% endif %}", Template(tools=True)),
        ("{%- for tool in\n tools -%}{% endfor %}", Template(tools=True)),
        ("{{ '<think>' }}", Template(reasoning=True)),
        ("{% if not enable_thinking %}{% endif %}", Template(reasoning=True, switch=True)),
        ("{{ 'Reasoning: ' + reasoning_effort }}", Template(reasoning=True, effort=True)),
    ],
)
def test_the_variables_of_a_template_tell_what_it_can_express(text: str, can: Template) -> None:
    """Not its texts, which may speak of anything."""
    file = ModelFile(path=Path("m.gguf"), size=1, metadata={"tokenizer.chat_template": text})
    assert template_of(file) == can


def test_a_second_template_for_tools_counts() -> None:
    """Some files have one, which llama.cpp uses where there are tools."""
    metadata = {"tokenizer.chat_template": "{{ messages }}", "tokenizer.chat_template.tool_use": "{{ tools }}"}
    assert template_of(ModelFile(path=Path("m.gguf"), size=1, metadata=metadata)).tools


@pytest.mark.parametrize(
    ("call", "opening"),
    [
        ('<tool_call>\n{"name": "%s", "arguments": {}}', "<tool_call>\n"),
        ('[TOOL_CALLS][{"name": "%s"}]', "[TOOL_CALLS]"),
        ("[TOOL_CALLS]%s[ARGS]{}", "[TOOL_CALLS]"),
        ('{"name": "%s"}', '{"name": "'),
        ("%s", ""),
    ],
)
def test_the_opening_of_a_call_is_what_all_calls_share(call: str, opening: str) -> None:
    """After the header of the message, and before the JSON that the model writes."""
    one, other, text = [f"user: Go.\nassistant: {said}\nuser: Go." for said in (call % "alpha", call % "beta", "Zulu")]
    assert opening_in(one, other, text) == opening
    assert opening_in(one, other, "another header: Zulu") == ""
    assert opening_in(one, other, "nothing") == ""
