"""Answer the jobs of a queue: ``python worker.py FILE``. Run as many as you like, and kill them whenever you like."""

import os
import sys
import time
from contextlib import closing
from pathlib import Path

from jobs import Job, Jobs

from mcp_client import MCPError, MCPSyncClient, RequestError

LEASE = float(os.environ.get("LEASE", "60"))
"""Seconds after which another worker takes a job that is not finished. One that has taken longer is not answered twice:
both workers wait for the same turn."""


def work(client: MCPSyncClient, jobs: Jobs, job: Job) -> None:
    try:
        # The id of the job is that of the request: however often it is sent, and by whomever, it is one turn. That goes
        # on when its worker dies: a turn that is cancelled for the lack of a reader would be the end of the job.
        reply = client.chat(job.prompt, request_id=job.id, on_disconnect="continue")
    except MCPError as error:
        if error.details.final or isinstance(error, RequestError):  # the same request would fail again
            if jobs.finish(job, error=str(error), turn=error.turn):
                print(f"{job.id} failed: {error}", flush=True)
        else:
            jobs.postpone(job, error.retry_after or 10)
            print(f"{job.id} later: {error}", file=sys.stderr, flush=True)
    else:
        if jobs.finish(job, answer=reply.text, turn=reply.turn):
            print(f"{job.id} answered", flush=True)


def main(file: Path) -> None:
    with closing(Jobs(file)) as jobs, MCPSyncClient() as client:
        client.wait_until_ready(timeout=30)
        print("waiting for jobs", flush=True)
        while True:
            if job := jobs.take(LEASE):
                work(client, jobs, job)
            else:
                time.sleep(0.5)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    try:
        main(Path(sys.argv[1]))
    except KeyboardInterrupt:
        sys.exit(130)
