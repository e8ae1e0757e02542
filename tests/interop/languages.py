"""The languages: what each needs on the machine, how its program is built, and how it is started."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
DEBIAN_GO = Path("/usr/share/gocode/src")
DEBIAN_JAVA = Path("/usr/share/java")


@dataclass(frozen=True, kw_only=True)
class Language:
    """A folder beside this file with a program.

    The Python ones run as they are, with the finished clients. The others' stubs are generated from the contract alone:
    the script ``build`` there makes the program ready in the folder named OUT.
    """

    title: str
    """As people write it."""
    folder: str
    """The folder's name."""
    commands: Sequence[str] = ()
    """What must be on PATH. Nothing: there is nothing to build."""
    files: Sequence[Path] = ()
    """What must be on this machine beside."""
    modules: Sequence[str] = ()
    """What Ruby must be able to require."""
    run: Sequence[str] = ("{out}/cases",)
    """How the program is started."""
    name: str = ""
    """Of the folder's programs this one; empty: it has only one."""
    web: bool = False
    """Whether it calls the HTTP edge."""

    @property
    def id(self) -> str:
        """Its name in the names of tests."""
        return self.name or self.folder

    @cached_property
    def missing(self) -> Sequence[str]:
        """What of all that this machine lacks."""
        lacking = [name for name in self.commands if shutil.which(name) is None]
        lacking += [str(path) for path in self.files if not path.exists()]
        if not lacking and self.modules:
            required = "".join(f"require '{name}';" for name in self.modules)
            if subprocess.run(["ruby", "-e", required], capture_output=True, check=False).returncode:
                lacking.append(f"Ruby's {' or '.join(self.modules)}")
        return lacking

    def sources(self) -> list[Path]:
        """The files of its folder."""
        return sorted(path for path in (HERE / self.folder).iterdir() if path.is_file())

    def build(self, cache: Path) -> Sequence[str]:
        """Build the program, unless that was done before with these very sources, and return how to start it.

        Args:
            cache: a folder that outlives the tests. What is there for older sources is removed.
        """
        if not self.commands:
            return self.run
        out = cache / f"{self.folder}-{self._key()}"
        if not (out / "built").exists():
            for old in cache.glob(f"{self.folder}-*"):
                shutil.rmtree(old)
            out.mkdir(parents=True)
            self._build(out, unpacked(out))
            (out / "built").touch()
        return [part.format(out=out) for part in self.run]

    def _key(self) -> str:
        digest = hashlib.sha256()
        packing = ROOT / "scripts" / "_protos.py"
        for path in [packing, *sorted((ROOT / "protos").rglob("*.proto")), *self.sources()]:
            content = path.read_bytes()
            digest.update(f"{path.name} {len(content)}\n".encode() + content)
        for command in self.commands:  # an update of the toolchain builds anew
            status = Path(shutil.which(command) or "").resolve().stat()
            digest.update(f"{command} {status.st_size} {status.st_mtime_ns}\n".encode())
        return digest.hexdigest()[:16]

    def _build(self, out: Path, protos: Path) -> None:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "build"],
            cwd=HERE / self.folder,
            env={**os.environ, "PROTOS": str(protos), "OUT": str(out)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"the program in {self.title} cannot be built:\n{done.stdout}"


def unpacked(folder: Path) -> Path:
    """The contract as a stranger has it: the archive that ``scripts/protos`` makes, unpacked."""
    packing = [sys.executable, str(ROOT / "scripts" / "_protos.py"), str(folder)]
    archive = subprocess.run(packing, capture_output=True, text=True, check=True).stdout.strip()
    with tarfile.open(archive) as file:
        file.extractall(folder, filter="data")
    return Path(archive.removesuffix(".tar.gz"))


_WEB = ("node", "npm", "protoc", "chromium")
_BROWSER = (sys.executable, "-W", "error", "-m", "tests.interop.web.browser", "{out}")

LANGUAGES = (
    Language(
        title="Python",
        folder="python",
        run=(sys.executable, "-W", "error", "-m", "tests.interop.python.cases"),
    ),
    Language(
        title="Python, blocking",
        folder="python_blocking",
        run=(sys.executable, "-W", "error", "-m", "tests.interop.python_blocking.cases"),
    ),
    Language(
        title="Go",
        folder="go",
        commands=("go", "protoc", "protoc-gen-go", "protoc-gen-go-grpc"),
        files=(
            DEBIAN_GO / "google.golang.org/grpc",
            DEBIAN_GO / "google.golang.org/genproto/googleapis/rpc/errdetails",
        ),
    ),
    Language(
        title="Java",
        folder="java",
        commands=("java", "javac", "protoc", "grpc_java_plugin"),
        files=tuple(
            DEBIAN_JAVA / f"{name}.jar"
            for name in ("grpc-netty", "netty-codec-http2", "perfmark-api", "gson", "geronimo-annotation-1.3-spec")
        ),
        # It runs for a second: what pays off later is left out.
        run=("java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "@{out}/classpath", "Cases"),
    ),
    Language(title="Node.js", folder="node", commands=("node", "npm"), run=("node", "{out}/cases.js")),
    Language(
        title="C++",
        folder="cpp",
        commands=("g++", "pkg-config", "protoc", "grpc_cpp_plugin"),
        files=(Path("/usr/include/grpcpp/grpcpp.h"), Path("/usr/include/google/protobuf/util/json_util.h")),
    ),
    Language(
        title="Ruby",
        folder="ruby",
        commands=("ruby", "grpc_tools_ruby_protoc"),
        modules=("grpc", "google/rpc/error_details_pb"),
        run=("ruby", "{out}/cases.rb"),
    ),
    *[
        Language(title=title, folder="web", name=name, commands=_WEB, run=run, web=True)
        for title, name, run in (
            ("Connect, Node.js", "connect_node", ("node", "{out}/node.js")),
            ("Connect, Chromium", "connect_browser", (*_BROWSER, "connect")),
            ("gRPC-Web, Chromium", "grpc_web_browser", (*_BROWSER, "grpc-web")),
        )
    ],
)
