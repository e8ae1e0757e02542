"""Models that tests run: small, real, and made or fetched once."""

from __future__ import annotations

import importlib.util

import pytest

NEEDING = {"tiny_model", "minilm_model", "transformers"}
"""The fixtures whose tests need what runs Hugging Face models."""


def need_transformers() -> None:
    """Skip the test where what runs Hugging Face models is missing."""
    for library in ("torch", "transformers"):
        if importlib.util.find_spec(library) is None:
            pytest.skip(f"{library} is missing, which `scripts/test` installs, and the extra `huggingface`")
    import torch

    torch.set_num_threads(1)  # the models here are so small that more would only wait for each other
