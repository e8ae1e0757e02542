"""A durable queue of jobs: one table of a SQLite file, which any number of processes share.

``python jobs.py FILE add ID PROMPT`` adds a job, ``python jobs.py FILE`` shows them all.
"""

import sqlite3
import sys
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

TABLE = """
CREATE TABLE IF NOT EXISTS jobs (
    id     TEXT PRIMARY KEY,
    prompt TEXT NOT NULL,
    due    REAL NOT NULL DEFAULT 0,  -- when a worker may take it: in the future while one has it
    answer TEXT,
    error  TEXT,
    turn   TEXT                      -- where the server keeps what it cost
)
"""


@dataclass(frozen=True, kw_only=True)
class Job:
    id: str
    prompt: str


class Jobs:
    """Each method is one statement, and so is atomic and on the disk when it returns."""

    def __init__(self, file: Path) -> None:
        self._database = sqlite3.connect(file, timeout=30, isolation_level=None)
        self._database.execute(TABLE)

    def add(self, id: str, prompt: str) -> None:
        """A job that is there already is not added again: whoever does not know may send it twice."""
        self._database.execute("INSERT INTO jobs (id, prompt) VALUES (?, ?) ON CONFLICT DO NOTHING", (id, prompt))

    def take(self, lease: float) -> Job | None:
        """A job, which nobody else gets for so many seconds; ``None``: none is due."""
        now = time.time()
        taken = self._database.execute(
            "UPDATE jobs SET due = ? WHERE id = ("
            "SELECT id FROM jobs WHERE answer IS NULL AND error IS NULL AND due <= ? ORDER BY due, rowid LIMIT 1"
            ") RETURNING id, prompt",
            (now + lease, now),
        ).fetchall()
        return Job(id=taken[0][0], prompt=taken[0][1]) if taken else None

    def postpone(self, job: Job, seconds: float) -> None:
        self._database.execute("UPDATE jobs SET due = ? WHERE id = ?", (time.time() + seconds, job.id))

    def finish(self, job: Job, *, answer: str | None = None, error: str | None = None, turn: str = "") -> bool:
        """Whether it was not finished yet."""
        finished = self._database.execute(
            "UPDATE jobs SET answer = ?, error = ?, turn = ? WHERE id = ? AND answer IS NULL AND error IS NULL",
            (answer, error, turn, job.id),
        )
        return finished.rowcount > 0

    def all(self) -> list[tuple[str, str | None, str | None]]:
        """The id, answer and error of each."""
        return self._database.execute("SELECT id, answer, error FROM jobs ORDER BY rowid").fetchall()

    def close(self) -> None:
        self._database.close()


def main(file: Path, *command: str) -> None:
    with closing(Jobs(file)) as jobs:
        match command:
            case ["add", id, prompt]:
                jobs.add(id, prompt)
            case []:
                for id, answer, error in jobs.all():
                    print(f"{id}: {answer or error or 'waiting'}")
            case _:
                sys.exit(__doc__)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), *sys.argv[2:])
