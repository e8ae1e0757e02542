"""Where the `.proto` files of the contract are, for compilers of other languages. Generated."""

from pathlib import Path


def path() -> Path:
    """The folder to pass to a compiler as an include path: it contains `contextprotocol/v1/*.proto`."""
    installed = Path(__file__).parent / "_protos"
    return installed if installed.is_dir() else Path(__file__).parents[2]
