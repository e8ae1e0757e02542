"""Write what is derived from the contract and the code, or check that it is fresh.

Run by `scripts/generate`.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import _api_reference
import _blocking
import _client_errors
import _config_reference
import _error_reference
import _metrics_reference
from google.protobuf import descriptor_pb2

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"

PAGES = {
    "docs/config.md": _config_reference.render,
    "docs/errors.md": _error_reference.errors,
    "docs/observability.md": _metrics_reference.render,
    "docs/streaming.md": _error_reference.streaming,
}
"""The pages with generated tables, and what renders each."""
SOURCES = {
    "mcp_client/errors.py": _client_errors.errors,
    "mcp_client/__init__.py": _client_errors.exports,
}
"""The modules with generated sections, and what renders each."""

MODULES = ("protos/gen", *SOURCES, *_blocking.MODULES.values())
"""The modules that this program owns, relative to the checkout: a file, or a folder with all that is in it."""
DOCUMENTS = ("docs/api_reference.md", "docs/reference", *PAGES)
"""The pages that it owns. They describe the modules, so these come first."""

PACKAGES = {
    "contextprotocol": '"""The protobuf contract between applications and the server, as Python. Generated."""\n',
    "contextprotocol/v1": '"""Version 1 of the contract. Generated from `protos/contextprotocol/v1/*.proto`."""\n',
}

PROTO_FILES = '''"""Where the `.proto` files of the contract are, for compilers of other languages. Generated."""

from pathlib import Path


def path() -> Path:
    """The folder to pass to a compiler as an include path: it contains `contextprotocol/v1/*.proto`."""
    installed = Path(__file__).parent / "_protos"
    return installed if installed.is_dir() else Path(__file__).parents[2]
'''
"""The module with which an installed package finds them: a wheel has them beside it, a checkout in `protos`."""


def generate_modules(target: Path) -> None:
    """Write :data:`MODULES` below ``target``."""
    out = target / "protos" / "gen"
    out.mkdir(parents=True)
    sources = _sources()
    served = [file.name for file in _descriptors(sources).file if file.service]
    _protoc(f"--python_out={out}", f"--pyi_out={out}", *sources)
    _protoc(f"--grpc_python_out={out}", *served)
    for package, docstring in PACKAGES.items():
        (out / package / "__init__.py").write_text(docstring, encoding="utf-8")
    (out / "contextprotocol" / "protos.py").write_text(PROTO_FILES, encoding="utf-8")
    (out / "contextprotocol" / "py.typed").touch()

    _blocking.generate(ROOT, target)
    for module, render in SOURCES.items():
        (target / module).write_text(render(ROOT), encoding="utf-8")


def generate_documents(target: Path) -> None:
    """Write :data:`DOCUMENTS` below ``target``."""
    (target / "docs").mkdir()
    for page, text in _api_reference.render(_descriptors(_sources()), ROOT):
        path = target / "docs" / page
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for page, render in PAGES.items():
        (target / page).write_text(render(ROOT), encoding="utf-8")


def _sources() -> list[str]:
    return sorted(str(path.relative_to(PROTOS)) for path in PROTOS.glob("contextprotocol/**/*.proto"))


def _descriptors(sources: list[str]) -> descriptor_pb2.FileDescriptorSet:
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "contract.binpb"
        _protoc("--include_source_info", f"--descriptor_set_out={image}", *sources)
        return descriptor_pb2.FileDescriptorSet.FromString(image.read_bytes())


def _protoc(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTOS}", *arguments], check=True)


def differences(target: Path, outputs: Sequence[str]) -> Iterator[str]:
    """What of the outputs in the checkout is not as it is below ``target``."""
    fresh, present = _files(target, outputs), _files(ROOT, outputs)
    for path in sorted(fresh.keys() | present.keys()):
        if path not in present:
            yield f"{path} is missing"
        elif path not in fresh:
            yield f"{path} is not generated from anything"
        elif fresh[path] != present[path]:
            yield f"{path} is out of date"


def _files(root: Path, outputs: Sequence[str]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for output in outputs:
        path = root / output
        for file in path.rglob("*") if path.is_dir() else [path]:
            if file.is_file() and "__pycache__" not in file.parts:
                found[file.relative_to(root).as_posix()] = file.read_bytes()
    return found


def install(target: Path, outputs: Sequence[str]) -> None:
    """Put the outputs below ``target`` in the place of those in the checkout."""
    for output in outputs:
        old, new = ROOT / output, target / output
        if old.is_dir():
            shutil.rmtree(old)
        old.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(new, old) if new.is_dir() else shutil.copyfile(new, old)


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing, and fail if something is out of date")
    check = parser.parse_args().check
    stale = False
    for generate, outputs in ((generate_modules, MODULES), (generate_documents, DOCUMENTS)):
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder)
            generate(target)
            for line in differences(target, outputs):
                stale = True
                print(line if check else line.replace("is out of date", "renewed").replace("is missing", "added"))
            if not check:
                install(target, outputs)
    if check and stale:
        print("Run scripts/generate and commit what it writes.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
