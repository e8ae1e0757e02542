"""Finds models whose files name code of their own. Such code is never run here."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from mcp_server.providers.huggingface import files

NAMING: Final = (
    "config.json",
    "tokenizer_config.json",
    "processor_config.json",
    "preprocessor_config.json",
    "video_preprocessor_config.json",
    "image_processor_config.json",
    "feature_extractor_config.json",
)
"""The files that can name classes of the model's own, under ``KEY``."""
KEY: Final = "auto_map"


def refuse(folder: Path) -> None:
    """Check that a model needs no code but that of transformers.

    Raises:
        BadFiles: it names code of its own, or a file is damaged.
    """
    for name in NAMING:
        if (folder / name).is_file() and (named := files.table(folder / name).get(KEY)):
            code = next(iter(named.values()), "") if isinstance(named, dict) else named
            raise files.BadFiles(
                f"{folder / name} names code of its own ({KEY}: {code}), which is never run here; if transformers "
                f"knows this kind of model without it, remove {KEY} from the file"
            )
