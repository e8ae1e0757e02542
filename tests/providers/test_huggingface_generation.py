"""The steps in which Hugging Face models write, seen from inside: how many they are, of what, and that they end."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from mcp_server.interfaces import GenerateRequest
from mcp_server.providers.huggingface.protocol import AnyMessage, Done, Failure, Reading, TextPiece
from mcp_server.values import FinishReason, GenerationConfig

pytestmark = pytest.mark.usefixtures("transformers")

PROMPTS = [[(7 * number * place + 3 * place) % 250 + 1 for place in range(5 + 29 * number)] for number in range(4)]
"""Of several lengths, the longest read in several pieces."""
SMALL = {
    "vocab_size": 259,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}
NO_ENDS = {"eos_token_id": None, "bos_token_id": None, "pad_token_id": 0}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "full attention": ("LlamaConfig", SMALL),
    "sliding windows": ("MistralConfig", {**SMALL, "sliding_window": 24}),
    "both": ("Gemma2Config", {**SMALL, "head_dim": 8, "sliding_window": 24}),
    "learned positions": (
        "GPT2Config",
        {"vocab_size": 259, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 512},
    ),
    "a state": (
        "Mamba2Config",
        {
            "vocab_size": 259,
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_heads": 8,
            "head_dim": 8,
            "n_groups": 1,
            "state_size": 16,
            "chunk_size": 16,
        },
    ),
    "a state in itself": (
        "RecurrentGemmaConfig",
        {
            **SMALL,
            "lru_width": 32,
            "head_dim": 8,
            "attention_window_size": 16,
            "block_types": ["recurrent", "attention"],
        },
    ),
    "windows and a state": (
        "Qwen3NextConfig",
        {
            **SMALL,
            "head_dim": 8,
            "layer_types": ["linear_attention", "full_attention", "linear_attention"],
            "linear_num_key_heads": 2,
            "linear_num_value_heads": 4,
            "linear_key_head_dim": 8,
            "linear_value_head_dim": 8,
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 16,
            "shared_expert_intermediate_size": 16,
        },
    ),
    "positions of its own": (
        "BartConfig",
        {
            "vocab_size": 259,
            "d_model": 32,
            "decoder_layers": 2,
            "decoder_attention_heads": 4,
            "decoder_ffn_dim": 64,
            "max_position_embeddings": 512,
            "is_decoder": True,
            "is_encoder_decoder": False,
            "decoder_start_token_id": None,
            "forced_eos_token_id": None,
        },
    ),
    "positions after the padding's": (
        "RobertaConfig",
        {**SMALL, "num_key_value_heads": 4, "max_position_embeddings": 514, "is_decoder": True},
    ),
    "distances": ("BloomConfig", {"vocab_size": 259, "hidden_size": 32, "n_layer": 2, "n_head": 4}),
    "experts": ("MixtralConfig", {**SMALL, "num_local_experts": 4}),
}
"""Models of every kind, by transformers' names for their settings."""


LETTERS = [chr(0x4E00 + token) for token in range(SMALL["vocab_size"])]
"""The texts of the tokens: one character each."""


class Written:
    """Collects the messages of each answer."""

    def __init__(self) -> None:
        self.sent: list[AnyMessage] = []

    def text(self, id: int) -> str:
        """The text of an answer."""
        return "".join([message.text for message in self.sent if isinstance(message, TextPiece) and message.id == id])

    def failures(self) -> dict[int, str]:
        """The reasons of the answers that failed."""
        return {message.id: message.reason for message in self.sent if isinstance(message, Failure)}

    def ends(self) -> dict[int, Done]:
        """The ends that there are."""
        return {message.id: message for message in self.sent if isinstance(message, Done)}


def model_of(kind: str) -> Any:
    """A model with random weights, larger than usual, so that its choices are clear."""
    import torch
    import transformers

    name, settings = KINDS[kind]
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model: Any = transformers.AutoModelForCausalLM.from_config(
            getattr(transformers, name)(**settings, **NO_ENDS), dtype=torch.float32
        ).eval()
        with torch.no_grad():
            for weights in model.parameters():
                if weights.dim() > 1:
                    weights.mul_(5)
    return model


def generation_of(model: Any, send: Callable[[list[AnyMessage]], None], parallel: int = 3) -> Any:
    """What writes with it, and nothing that runs yet."""
    from tokenizers import Tokenizer, decoders, models
    from transformers import PreTrainedTokenizerFast

    from mcp_server.providers.huggingface.worker.generation import Generation
    from mcp_server.providers.huggingface.worker.writer import Writer

    letters = Tokenizer(models.WordLevel({letter: index for index, letter in enumerate(LETTERS)}))
    letters.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=letters)
    writer = Writer(model, tokenizer, context_window=512, ends=[], thinks=False, calls=False, name="m")
    return Generation(writer, parallel, send)


def submit(generation: Any, prompt: int, length: int, *, id: int | None = None, **config: Any) -> None:
    """Ask for an answer of that many tokens to the prompt of that number."""
    from mcp_server.providers.huggingface.worker.conversation import Prompt

    request = GenerateRequest(model="m", prompt="x", config=GenerationConfig(max_output_tokens=length, **config))
    generation.submit(prompt if id is None else id, request, Prompt(PROMPTS[prompt]))


def alone(model: Any, prompt: list[int], length: int) -> list[int]:
    """What follows a prompt, where each token comes of reading all before it at once."""
    import torch

    tokens = torch.tensor([prompt])
    with torch.no_grad():
        for _ in range(length):
            likeliest = model(input_ids=tokens).logits[:, -1].argmax(dim=-1, keepdim=True)
            tokens = torch.cat([tokens, likeliest], dim=1)
    return [int(token) for token in tokens[0, len(prompt) :]]


def finish(generation: Any) -> None:
    """Go on until there is nothing to do."""
    generation.advance()
    while generation.busy:
        generation.advance()


@pytest.mark.parametrize("kind", KINDS)
def test_answers_written_together_are_those_written_alone(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the kind of the model, and whenever answers come and go: each is what it writes reading all anew."""
    from mcp_server.providers.huggingface.worker import generation as module

    monkeypatch.setattr(module, "PIECE", 16)
    model = model_of(kind)
    lengths = [20, 7, 20, 13]
    expected = [alone(model, prompt, length) for prompt, length in zip(PROMPTS, lengths, strict=True)]
    written = Written()
    generation = generation_of(model, written.sent.extend)
    for id, length in enumerate(lengths):
        submit(generation, id, length)
    finish(generation)
    assert not [message for message in written.sent if isinstance(message, Failure)]
    for id, tokens in enumerate(expected):
        assert written.text(id) == "".join([LETTERS[token] for token in tokens]), f"answer {id}"
    assert {id: end.output_tokens for id, end in written.ends().items()} == dict(enumerate(lengths))
    assert {end.reason for end in written.ends().values()} == {FinishReason.LENGTH}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize(
    ("kind", "ways"),
    [
        ("full attention", (True, True, True)),
        ("sliding windows", (True, True, True)),
        ("positions of its own", (False, True, True)),
        ("a state in itself", (False, False, False)),
    ],
)
def test_how_a_model_is_used_is_tried_in_its_own_precision(kind: str, dtype: str, ways: tuple[bool, ...]) -> None:
    """What rounding does is told from what another answer does."""
    import torch

    from mcp_server.providers.huggingface.worker import trial

    found = trial.find(model_of(kind).to(getattr(torch, dtype))).ways
    assert (found.shares, found.interleaves, found.pieces) == ways


def test_a_model_that_cannot_continue_is_refused() -> None:
    """Before it answers anybody."""
    import torch
    from transformers import OpenAIGPTConfig, OpenAIGPTLMHeadModel

    from mcp_server.providers.huggingface.worker import trial
    from mcp_server.providers.huggingface.worker.failures import CannotLoad

    with torch.random.fork_rng():
        forgetful = OpenAIGPTLMHeadModel(OpenAIGPTConfig(vocab_size=259, n_embd=32, n_layer=2, n_head=4)).eval()
    with pytest.raises(CannotLoad, match="cannot continue"):
        trial.find(forgetful)
    model = model_of("full attention")

    def forget(_module: Any, _positional: Any, named: dict[str, Any]) -> tuple[tuple[()], dict[str, Any]]:
        return (), {**named, "past_key_values": None}

    model.model.layers[0].self_attn.register_forward_pre_hook(forget, with_kwargs=True)
    with pytest.raises(CannotLoad, match="answer differently"):
        trial.find(model)


def steps_of(model: Any) -> list[tuple[int, int]]:
    """Every step that the model computes from now on, as rows and tokens."""
    steps: list[tuple[int, int]] = []

    def note(_module: Any, _positional: Any, named: dict[str, Any]) -> None:
        steps.append(tuple(named["input_ids"].shape))

    model.register_forward_pre_hook(note, with_kwargs=True)
    return steps


def test_answers_share_their_steps() -> None:
    """Three answers of ten tokens take hardly more steps than one."""
    model = model_of("full attention")
    steps = steps_of(model)
    generation = generation_of(model, lambda _: None)
    del steps[:]
    for id in range(3):
        submit(generation, id, 10)
    finish(generation)
    writing = [rows for rows, tokens in steps if tokens == 1]
    assert max(writing) == 3
    assert len(writing) <= 12


def test_a_long_prompt_does_not_hold_up_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read in pieces, and between two of them the others go on."""
    from mcp_server.providers.huggingface.worker import generation as module

    monkeypatch.setattr(module, "PIECE", 16)
    model = model_of("full attention")
    steps = steps_of(model)
    generation = generation_of(model, lambda _: None)
    submit(generation, 0, 30)
    generation.advance()
    del steps[:]
    submit(generation, 3, 5)
    finish(generation)
    pieces = [index for index, (_rows, tokens) in enumerate(steps) if tokens > 1]
    assert [steps[index][1] for index in pieces] == [16, 16, 16, 16, 16, 12]
    assert all(later - earlier > 1 for earlier, later in itertools.pairwise(pieces))


def test_a_cancelled_answer_gets_no_further_token() -> None:
    """The next step computes the others alone; where there are none, there is no next step."""
    model = model_of("full attention")
    steps = steps_of(model)
    written = Written()
    generation = generation_of(model, written.sent.extend)
    submit(generation, 0, 200)
    submit(generation, 1, 8)
    while not steps or steps[-1] != (2, 1):
        generation.advance()
    generation.cancel(0)
    before = written.text(0)
    finish(generation)
    assert steps[-1] == (1, 1)
    assert written.text(0) == before
    assert set(written.ends()) == {1}
    submit(generation, 2, 200)
    generation.advance()
    generation.cancel(2)
    count = len(steps)
    submit(generation, 0, 1)
    finish(generation)
    assert [tokens > 1 for _rows, tokens in steps[count:]] == [True], "the prompt of the last one, and nothing else"


def test_an_answer_cancelled_while_its_prompt_is_read_is_given_up() -> None:
    """Not one token of it is written."""
    model = model_of("full attention")
    steps = steps_of(model)
    generation = generation_of(model, lambda _: None, parallel=1)
    del steps[:]
    submit(generation, 0, 2)
    submit(generation, 3, 2)
    generation.cancel(3)
    finish(generation)
    assert len(steps) == 2


def test_a_failure_of_every_step_ends_every_answer() -> None:
    """Each caller hears of it; who comes later is answered."""
    model = model_of("full attention")
    written = Written()
    generation = generation_of(model, written.sent.extend)
    submit(generation, 0, 50)
    generation.advance()

    def fail(_module: Any, _positional: Any) -> None:
        raise RuntimeError("broken")

    failing = model.register_forward_pre_hook(fail)
    submit(generation, 1, 50)
    finish(generation)
    failing.remove()
    assert written.failures() == {0: "PROVIDER_STREAM_CUT", 1: "PROVIDER_UNAVAILABLE"}
    submit(generation, 2, 5)
    finish(generation)
    assert set(written.ends()) == {2}


def together(model: Any) -> tuple[Any, Written]:
    """Three answers that share their steps, each with a token at least."""
    steps = steps_of(model)
    written = Written()
    generation = generation_of(model, written.sent.extend)
    for id in range(3):
        submit(generation, id, 25)
    while steps[-1] != (3, 1):
        generation.advance()
    return generation, written


def expect_the_others(written: Written, failed: int = 1) -> None:
    """One answer failed, and the others are those that are written alone."""
    assert written.failures() == {failed: "PROVIDER_STREAM_CUT"}
    others = {0, 1, 2} - {failed}
    assert set(written.ends()) == others
    model = model_of("full attention")
    for id in others:
        assert written.text(id) == "".join([LETTERS[token] for token in alone(model, PROMPTS[id], 25)])


def test_numbers_that_are_not_finite_end_their_answer_alone() -> None:
    """As where 16 bits overflow for one prompt."""
    model = model_of("full attention")
    generation, written = together(model)

    def spoil(_module: Any, _positional: Any, output: Any) -> Any:
        output.logits[1] = float("nan")
        return output

    spoiling = model.register_forward_hook(spoil)
    generation.advance()
    spoiling.remove()
    finish(generation)
    expect_the_others(written)


def test_an_answer_whose_token_cannot_be_chosen_ends_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever its sampler raises."""
    from mcp_server.providers.huggingface.worker.text import AnswerText

    generation, written = together(model_of("full attention"))
    push = AnswerText.push

    def fail(self: Any, *arguments: Any) -> Any:
        if self._id == 1:
            raise ZeroDivisionError
        return push(self, *arguments)

    monkeypatch.setattr(AnswerText, "push", fail)
    finish(generation)
    expect_the_others(written)


def test_a_row_that_breaks_the_steps_of_its_batch_ends_alone() -> None:
    """The step is tried again with half of the rows, until the one that fails is alone; the others are not changed."""
    model = model_of("full attention")
    generation, written = together(model)
    broken = len(PROMPTS[1])

    def fail(_module: Any, _positional: Any, named: dict[str, Any]) -> None:
        # In the last layer: the others have taken in the keys and values of the step by then.
        if broken + 5 in named["position_ids"].flatten().tolist():
            raise RuntimeError("out of range")

    model.model.layers[-1].register_forward_pre_hook(fail, with_kwargs=True)
    finish(generation)
    expect_the_others(written)


def test_steps_that_are_too_large_for_the_memory_are_made_smaller() -> None:
    """No answer fails as long as there is memory for each alone."""
    import torch

    model = model_of("full attention")
    generation, written = together(model)

    def fail(_module: Any, _positional: Any, named: dict[str, Any]) -> None:
        if named["input_ids"].shape[0] > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")

    model.register_forward_pre_hook(fail, with_kwargs=True)
    finish(generation)
    assert not written.failures()
    assert set(written.ends()) == {0, 1, 2}


@pytest.mark.parametrize("temperature", [1e-38, 1e-45, 5e-324])
def test_the_smallest_temperatures_are_greedy(temperature: float) -> None:
    """They do not overflow."""
    model = model_of("full attention")
    written = Written()
    generation = generation_of(model, written.sent.extend)
    submit(generation, 0, 20, temperature=temperature)
    submit(generation, 1, 20)
    finish(generation)
    assert not written.failures()
    for id in (0, 1):
        assert written.text(id) == "".join([LETTERS[token] for token in alone(model, PROMPTS[id], 20)])


def test_a_short_prompt_does_not_wait_for_a_long_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is answered first, though it came later; the long one makes progress all the same."""
    from mcp_server.providers.huggingface.worker import generation as module

    monkeypatch.setattr(module, "PIECE", 8)
    monkeypatch.setattr(module, "SIGN_SECONDS", 0)
    written = Written()
    generation = generation_of(model_of("full attention"), written.sent.extend)
    submit(generation, 3, 1)
    generation.advance()
    submit(generation, 0, 1)
    finish(generation)
    assert list(written.ends()) == [0, 3]
    signs = [message.id for message in written.sent if isinstance(message, Reading)]
    assert signs.count(3) >= len(PROMPTS[3]) // 8, "after each piece but the last"


def test_a_long_prompt_is_read_however_many_short_ones_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every second piece is of the oldest prompt."""
    from mcp_server.providers.huggingface.worker import generation as module

    monkeypatch.setattr(module, "PIECE", 8)
    written = Written()
    generation = generation_of(model_of("full attention"), written.sent.extend)
    submit(generation, 3, 1)
    pieces = 0
    while 3 not in written.ends():
        pieces += 1
        submit(generation, 0, 1, id=100 + pieces)
        generation.advance()
    assert pieces <= 2 * (len(PROMPTS[3]) // 8 + 1)
