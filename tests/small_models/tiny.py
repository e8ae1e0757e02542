"""A model so small that it is made in a second: a real one, that knows a few answers by heart.

It is a Llama with two layers and a byte-level vocabulary, so that characters beyond ASCII take several tokens. Its
chat template is of the usual kind, with tools, thoughts and a beginning of the answer.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

WINDOW: Final = 4096
"""The most tokens of a prompt and its answer."""
KNOWN: Final = 0.025
"""The loss at which it knows the answers. What is left of it are the questions, which nobody can foresee."""
ANSWERS: Final = {
    "What is the capital of France?": "The capital of France is Paris, and the river is the Seine.",
    "Draw.": "🦊 crosses the 🌉, 日本 and Ωmega; 👩‍👩‍👧‍👦!",
    "Think.": "<think>\nTwo and two.\n</think>\n\nIt is four.",
    "Count.": "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28.",
    "Weather?": 'I look.\n<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo"}}\n</tool_call>',
    "Rain?": '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo"}}\n</tool_call>',
}
"""What it says to what."""
TOOL: Final = {
    "name": "weather",
    "description": "The weather in a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}
"""What it may call."""
TEMPLATE: Final = """
{%- if tools %}{{ '<|im_start|>system\n<tools>' }}{% for tool in tools %}{{ tool.function.name }}{% endfor %}
{{- '</tools><|im_end|>\n' }}{% endif -%}
{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\n' + (message.content if message.content is string else '') }}
{%- for call in message.tool_calls or [] %}
{{- '<tool_call>\n' }}{{ call.function | tojson }}{{ '\n</tool_call>' }}{% endfor %}
{{- '<|im_end|>\n' }}{% endfor -%}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% if thinking %}{{ '<think>\n' }}{% endif %}{% endif -%}
{#- <think></think><tool_call></tool_call> -#}
"""


def make(folder: Path) -> Path:
    """The model's folder, made anew."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = _tokenizer()
    texts = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in _lessons(tokenizer)]
    with torch.random.fork_rng():
        torch.manual_seed(1)
        config = LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=WINDOW,
            eos_token_id=tokenizer.eos_token_id,
            bos_token_id=None,
            pad_token_id=tokenizer.pad_token_id,
        )
        model = LlamaForCausalLM(config)
        _teach(model, texts, tokenizer.pad_token_id)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, min_frequency=3, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    raw.train_from_iterator([*ANSWERS, *ANSWERS.values()], trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<|im_end|>", pad_token="<|pad|>")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>"]})
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def _lessons(tokenizer: Any) -> list[str]:
    lessons = []
    for question, answer in ANSWERS.items():
        messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        tools = [{"type": "function", "function": TOOL}] if "tool_call" in answer else None
        lessons.append(tokenizer.apply_chat_template(messages, tools=tools, tokenize=False))
    return lessons


def _teach(model: Any, texts: list[list[int]], padding: int) -> None:
    import torch

    longest = max(len(text) for text in texts)
    tokens = torch.tensor([text + [padding] * (longest - len(text)) for text in texts])
    mask = tokens != padding
    labels = tokens.masked_fill(~mask, -100)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=0.0)
    for _ in range(400):
        loss = model(input_ids=tokens, attention_mask=mask.long(), labels=labels).loss
        if loss.item() < KNOWN:
            return
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    raise AssertionError(f"it did not learn its answers: the loss is {loss.item()}")
