"""The files in which sentence-transformers describes how a model makes vectors of texts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Final, TypeVar

import msgspec
from msgspec import Meta

from mcp_server.providers.huggingface import files

MODULES: Final = "modules.json"
DESCRIPTION: Final = "config_sentence_transformers.json"
LIMITS: Final = tuple(
    f"sentence_{kind}_config.json"
    for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
"""The names under which the module that runs the model has its limits."""
LIBRARY: Final = "sentence_transformers."
POOLING: Final = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
FORMER: Final = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
"""What older files call the kinds of pooling."""
ACTIVATIONS: Final = "torch.nn."


class Layer(msgspec.Struct, frozen=True, kw_only=True):
    """A step from vector to vector, after the pooling."""

    kind: str
    """``Dense``, ``LayerNorm`` or ``Normalize``."""
    weights: Path | None = None
    """Its safetensors file; ``None``: it has no weights."""
    activation: str = "Tanh"
    """The class of ``torch.nn`` that follows a ``Dense`` layer."""
    width: int = 0
    """The length of the vectors that it makes; 0: that of those it takes."""


class EmbeddingFiles(msgspec.Struct, frozen=True, kw_only=True):
    """How a model makes vectors. The defaults are those of a model without such files."""

    pooling: tuple[str, ...] = ("mean",)
    """How the vectors of the tokens become one, each of ``POOLING``; those of several are joined."""
    include_prompt: bool = True
    """Whether the tokens of the prompt count in the pooling."""
    layers: tuple[Layer, ...] = (Layer(kind="Normalize"),)
    """What follows."""
    lower_case: bool = False
    """Whether texts are read in lower case."""
    max_tokens: int = 0
    """The most tokens of a text; 0: as many as the model reads."""
    prompts: Mapping[str, str] = {}
    """What can stand before a text, by name."""
    default_prompt: str = ""
    """What stands there if a call names none."""
    truncate: int = 0
    """How many numbers of each vector are kept; 0: all."""

    def dimensions(self, hidden: int) -> int:
        """The length of the vectors, where those of the tokens have ``hidden`` numbers."""
        width = hidden * len(self.pooling)
        for layer in self.layers:
            width = layer.width or width
        return min(width, self.truncate) if self.truncate else width


class _Module(msgspec.Struct):
    """An entry of ``modules.json``."""

    type: str
    path: str = ""


class _Limits(msgspec.Struct):
    """What is said of the module that runs the model."""

    max_seq_length: Annotated[int, Meta(ge=1)] | None = None
    do_lower_case: bool | None = None
    transformer_task: str = "feature-extraction"


class _Pooling(msgspec.Struct):
    """The configuration of a pooling, but for the names of its kinds in older files."""

    pooling_mode: str | Annotated[list[str], Meta(min_length=1)] | None = None
    include_prompt: bool | None = None


class _Dense(msgspec.Struct):
    """The configuration of a dense layer."""

    out_features: Annotated[int, Meta(ge=1)]
    activation_function: str = f"{ACTIVATIONS}Tanh"
    use_residual: bool = False
    module_input_name: str = "sentence_embedding"


class _Description(msgspec.Struct):
    """What is said of the model as a whole."""

    model_type: str = "SentenceTransformer"
    prompts: dict[str, str] | None = None
    default_prompt_name: str | None = None
    truncate_dim: Annotated[int, Meta(ge=1)] | None = None


File = TypeVar("File", bound=msgspec.Struct)


def read(folder: Path) -> EmbeddingFiles:
    """What the files of a model say; without ``modules.json`` the mean, of length 1.

    Raises:
        BadFiles: they are damaged, or ask for what is not known here: other vectors would be of no use.
    """
    found: dict[str, Any] = {}
    if (folder / MODULES).is_file():
        found |= _modules(folder)
    if (folder / DESCRIPTION).is_file():
        found |= _description(folder / DESCRIPTION)
    return EmbeddingFiles(**found)


def places(folder: Path) -> list[str]:
    """The folders of the modules in a model's folder.

    Raises:
        BadFiles: the list of them is damaged.
    """
    return [module.path for module in _listed(folder / MODULES) if module.path]


def _modules(folder: Path) -> dict[str, Any]:
    modules = _listed(folder / MODULES)
    kinds = [_kind(folder, module.type) for module in modules]
    if kinds[:1] != ["Transformer"] or modules[0].path:
        raise _unknown(folder, "a first module that is not the model itself, in the same folder")
    if kinds[1:2] != ["Pooling"]:
        raise _unknown(folder, f"{' after '.join(reversed(kinds[:2]))} and no Pooling")
    layers = [
        _layer(kind, folder, folder / module.path)
        for kind, module in zip(kinds[2:], modules[2:], strict=True)
        if kind != "Dropout"
    ]
    return {**_limits(folder), **_pooling(folder, folder / modules[1].path), "layers": tuple(layers)}


def _kind(folder: Path, name: str) -> str:
    if not name.startswith(LIBRARY):
        raise _unknown(folder, f"the module {name!r}, which is code of its own")
    return name.rpartition(".")[2]


def _limits(folder: Path) -> dict[str, Any]:
    file = next((folder / name for name in LIMITS if (folder / name).is_file()), None)
    if file is None:
        return {}
    limits = _typed(file, _Limits)
    if limits.transformer_task != "feature-extraction":
        raise _unknown(folder, f"the task {limits.transformer_task!r}")
    return {"max_tokens": limits.max_seq_length or 0, "lower_case": bool(limits.do_lower_case)}


def _pooling(folder: Path, place: Path) -> dict[str, Any]:
    file = place / "config.json"
    config = _typed(file, _Pooling)
    modes = config.pooling_mode
    if modes is None:
        on = [key for key, value in files.table(file).items() if key.startswith("pooling_mode_") and value]
        strange = [key.removeprefix("pooling_mode_") for key in on if key not in FORMER]
        modes = [*[mode for key, mode in FORMER.items() if key in on], *strange] or ["mean"]
    elif isinstance(modes, str):
        modes = [modes]
    if unknown := [mode for mode in modes if mode not in POOLING]:
        raise _unknown(folder, f"the pooling {unknown[0]!r}; known are {', '.join(POOLING)}")
    return {"pooling": tuple(modes), "include_prompt": config.include_prompt is not False}


def _layer(kind: str, folder: Path, place: Path) -> Layer:
    if kind == "Normalize":
        return Layer(kind=kind)
    if kind not in ("Dense", "LayerNorm"):
        raise _unknown(folder, f"the module {kind}")
    weights = place / files.WEIGHTS
    if not weights.is_file():
        raise files.BadFiles(f"there is no {files.WEIGHTS} in {place}: weights in other formats are not loaded")
    if kind == "LayerNorm":
        return Layer(kind=kind, weights=weights)
    config = _typed(place / "config.json", _Dense)
    if config.use_residual or config.module_input_name != "sentence_embedding":
        raise _unknown(folder, "a Dense layer of another form")
    if not config.activation_function.startswith(ACTIVATIONS):
        raise _unknown(folder, f"the activation function {config.activation_function!r}, which is code of its own")
    activation = config.activation_function.rpartition(".")[2]
    return Layer(kind=kind, weights=weights, activation=activation, width=config.out_features)


def _description(file: Path) -> dict[str, Any]:
    described = _typed(file, _Description)
    if described.model_type != "SentenceTransformer":
        raise _unknown(file.parent, f"a {described.model_type} in the place of a SentenceTransformer")
    prompts, default = described.prompts or {}, described.default_prompt_name
    if default is not None and default not in prompts:
        raise files.BadFiles(f"{file} is damaged: there is no prompt {default!r} among its prompts")
    return {
        "prompts": prompts,
        "default_prompt": "" if default is None else prompts[default],
        "truncate": described.truncate_dim or 0,
    }


def _listed(file: Path) -> list[_Module]:
    try:
        modules = msgspec.json.decode(file.read_bytes(), type=list[_Module])
    except (OSError, UnicodeError, RecursionError, msgspec.MsgspecError) as error:
        raise files.BadFiles(f"{file} is damaged: {error}") from error
    if strange := next((module.path for module in modules if not _is_inside(module.path)), None):
        raise files.BadFiles(f"{file} is damaged: {strange!r} is not the name of a folder in its folder")
    return modules


def _is_inside(path: str) -> bool:
    return not (PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts or "\0" in path)


def _typed(file: Path, kind: type[File]) -> File:
    try:
        return msgspec.convert(files.table(file), kind)
    except msgspec.ValidationError as error:
        raise files.BadFiles(f"{file} is damaged: {error}") from error


def _unknown(folder: Path, what: str) -> files.BadFiles:
    return files.BadFiles(f"the files of {folder} ask for {what}; such vectors cannot be made here")
