"""What a chat template can express, told from its text: a model is listed before anything of it is loaded."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from mcp_server.model_files.gguf import ModelFile

CHAT_TEMPLATE: Final = "tokenizer.chat_template"
TOOL_TEMPLATE: Final = "tokenizer.chat_template.tool_use"
"""The metadata of a second template, which llama.cpp uses for requests with tools."""
_BLOCK: Final = re.compile(r"\{[{%](.*?)[%}]\}", re.DOTALL)
_TEXT: Final = re.compile(r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"", re.DOTALL)
_NAME: Final = re.compile(r"(?<![\w.])[A-Za-z_]\w*")
_THOUGHTS: Final = re.compile(r"<think|\[THINK|<\|channel|reasoning_content|thinking", re.IGNORECASE)


class Template(msgspec.Struct, frozen=True, kw_only=True):
    """What a chat template can express."""

    tools: bool = False
    """Tools, their calls and their results."""
    reasoning: bool = False
    """Reasoning, which models with such a template write before their answer."""
    switch: bool = False
    """That the model should reason or not: ``enable_thinking``."""
    effort: bool = False
    """How much the model should reason: ``reasoning_effort``."""


def template_of(file: ModelFile) -> Template:
    """What the chat template of a model file can express."""
    text = file.chat_template
    tool_text = file.metadata.get(TOOL_TEMPLATE)
    # A text in the template may contain any word; a variable is what decides.
    names = {
        name
        for block in _BLOCK.findall(text + (tool_text if isinstance(tool_text, str) else ""))
        for name in _NAME.findall(_TEXT.sub("", block))
    }
    return Template(
        tools="tools" in names,
        reasoning=bool(_THOUGHTS.search(text)) or not names.isdisjoint(("enable_thinking", "reasoning_effort")),
        switch="enable_thinking" in names,
        effort="reasoning_effort" in names,
    )
