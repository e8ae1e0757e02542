"""Fetch a file of the model hub. Which hub, and as whom: ``huggingface_hub`` reads ``HF_ENDPOINT`` and ``HF_TOKEN``."""

from __future__ import annotations

import re
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mcp_server.model_files.fetching import CannotFetch, Progress


def fetch(repository: str, file: str, folder: Path, progress: Progress) -> tuple[Path, str]:
    """The file, fetched into the empty ``folder``, and its published SHA-256, empty if the hub does not say it.

    A connection that breaks is taken up again where it ended.

    Raises:
        CannotFetch: the hub cannot be reached, has no such file, or does not give it to this user.
    """
    try:
        import huggingface_hub
        from huggingface_hub import errors
    except ImportError as error:
        raise CannotFetch("the model hub needs the extra `local`: pip install 'contextprotocol[local]'") from error

    class Bar:
        """Takes the place of a progress bar that would draw itself."""

        def __init__(self, *_arguments: Any, total: int | None = None, initial: int = 0, **_options: Any) -> None:
            self.done, self.total = initial, total or 0
            progress("fetching", self.done, self.total)

        def update(self, amount: float | None = 1) -> None:
            self.done += int(amount or 0)
            progress("fetching", self.done, self.total)

        def close(self) -> None:
            """Nothing is drawn."""

        def __enter__(self) -> Self:
            return self

        def __exit__(
            self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
        ) -> None:
            self.close()

    progress("fetching", 0, 0)
    try:
        url = huggingface_hub.hf_hub_url(repository, file)
        published = huggingface_hub.get_hf_file_metadata(url)
        bar: Any = Bar
        path = huggingface_hub.hf_hub_download(
            repository, file, revision=published.commit_hash, local_dir=folder, tqdm_class=bar
        )
    except errors.GatedRepoError as error:
        raise CannotFetch(
            f"{repository} requires that you accept its terms: do so on its page, then run `hf auth login`"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise CannotFetch(f"the hub has no public repository {repository}") from error
    except errors.EntryNotFoundError as error:
        raise CannotFetch(f"the repository {repository} has no file {file}, or the hub cannot be reached") from error
    except Exception as error:
        # The libraries below raise what they like; whatever it is, there is no file.
        raise CannotFetch(f"the hub cannot be reached, or failed: {error}") from error
    etag = published.etag or ""
    return Path(path), etag if re.fullmatch(r"[0-9a-f]{64}", etag) else ""
