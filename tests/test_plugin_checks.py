"""``mcp-server plugins check`` runs the contract suites against installed plug-ins, and outlives those that are bad."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

from mcp_server.plugins import KINDS
from tests.packages import install
from tests.pages import blocks

DOCS = Path(__file__).parent.parent / "docs"


class Checked(NamedTuple):
    """How the command ended."""

    status: int
    printed: str
    errors: str

    @property
    def ends(self) -> dict[str, tuple[str, str]]:
        """The outcome and the reason of each test."""
        return {end["test"]: (end["outcome"], end.get("reason", "")) for end in json.loads(self.printed)}

    @property
    def failed(self) -> dict[str, str]:
        """The reasons of those that failed."""
        return {test: reason for test, (outcome, reason) in self.ends.items() if outcome == "failed"}


def check(*arguments: str, folder: Path | None = None) -> Checked:
    """Run the command, with the packages of a folder installed."""
    path = [str(folder)] * (folder is not None) + [os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, "-m", "mcp_server", "plugins", "check", *arguments],
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path))},
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return Checked(done.returncode, done.stdout, done.stderr)


def plugged(folder: Path, kind: str, code: str, reference: str = "plug_in") -> Path:
    """A package with one plug-in, ``mine``, is installed in the folder."""
    entry_points = f'[project.entry-points."{KINDS[kind].group}"]\nmine = "mine_package:{reference}"'
    install(folder, "mine_package", code, entry_points)
    return folder


def test_a_good_plug_in_passes() -> None:
    """The list is for people; the last line sums up."""
    done = check("custom", "--set", "class=mcp_server.testing:EchoProvider")
    assert done.status == 0, done
    lines = done.printed.splitlines()
    assert "✓ chat comes in pieces and ends once" in lines
    assert "✓ embeddings keep the order of their inputs" in lines
    assert lines[-1] == f"providers custom: {len(lines) - 1} passed"


@pytest.mark.parametrize(
    ("page", "name", "extra"),
    [
        ("write-middleware.md", "audit", ["--set", "path=audit.log"]),
        ("write-an-admission-rule.md", "one_at_a_time", ["--set", "service=chat"]),
        ("write-a-turn-observer.md", "billing", []),
        ("write-a-context-type.md", "table", []),
    ],
)
def test_the_plug_ins_of_the_pages_pass(page: str, name: str, extra: list[str], tmp_path: Path) -> None:
    """Each with the suite of its kind."""
    install(tmp_path, name, "\n\n".join(blocks(DOCS / page)), blocks(DOCS / page, "toml")[0])
    (entry,) = [line.partition(" =")[0] for line in blocks(DOCS / page, "toml")[0].splitlines() if " = " in line]
    done = check(entry, *extra, "--json", folder=tmp_path)
    assert done.status == 0, done
    assert len([test for test, (outcome, _) in done.ends.items() if outcome == "passed"]) > 4


def test_an_authenticator_is_checked_with_credentials_if_there_are_some(tmp_path: Path) -> None:
    """Without them only what needs none."""
    code = """
from mcp_server.errors import BadCredentials
from mcp_server.principal import Principal

class Tickets:
    async def authenticate(self, call):
        ticket = call.metadata.get("x-ticket")
        if ticket is None:
            return None
        if ticket != "valid":
            raise BadCredentials("the ticket is not valid")
        return Principal(tenant="acme")

plug_in = Tickets()
"""
    plugged(tmp_path, "authenticators", code)
    done = check("mine", "--json", folder=tmp_path)
    assert done.status == 0, done
    assert [outcome for outcome, _ in done.ends.values()].count("skipped") == 4
    done = check("mine", "--credential", "x-ticket=valid", "--json", folder=tmp_path)
    assert (done.status, {outcome for outcome, _ in done.ends.values()}) == (0, {"passed"})


def test_the_data_of_a_store_are_left_alone(tmp_path: Path) -> None:
    """Every file of its settings is replaced by a new one."""
    file = tmp_path / "sessions.db"
    file.write_text("mine")
    settings = tmp_path / "settings.toml"
    settings.write_text('path = "sessions.db"\n')
    done = check("sqlite", "--settings", str(settings), "--json")
    assert done.status == 0, done
    assert len(done.ends) > 150
    assert file.read_text() == "mine"
    assert {each.name for each in tmp_path.iterdir()} == {"sessions.db", "settings.toml"}


PROVIDER = """
import asyncio, os
from mcp_server.interfaces import Finish
from mcp_server.values import Capabilities, FinishReason, Model, Usage, UsageSource

class Provider:
    answers = 0

    async def models(self):
        return [Model(name="m", capabilities=Capabilities(chat=True))]

    async def generate(self, request):
        BEHAVIOUR
        for word in request.messages[-1].text.split():
            yield word
        usage = Usage(input_tokens=1, output_tokens=1, source=UsageSource.REPORTED)
        yield Finish(reason=FinishReason.STOP, usage=usage)

    async def close(self):
        pass
"""


def test_a_provider_that_only_chats_passes(tmp_path: Path) -> None:
    """What it does not do is skipped."""
    plugged(tmp_path, "providers", PROVIDER.replace("BEHAVIOUR", "pass"), "Provider")
    done = check("mine", "--json", folder=tmp_path)
    assert done.status == 0, done
    skipped = {test for test, (outcome, _) in done.ends.items() if outcome == "skipped"}
    assert skipped == {"completion comes in pieces and ends once"}


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ('raise ValueError("a bug")', "ValueError: a bug"),
        ("await asyncio.Event().wait()", "it did not end within 8 s"),
        ("os._exit(7)", "the process ended with status 7"),
        ('raise ValueError("x" * 20_000_000)', "ValueError: xxx"),
    ],
)
def test_a_provider_that_does_not_answer_fails(behaviour: str, reason: str, tmp_path: Path) -> None:
    """Whatever happens to its process."""
    plugged(tmp_path, "providers", PROVIDER.replace("BEHAVIOUR", behaviour), "Provider")
    done = check("mine", "--timeout", "8", "--json", folder=tmp_path)
    assert done.status == 1
    assert [each for each in done.failed.values() if reason in each], done


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ("await asyncio.Event().wait()", "it did not end within 8 s"),
        ("raise KeyboardInterrupt", "the process ended with status 2"),
    ],
)
def test_the_tests_after_one_that_breaks_off_run_all_the_same(behaviour: str, reason: str, tmp_path: Path) -> None:
    """In a process of their own."""
    code = f'if "," in request.messages[-1].text:\n            {behaviour}'
    plugged(tmp_path, "providers", PROVIDER.replace("BEHAVIOUR", code), "Provider")
    done = check("mine", "--timeout", "8", "--json", folder=tmp_path)
    assert done.status == 1
    assert [*done.failed] == ["answers at once do not mix"]
    assert done.failed["answers at once do not mix"].startswith(reason)
    assert done.ends["closing ends running answers"] == ("passed", "")


MIDDLEWARE = """
import subprocess
from contextlib import asynccontextmanager
from pathlib import Path

left = subprocess.Popen(["sleep", "3600"], start_new_session={apart})
Path("left").write_text(str(left.pid))

@asynccontextmanager
async def plug_in(call):
    yield
"""


@pytest.mark.parametrize("apart", [False, True])
def test_the_check_does_not_wait_for_what_a_plug_in_starts(
    apart: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends with the check, unless it has left the process group. Nor do options of pytest count that are for other
    tests."""
    monkeypatch.setenv("PYTEST_ADDOPTS", "--no-such-option")
    plugged(tmp_path, "middleware", MIDDLEWARE.format(apart=apart))
    done = check("mine", "--json", "--timeout", "3600", folder=tmp_path)
    with contextlib.suppress(psutil.NoSuchProcess):
        left = psutil.Process(int((tmp_path / "left").read_text()))
        if apart:
            left.kill()
        left.wait(5)
    assert (done.status, {outcome for outcome, _ in done.ends.values()}) == (0, {"passed"}), done
    assert len(done.ends) > 6


ODD_OBSERVER = """
class Odd:
    async def turn_started(self, turn): pass
    def turn_ended(self): pass
    def attempts_ended(self, service, attempts): pass

plug_in = Odd()
"""


@pytest.mark.parametrize(
    ("kind", "code", "reason"),
    [
        ("middleware", 'raise ValueError("a bug")', "cannot be loaded: a bug"),
        ("middleware", 'raise SystemExit("bye")', "SystemExit: bye"),
        ("middleware", "import os\nos._exit(3)", "the process ended with status 3"),
        ("middleware", "import time\ntime.sleep(1000)", "it did not end within 5 s"),
        ("middleware", "plug_in = 1", "it is an int: expected a function of a call"),
        ("middleware", "class plug_in: pass", "it is the class plug_in: register an instance"),
        ("middleware", "def plug_in(call, other): pass", "cannot be called with 1 argument"),
        ("observers", "plug_in = object()", "an object has no method turn_started"),
        (
            "observers",
            ODD_OBSERVER,
            "turn_started returns a coroutine: write `def`; turn_ended() cannot be called with 1 argument",
        ),
        (
            "authenticators",
            "class A:\n    def authenticate(self, call): pass\nplug_in = A()",
            "authenticate is a plain function: write `async def`",
        ),
        ("services", "plug_in = object()", "it is an object: expected a GRPCService"),
        ("context_types", "class C:\n    def validate(self, entry): pass\nplug_in = C()", "a C has no method render"),
        ("stores", "plug_in = 1", "has no settings table"),
    ],
)
def test_a_bad_plug_in_is_reported(kind: str, code: str, reason: str, tmp_path: Path) -> None:
    """With what is wrong, in one failure."""
    plugged(tmp_path, kind, code)
    done = check("mine", "--timeout", "5", "--json", folder=tmp_path)
    assert done.status == 1, done
    (found,) = done.failed.values()
    assert reason in found


def test_settings_that_are_wrong_are_reported() -> None:
    """As a server reports them."""
    done = check("openai", "--set", "base_ulr=x", "--json")
    assert done.status == 1
    assert "base_ulr: unknown key; did you mean base_url?" in str(done.failed)
    assert check("memory", "--set", "nonsense").errors.startswith("mcp-server: --set: found 'nonsense'")


def test_a_plug_in_that_is_not_installed_ends_with_status_2(tmp_path: Path) -> None:
    """With the name that was meant; a name of two kinds needs the kind."""
    done = check("sqlit")
    assert (done.status, done.errors) == (2, "mcp-server: no plug-in 'sqlit' is installed; did you mean sqlite?\n")
    assert check("xyzzy").errors.endswith("`mcp-server plugins` lists those that are\n")
    assert check("memory", "--kind", "shop").status == 2
    install(tmp_path, "other", "memory = 1", '[project.entry-points."contextprotocol.middleware"]\nmemory = "other:m"')
    done = check("memory", folder=tmp_path)
    assert (done.status, "pass --kind stores or --kind middleware" in done.errors) == (2, True)
