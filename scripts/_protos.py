"""Pack the contract: its .proto files, and a descriptor set of all that a client needs.

The same sources give the same bytes, wherever and whenever they are packed.
"""

from __future__ import annotations

import argparse
import gzip
import io
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path

from google.protobuf import any_pb2, descriptor_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
STANDARD = {
    "google/protobuf/any.proto": any_pb2.DESCRIPTOR,
    "google/rpc/status.proto": status_pb2.DESCRIPTOR,
    "google/rpc/error_details.proto": error_details_pb2.DESCRIPTOR,
    # The Python package moves it, so as not to meet the module grpc; every other language knows it by this name.
    "grpc/health/v1/health.proto": health_pb2.DESCRIPTOR,
}
"""What a client needs beside the contract and its imports, each behind what it imports itself."""


def contract() -> Mapping[str, bytes]:
    """The .proto files, by the name under which they are imported."""
    return {path.relative_to(PROTOS).as_posix(): path.read_bytes() for path in sorted(PROTOS.rglob("*.proto"))}


def descriptors() -> bytes:
    """A serialized ``FileDescriptorSet``: the contract with its comments and imports, google.rpc, grpc.health.v1."""
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "contract.binpb"
        compiler = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTOS}"]
        options = ["--include_imports", "--include_source_info", f"--descriptor_set_out={image}"]
        subprocess.run([*compiler, *options, *contract()], check=True)
        found = descriptor_pb2.FileDescriptorSet.FromString(image.read_bytes())
    for name, descriptor in STANDARD.items():
        file = found.file.add()
        file.ParseFromString(descriptor.serialized_pb)
        file.name = name
    return found.SerializeToString(deterministic=True)


def pack(folder: Path) -> Path:
    """Write the archive, and return where."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    name = f"contextprotocol-protos-{version}"
    files = {**contract(), "contextprotocol.binpb": descriptors(), "LICENSE": (ROOT / "LICENSE").read_bytes()}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for path, content in sorted(files.items()):
            entry = tarfile.TarInfo(f"{name}/{path}")
            entry.size, entry.mode = len(content), 0o644
            archive.addfile(entry, io.BytesIO(content))
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{name}.tar.gz"
    target.write_bytes(gzip.compress(buffer.getvalue(), mtime=0))
    return target


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/protos", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "dist")
    print(pack(parser.parse_args().folder))


if __name__ == "__main__":
    main()
