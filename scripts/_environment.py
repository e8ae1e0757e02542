"""Create a virtual environment with the pinned packages and this project; do nothing if it is up to date.

    python scripts/_environment.py [NAME] [--with-torch]

Without NAME it is `.venv`, with the packages of `lock.txt`. With NAME it is `.venv-NAME`, with the packages of
`NAME.txt` where there is such a file. Run it with the Python that the environment is for; it needs no packages.
Packages are installed by uv where it is on PATH, by pip otherwise. PyTorch always comes from pip: the machine's
configuration of pip decides which of its builds is the right one.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "scripts" / "requirements"
BASE = f"{sys.version} {sys.base_prefix} {ROOT}\n"
"""What a virtual environment depends on for its whole life: its Python, and the folder where it was created."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Create a virtual environment with the pinned packages.")
    parser.add_argument("name", nargs="?", default="", help="the suffix of .venv-NAME; without it: .venv")
    parser.add_argument("--with-torch", action="store_true", help="install PyTorch too")
    options = parser.parse_args()

    venv = ROOT / (f".venv-{options.name}" if options.name else ".venv")
    packages = REQUIREMENTS / f"{options.name}.txt"
    if not packages.is_file():
        packages = REQUIREMENTS / "lock.txt"
    torch = REQUIREMENTS / "torch.txt"

    _update(venv / "stamp", (packages, ROOT / "pyproject.toml"), _install)
    if options.with_torch:
        _update(venv / "stamp-torch", (torch,), _install_torch)


def _update(stamp: Path, files: Sequence[Path], install: Callable[[Path, Path], None]) -> None:
    """Call ``install`` unless ``stamp`` records that it was called for files of this content."""
    expected = BASE + hashlib.sha256(b"".join([file.read_bytes() for file in files])).hexdigest()
    if _read(stamp) == expected:
        return
    with (ROOT / ".venv.lock").open("w") as lock:  # released when this process ends, however it ends
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _print("Waiting for another script that is setting up ...")
            fcntl.flock(lock, fcntl.LOCK_EX)
        if _read(stamp) != expected:
            install(stamp, files[0])
            stamp.write_text(expected)


def _install(stamp: Path, packages: Path) -> None:
    """Install the packages and this project, with uv if possible."""
    venv = stamp.parent
    if venv.exists() and not _read(stamp).startswith(BASE):
        shutil.rmtree(venv)
    # An interrupted installation leaves no stamp, so that the next one starts afresh: installers do not notice a
    # package of which only a part is there.
    stamp.unlink(missing_ok=True)
    uv = shutil.which("uv")
    if uv is not None:
        if not venv.is_dir():
            _create(venv, "--without-pip")  # the pinned packages contain it
        command = (uv, "--quiet", "pip", "install", "--python", str(_python(venv)))
        if _install_with(command, venv, packages):
            return
        # It reads the configuration of another package index than pip does.
        _print("uv failed; its last lines are above. Trying pip ...")
        shutil.rmtree(venv)
    if not venv.is_dir():
        _create(venv)
    if not _install_with(_pip(venv), venv, packages):
        _exit_after_pip()


def _install_with(command: Sequence[str], venv: Path, packages: Path) -> bool:
    _print(f"Installing the pinned packages in {venv} ...")
    # The list is complete but for PyTorch, which only some scripts need.
    return _run(*command, "--only-binary", ":all:", "--require-hashes", "--no-deps", "-r", str(packages)) and _run(
        *command, "--no-deps", "--no-build-isolation", "--no-index", "--editable", str(ROOT)
    )


def _install_torch(stamp: Path, packages: Path) -> None:
    stamp.unlink(missing_ok=True)
    _print("Installing PyTorch ...")
    if not _run(*_pip(stamp.parent), "--only-binary", ":all:", "-r", str(packages)):
        _exit_after_pip()


def _create(venv: Path, *options: str) -> None:
    needed = ("venv",) if "--without-pip" in options else ("venv", "ensurepip")
    if any(importlib.util.find_spec(module) is None for module in needed):
        sys.exit(
            f"{sys.executable} cannot create virtual environments: it lacks the modules venv and ensurepip.\n"
            "On Debian and Ubuntu: apt-get install python3-venv. Or name another Python: PYTHON=/path/to/python3"
        )
    if subprocess.run([sys.executable, "-m", "venv", *options, str(venv)], check=False).returncode:
        sys.exit(f"{sys.executable} -m venv failed; its output is above.")


def _python(venv: Path) -> Path:
    return venv / "bin" / "python"


def _pip(venv: Path) -> tuple[str, ...]:
    # Python compiles what it imports: most of what is installed never is.
    return (str(_python(venv)), "-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--no-compile")


def _run(*command: str) -> bool:
    """Run an installer and return whether it succeeded: counts packages on a terminal, prints the end of a failure."""
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONHOME", "PYTHONPATH")}
    last_lines: deque[str] = deque(maxlen=25)
    collected = 0
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as installer:
        assert installer.stdout is not None
        for line in installer.stdout:
            last_lines.append(line)
            if line.startswith("Collecting ") and sys.stderr.isatty():
                collected += 1
                print(f"\r  {collected} packages", end="", file=sys.stderr, flush=True)
    if collected:
        _print("")
    if installer.returncode:
        sys.stderr.writelines(last_lines)
    return installer.returncode == 0


def _exit_after_pip() -> None:
    sys.exit(
        f"pip failed with Python {sys.version.split()[0]}; its last lines are above. If it did not find or load a "
        "package:\ncheck that the package index that pip is configured for is reachable, then run this again."
    )


def _print(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _read(stamp: Path) -> str:
    return stamp.read_text() if stamp.is_file() else ""


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
