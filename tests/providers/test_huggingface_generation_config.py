"""Answers of Hugging Face models follow ``generation_config.json`` as transformers' own ``generate`` does."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from mcp_server.interfaces import GenerateRequest
from mcp_server.providers.huggingface.protocol import AnyMessage, Done, Failure, TextPiece
from mcp_server.values import GenerationConfig
from tests.providers.test_huggingface_embedding import settings

PROMPTS = ("Hi", "The quick brown fox", "1, 2, 3", "zebra")
SAMPLED = {"do_sample": True, "temperature": 1.5}
RULES: dict[str, dict[str, Any]] = {
    "nothing": {},
    "repetition_penalty": {"repetition_penalty": 1.3},
    "stop_strings": {"stop_strings": ["e", "1"]},
    "suppress_tokens": {"suppress_tokens": list(range(30, 60))},
    "begin_suppress_tokens": {"begin_suppress_tokens": list(range(20, 200))},
    "bad_words_ids": {"bad_words_ids": [[number] for number in range(30, 90)] + [[100, 101]]},
    "sequence_bias": {"sequence_bias": [[[97], 30.0], [[98], -30.0]]},
    "no_repeat_ngram_size": {"no_repeat_ngram_size": 1},
    "min_new_tokens": {"min_new_tokens": 30},
    "min_length": {"min_length": 30},
    "max_new_tokens": {"max_new_tokens": 7},
    "max_length": {"max_length": 40},
    "forced_eos_token_id": {"forced_eos_token_id": 5},
    "exponential_decay_length_penalty": {"exponential_decay_length_penalty": [3, 1.5]},
    "remove_invalid_values": {"remove_invalid_values": True},
    "one of the likeliest": {**SAMPLED, "top_k": 1},
    "top_p": {**SAMPLED, "top_p": 0.0001},
    "min_p": {**SAMPLED, "min_p": 1.0},
    "epsilon_cutoff": {**SAMPLED, "top_k": 0, "epsilon_cutoff": 0.999},
}
"""What such a file can say. Where it samples, only one token is left to choose from."""


def folder_of(model: Path, folder: Path, rules: dict[str, Any]) -> Path:
    """A copy of a model whose file has these rules besides."""
    shutil.copytree(model, folder)
    file = folder / "generation_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | rules))
    return folder


def answer(loaded: Any, prompt: str, **config: Any) -> tuple[str, Done]:
    """What the worker writes."""
    from mcp_server.providers.huggingface.worker.conversation import prompt_of
    from mcp_server.providers.huggingface.worker.generation import Generation
    from mcp_server.providers.huggingface.worker.writer import Writer

    sent: list[AnyMessage] = []
    tokenizer = loaded.tokenizer
    writer = Writer(
        loaded.model,
        tokenizer,
        context_window=512,
        ends=[tokenizer.eos_token_id],
        thinks=False,
        calls=False,
        name="m",
    )
    generation = Generation(writer, 1, sent.extend)
    request = GenerateRequest(model="m", prompt=prompt, config=GenerationConfig(**config))
    generation.submit(0, request, prompt_of(request, tokenizer, "m"))
    generation.advance()
    while generation.busy:
        generation.advance()
    assert not [message for message in sent if isinstance(message, Failure)]
    (done,) = [message for message in sent if isinstance(message, Done)]
    return "".join([message.text for message in sent if isinstance(message, TextPiece)]), done


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_is_followed_as_transformers_does(tiny_model: Path, tmp_path: Path, rule: str) -> None:
    """Token for token."""
    import torch

    from mcp_server.providers.huggingface.worker.loading import load

    loaded = load(settings(folder_of(tiny_model, tmp_path / "model", RULES[rule])))
    limit = {} if rule.startswith("max_") else {"max_new_tokens": 48}
    for prompt in PROMPTS:
        ids = loaded.tokenizer(prompt, return_tensors="pt")["input_ids"]
        made = loaded.model.generate(ids, attention_mask=torch.ones_like(ids), tokenizer=loaded.tokenizer, **limit)
        expected = loaded.tokenizer.decode(made[0, ids.shape[1] :], skip_special_tokens=True)
        text, done = answer(loaded, prompt, **({"max_output_tokens": 48} if limit else {}))
        assert text == expected
        assert done.output_tokens == made.shape[1] - ids.shape[1]


def test_a_sampling_model_samples_from_fifty_tokens(tiny_model: Path, tmp_path: Path) -> None:
    """Where neither the file nor the call says from how many, as ``generate`` does; 0 in the call is all."""
    from mcp_server.providers.huggingface.worker.generation_config import AnswerRules
    from mcp_server.providers.huggingface.worker.loading import load

    loaded = load(settings(folder_of(tiny_model, tmp_path / "model", SAMPLED)))
    rules = AnswerRules(loaded.model.generation_config, loaded.tokenizer, ends=[], vocabulary=400)
    assert rules.temperature == 1.5

    def counts(top_k: int | None) -> list[int]:
        warpers = rules.warpers(temperature=1.0, top_k=top_k, top_p=None, min_p=None, typical_p=None)
        return [warper.top_k for warper in warpers if hasattr(warper, "top_k")]

    assert (counts(None), counts(7), counts(0)) == ([50], [7], [])


def test_what_is_not_followed_is_named(tiny_model: Path, tmp_path: Path) -> None:
    """Other ways of decoding, and nothing that changes no answer."""
    from mcp_server.providers.huggingface.worker.generation_config import AnswerRules
    from mcp_server.providers.huggingface.worker.loading import load

    rules = {"num_beams": 4, "penalty_alpha": 0.6, "num_return_sequences": 1, "use_cache": False, **SAMPLED}
    loaded = load(settings(folder_of(tiny_model, tmp_path / "model", rules)))
    assert AnswerRules(loaded.model.generation_config, loaded.tokenizer, ends=[], vocabulary=400).ignored == (
        "num_beams",
        "penalty_alpha",
    )


@pytest.mark.parametrize(
    "rules", [{"repetition_penalty": -1.0}, {"bad_words_ids": [[10**6]]}, {**SAMPLED, "top_k": -3}]
)
def test_rules_that_cannot_be_followed_are_reported(tiny_model: Path, tmp_path: Path, rules: dict[str, Any]) -> None:
    """When the model is loaded, and not to each caller."""
    from mcp_server.providers.huggingface.worker.failures import CannotLoad
    from mcp_server.providers.huggingface.worker.generation_config import AnswerRules
    from mcp_server.providers.huggingface.worker.loading import load

    loaded = load(settings(folder_of(tiny_model, tmp_path / "model", {})))
    for name, value in rules.items():
        setattr(loaded.model.generation_config, name, value)
    with pytest.raises(CannotLoad, match=r"generation_config\.json"):
        AnswerRules(loaded.model.generation_config, loaded.tokenizer, ends=[2], vocabulary=400)
