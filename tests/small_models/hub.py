"""A model hub on this machine: its repositories are folders, and it notes which files are fetched."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final
from urllib.parse import unquote

COMMIT: Final = "1" * 40


class Hub:
    """The hub.

    Attributes:
        repositories: their folders, by ``owner/name``.
        fetched: the files that were fetched.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, Path] = {}
        self.fetched: set[str] = set()

    def find(self, path: str) -> bytes | None:
        """What is answered to a path; ``None``: there is nothing."""
        for name, folder in self.repositories.items():
            files = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())
            if path.startswith(f"/api/models/{name}/tree/"):
                listed = [{"type": "file", "path": file, "size": 1, "oid": "0" * 40} for file in files]
                return json.dumps(listed).encode()
            if path.startswith(f"/api/models/{name}"):
                siblings = [{"rfilename": file} for file in files]
                return json.dumps({"id": name, "sha": COMMIT, "private": False, "siblings": siblings}).encode()
            for revision in ("main", COMMIT):
                file = path.removeprefix(f"/{name}/resolve/{revision}/")
                if file in files:
                    return (folder / file).read_bytes()
        return None


@contextmanager
def serving() -> Iterator[tuple[Hub, str]]:
    """A hub, and its address."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:  # the library's name
            self._answer()

        def do_GET(self) -> None:  # the library's name
            self._answer()

        def log_message(self, format: str, *arguments: object) -> None:
            """Write nothing."""

        def _answer(self) -> None:
            path = unquote(self.path.partition("?")[0])
            content = hub.find(path)
            self.send_response(200 if content is not None else 404)
            if content is None:
                self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", str(len(content or b"")))
            self.send_header("ETag", f'"{hashlib.sha256(content or b"").hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.end_headers()
            if self.command == "GET" and content is not None:
                if "/resolve/" in path:
                    hub.fetched.add(path.split("/resolve/")[1].partition("/")[2])
                self.wfile.write(content)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield hub, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()
