"""Print an answer, whatever is killed on the way: the connection, the server, or this program.

``python resume.py FILE "A question"``. What has arrived is in FILE: the same command, run again, goes on behind it.
"""

import json
import os
import sys
import uuid
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from mcp_client import AttemptSwitched, Delta, MCPError, MCPSyncClient, Retry, RetryNotice


@dataclass
class Progress:
    """All that is needed to go on."""

    question: str
    request_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    """Whoever sends the same question with it has the same answer, which is generated and paid for once."""
    sequence: int = 0
    """The last event that was received."""
    text: str = ""
    done: bool = False

    def save(self, file: Path) -> None:
        self.written(file).replace(file)  # at any moment the old state is there, or the new one

    def written(self, file: Path) -> Path:
        new = file.with_name(f"{file.name}.{os.getpid()}")
        new.write_text(json.dumps(asdict(self)))
        return new


def begin(file: Path, question: str) -> Progress:
    """Before the question is sent: its request_id must not get lost."""
    new = Progress(question).written(file)
    with suppress(FileExistsError):  # it was begun before, or another process was quicker
        file.hardlink_to(new)
    new.unlink()
    progress = Progress(**json.loads(file.read_text()))
    if progress.question != question:
        sys.exit(f"{file} holds the answer to another question: {progress.question}")
    return progress


def lost(notice: RetryNotice) -> None:
    print(f"\n({notice.error.code}: trying again)", file=sys.stderr)


def main(file: Path, question: str) -> None:
    progress = begin(file, question)
    print(progress.text, end="", flush=True)
    if progress.done:
        return
    with (
        MCPSyncClient(retry=Retry(patience=300), on_retry=lost) as client,
        client.stream_chat(
            progress.question,
            request_id=progress.request_id,
            after_sequence=progress.sequence or None,
            on_disconnect="continue",  # without readers too, however long it takes until this program is run again
        ) as stream,
    ):
        for event in stream.events():
            if isinstance(event, AttemptSwitched) and event.restarted:
                print("\n(the server died: the answer begins anew)", file=sys.stderr)
                progress.text = ""
            elif isinstance(event, Delta):
                print(event.text, end="", flush=True)
                progress.text += event.text
            progress.sequence = stream.sequence
            progress.save(file)
    progress.done = True
    progress.save(file)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        main(Path(sys.argv[1]), sys.argv[2])
    except MCPError as error:
        sys.exit(f"\n{error}")
    except KeyboardInterrupt:
        sys.exit(130)
    print()
