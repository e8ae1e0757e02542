"""Fetches models from the model hub: what is needed to load one, and one set of weights."""

from __future__ import annotations

import glob
from pathlib import Path
from typing import Final

import huggingface_hub
from huggingface_hub import errors

from mcp_server.providers.huggingface import embedding_files, files, own_code
from mcp_server.providers.huggingface.worker.failures import CannotLoad

DESCRIPTIONS: Final = ("*.json", "*.jinja", "*.model", "*.tiktoken", "*.txt")
"""What describes a model and its tokenizer."""
FOLDERS: Final = "*/*"
"""Folders hold the same weights in other formats or precisions, and earlier ones."""


def fetch(repository: str, revision: str) -> Path:
    """The folder of a model, fetched unless it is in the hub's cache.

    Raises:
        CannotLoad: it cannot be fetched, or has no weights that can be loaded.
    """
    folder = _fetch(repository, revision, list(DESCRIPTIONS), ignored=FOLDERS)
    try:
        own_code.refuse(folder)
        weights = files.weight_names(folder)
        if (folder / embedding_files.MODULES).is_file():
            weights += [
                f"{place}/{name}" for place in embedding_files.places(folder) for name in ("config.json", files.WEIGHTS)
            ]
    except files.BadFiles as error:
        raise CannotLoad(str(error)) from error
    # The same commit, also if the branch has moved on meanwhile.
    _fetch(repository, folder.name, [glob.escape(name) for name in weights])
    if not all((folder / name).is_file() for name in files.weight_names(folder)):
        raise CannotLoad(
            f"{repository} has no complete weights as safetensors, and other formats, which can hold programs, are not "
            "loaded"
        )
    return folder


def _fetch(repository: str, revision: str, wanted: list[str], ignored: str | None = None) -> Path:
    try:
        folder = huggingface_hub.snapshot_download(
            repository, revision=revision, allow_patterns=wanted, ignore_patterns=ignored
        )
    except errors.GatedRepoError as error:
        raise CannotLoad(
            f"{repository} requires that you accept its terms: do so on its page, then run `hf auth login`"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise CannotLoad(f"{repository} has no revision {revision} on the model hub") from error
    except errors.RepositoryNotFoundError as error:
        raise CannotLoad(f"the model hub has no public repository {repository}") from error
    except errors.LocalEntryNotFoundError as error:
        raise CannotLoad(
            f"{repository} is not in the cache of the model hub, and the hub cannot be reached: "
            "set `path` to a folder with the model, or run `hf download` where there is a network"
        ) from error
    except Exception as error:  # whatever else goes wrong with a network, there is no model
        text = " ".join(str(error).split())[:300]
        raise CannotLoad(f"{repository} cannot be downloaded from the model hub: {text}") from error
    return Path(folder)
