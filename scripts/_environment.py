"""Make `.venv` hold the pinned packages and this project; do nothing if it does already.

Runs on the Python that the virtual environment is made of, with nothing but the standard library.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PACKAGES = ROOT / "scripts" / "requirements" / "lock.txt"
TORCH = ROOT / "scripts" / "requirements" / "torch.txt"
BASE = f"{sys.version} {sys.base_prefix} {ROOT}\n"
"""What a virtual environment cannot outlive: its Python, and the place where it was made."""


def main() -> None:
    _make(VENV / "stamp", (PACKAGES, ROOT / "pyproject.toml"), _install)
    if "--with-torch" in sys.argv:
        _make(VENV / "stamp-torch", (TORCH,), _install_torch)


def _make(stamp: Path, files: Sequence[Path], install: Callable[[Path], None]) -> None:
    """Call ``install`` unless ``stamp`` says that this was done, for these very files."""
    wanted = BASE + hashlib.sha256(b"".join([file.read_bytes() for file in files])).hexdigest()
    if _read(stamp) == wanted:
        return
    with (ROOT / ".venv.lock").open("w") as lock:  # held until this process ends, however it ends
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say("Waiting for another script that is setting up ...")
            fcntl.flock(lock, fcntl.LOCK_EX)
        if _read(stamp) != wanted:
            install(stamp)
            stamp.write_text(wanted)


def _install(stamp: Path) -> None:
    if not _read(stamp).startswith(BASE):
        _create()
    # Interrupted from here on, it has no stamp, and is made anew: pip does not notice a package that is there by half.
    stamp.unlink(missing_ok=True)
    _say("Installing the pinned packages ...")
    # The list is whole but for PyTorch, which only some scripts need.
    _pip_install("--require-hashes", "--no-deps", "-r", str(PACKAGES))
    _pip_install("--no-deps", "--no-build-isolation", "--no-index", "--editable", str(ROOT))


def _install_torch(stamp: Path) -> None:
    stamp.unlink(missing_ok=True)
    _say("Installing PyTorch ...")
    _pip_install("-r", str(TORCH))


def _create() -> None:
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        sys.exit(
            f"{sys.executable} cannot make virtual environments: it lacks the modules venv and ensurepip.\n"
            "On Debian and Ubuntu: apt-get install python3-venv. Or name another Python: PYTHON=/path/to/python3"
        )
    _say(f"Making a virtual environment in {VENV} ...")
    if subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)], check=False).returncode:
        sys.exit(f"{sys.executable} -m venv failed; what it said is above.")


def _pip_install(*arguments: str) -> None:
    """Run pip: its count on a terminal, and its own words if it fails."""
    command = [str(VENV / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--no-input", "install"]
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONHOME", "PYTHONPATH")}
    said: deque[str] = deque(maxlen=25)
    collected = 0
    with subprocess.Popen(
        # No package is compiled here: that takes a compiler, and many minutes.
        [*command, "--only-binary", ":all:", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    ) as pip:
        assert pip.stdout is not None
        for line in pip.stdout:
            said.append(line)
            if line.startswith("Collecting ") and sys.stderr.isatty():
                collected += 1
                print(f"\r  {collected} packages", end="", file=sys.stderr, flush=True)
    if collected:
        _say("")
    if pip.returncode:
        sys.stderr.writelines(said)
        sys.exit(
            f"pip failed with Python {sys.version.split()[0]}; its last words are above. If it did not find or load a "
            "package:\nis the package index that pip is configured for reachable from here? Then start this again."
        )


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _read(stamp: Path) -> str:
    return stamp.read_text() if stamp.is_file() else ""


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
