"""How much a model reasons before it answers: from the options of a call to llama.cpp's fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, get_args

from mcp_server.errors import UnsupportedByModel, Violation
from mcp_server.providers.llama_cpp.settings import LlamaCppModel, ReasoningEffort
from mcp_server.providers.llama_cpp.template import Template

EFFORTS: Final[tuple[str, ...]] = get_args(ReasoningEffort)
MAX_BUDGET: Final = 2**31 - 1
OWN_VARIABLES: Final = frozenset(
    ("add_generation_prompt", "bos_token", "eos_token", "json_schema", "messages", "tools", "tool_choice")
)
"""Variables of templates that the server itself sets."""
CHAT_OPTIONS: Final = ("chat_template_kwargs", "reasoning_effort", "thinking")
"""The ``provider_options`` of chats that are about the template."""


def violations(options: Mapping[str, Any]) -> list[Violation]:
    """The values that the options of :data:`CHAT_OPTIONS` do not take."""
    found: dict[str, str] = {}
    variables = options.get("chat_template_kwargs", {})
    if not isinstance(variables, Mapping):
        found["chat_template_kwargs"] = "must be an object"
    elif taken := OWN_VARIABLES & variables.keys():
        found[f"chat_template_kwargs.{min(taken)}"] = "is set by the server: leave it out"
    if options.get("reasoning_effort", "none") not in EFFORTS:
        found["reasoning_effort"] = f"must be one of {', '.join(EFFORTS)}"
    if "thinking" in options and not _is_thinking(options["thinking"]):
        found["thinking"] = 'must be {"type": "disabled"}, or {"type": "enabled"} with an integer budget_tokens from 1'
    return [Violation(field=f"provider_options.{name}", description=text) for name, text in found.items()]


def fields(options: Mapping[str, Any], name: str, model: LlamaCppModel, template: Template) -> dict[str, Any]:
    """The fields of a chat that say how much to reason.

    Args:
        options: the ``provider_options`` of the call, checked.
        name: the name of the model.
        model: its settings.
        template: what its chat template can express.

    Raises:
        UnsupportedByModel: the template cannot say it.
    """
    variables = dict(options.get("chat_template_kwargs", {}))
    made: dict[str, Any] = {}
    effort = options.get("reasoning_effort")
    if (thinking := options.get("thinking")) is not None:
        if thinking["type"] == "disabled":
            effort = "none"
        elif not template.reasoning:
            raise _unsupported(name, "does not reason: leave provider_options.thinking out")
        else:
            if "budget_tokens" in thinking:
                made["thinking_budget_tokens"] = int(thinking["budget_tokens"])
            if template.switch:
                variables.setdefault("enable_thinking", True)
    if effort is None and not variables.keys() & {"enable_thinking", "reasoning_effort"}:
        effort = model.reasoning_effort
    if effort == "none":
        if template.switch:
            variables["enable_thinking"] = False
        elif template.reasoning:
            raise _unsupported(name, "always reasons: its chat template cannot switch that off")
    elif effort is not None:
        if template.effort:
            made["reasoning_effort"] = effort
        elif not template.switch:
            raise _unsupported(name, "has a chat template without reasoning efforts: leave reasoning_effort out")
        if template.switch:
            variables["enable_thinking"] = True
    if variables:
        made["chat_template_kwargs"] = variables
    return made


def _is_thinking(value: Any) -> bool:
    if not isinstance(value, Mapping) or value.keys() - {"type", "budget_tokens"}:
        return False
    if value.get("type") == "disabled":
        return len(value) == 1
    budget = value.get("budget_tokens", 1)
    if isinstance(budget, bool) or not isinstance(budget, int | float):
        return False
    # Where numbers have only one kind, whole ones arrive as 1024.0.
    return value.get("type") == "enabled" and 1 <= budget <= MAX_BUDGET and budget == int(budget)


def _unsupported(name: str, problem: str) -> UnsupportedByModel:
    return UnsupportedByModel(f"the model {name} {problem}", metadata={"model": name, "option": "reasoning_effort"})
