"""What a model needs to write, made once and shared by all of its answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mcp_server.providers.huggingface.worker import trial
from mcp_server.providers.huggingface.worker.generation_config import AnswerRules


class Writer:
    """A model that writes.

    Args:
        model: a ``transformers`` model that generates.
        tokenizer: its tokenizer; only the generation's thread uses it.
        context_window: the most tokens of a prompt and its answer.
        ends: the tokens that end an answer.
        thinks: whether it writes reasoning.
        calls: whether it writes tool calls.
        name: what calls name it by.

    Raises:
        CannotLoad: it is of a kind that cannot be written with here, or its files contradict themselves.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        context_window: int,
        ends: Sequence[int],
        thinks: bool,
        calls: bool,
        name: str,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.context_window = context_window
        self.ends = frozenset(ends)
        self.rules = AnswerRules(
            model.generation_config,
            tokenizer,
            ends=ends,
            vocabulary=model.config.get_text_config().vocab_size,
        )
        self.thinks = thinks
        self.calls = calls
        self.name = name
        self.steps = trial.find(model)

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of some tokens."""
        text: str = self.tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text

    def output_limit(self, prompt: int, asked: int | None) -> int:
        """The most tokens of an answer to a prompt of that length."""
        room = self.context_window - prompt
        if asked is None:
            asked = self.rules.max_new_tokens
        if asked is None and self.rules.max_length is not None:
            asked = max(1, self.rules.max_length - prompt)
        return room if asked is None else min(asked, room)
