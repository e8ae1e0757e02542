"""The files in which sentence-transformers describes how a model makes vectors of texts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

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
    return [str(place) for module in _listed(folder / MODULES) if (place := module.get("path"))]


def _modules(folder: Path) -> dict[str, Any]:
    modules = _listed(folder / MODULES)
    kinds = [_kind(folder, module) for module in modules]
    places = [folder / str(module.get("path", "")) for module in modules]
    if kinds[:1] != ["Transformer"] or places[0] != folder:
        raise _unknown(folder, "a first module that is not the model itself, in the same folder")
    found: dict[str, Any] = {**_limits(folder), "layers": ()}
    if "Pooling" not in kinds[1:2]:
        raise _unknown(folder, f"{' after '.join(reversed(kinds[:2]))} and no Pooling")
    found |= _pooling(folder, places[1])
    layers = [_layer(kind, place) for kind, place in zip(kinds[2:], places[2:], strict=True) if kind != "Dropout"]
    return {**found, "layers": tuple(layers)}


def _kind(folder: Path, module: Mapping[str, Any]) -> str:
    name = str(module.get("type", ""))
    if not name.startswith(LIBRARY):
        raise _unknown(folder, f"the module {name!r}, which is code of its own")
    return name.rpartition(".")[2]


def _limits(folder: Path) -> dict[str, Any]:
    file = next((folder / name for name in LIMITS if (folder / name).is_file()), None)
    if file is None:
        return {}
    limits = files.table(file)
    if (task := limits.get("transformer_task", "feature-extraction")) != "feature-extraction":
        raise files.BadFiles(f"{file} asks for the task {task!r}, which is not known here")
    tokens = limits.get("max_seq_length")
    return {
        "max_tokens": tokens if isinstance(tokens, int) and tokens > 0 else 0,
        "lower_case": bool(limits.get("do_lower_case")),
    }


def _pooling(folder: Path, place: Path) -> dict[str, Any]:
    config = files.table(place / "config.json")
    modes = config.get("pooling_mode")
    if modes is None:
        strange = [
            key.removeprefix("pooling_mode_")
            for key, value in config.items()
            if key.startswith("pooling_mode_") and value and key not in FORMER
        ]
        modes = [*[mode for key, mode in FORMER.items() if config.get(key)], *strange] or ["mean"]
    modes = [modes] if isinstance(modes, str) else modes
    if unknown := [mode for mode in modes if mode not in POOLING]:
        raise _unknown(folder, f"the pooling {unknown[0]!r}; known are {', '.join(POOLING)}")
    return {"pooling": tuple(modes), "include_prompt": bool(config.get("include_prompt", True))}


def _layer(kind: str, place: Path) -> Layer:
    if kind == "Normalize":
        return Layer(kind=kind)
    if kind not in ("Dense", "LayerNorm"):
        raise _unknown(place.parent, f"the module {kind}")
    weights = place / files.WEIGHTS
    if not weights.is_file():
        raise files.BadFiles(f"there is no {files.WEIGHTS} in {place}: weights in other formats are not loaded")
    config = files.table(place / "config.json")
    if kind == "LayerNorm":
        return Layer(kind=kind, weights=weights)
    if config.get("use_residual") or config.get("module_input_name", "sentence_embedding") != "sentence_embedding":
        raise _unknown(place.parent, "a Dense layer of another form")
    activation = str(config.get("activation_function", f"{ACTIVATIONS}Tanh"))
    if not activation.startswith(ACTIVATIONS):
        raise _unknown(place.parent, f"the activation function {activation!r}, which is code of its own")
    width = config.get("out_features")
    if not isinstance(width, int):
        raise files.BadFiles(f"{place / 'config.json'} is damaged: out_features is not a number")
    return Layer(kind=kind, weights=weights, activation=activation.rpartition(".")[2], width=width)


def _description(file: Path) -> dict[str, Any]:
    described = files.table(file)
    if (kind := described.get("model_type", "SentenceTransformer")) != "SentenceTransformer":
        raise files.BadFiles(f"{file} describes a {kind}, which makes no vectors of texts that are known here")
    prompts = described.get("prompts") or {}
    default = described.get("default_prompt_name")
    if not isinstance(prompts, dict) or not all(isinstance(prompt, str) for prompt in prompts.values()):
        raise files.BadFiles(f"{file} is damaged: its prompts are not texts by name")
    if default is not None and default not in prompts:
        raise files.BadFiles(f"{file} is damaged: there is no prompt {default!r} among its prompts")
    truncate = described.get("truncate_dim")
    return {
        "prompts": prompts,
        "default_prompt": "" if default is None else prompts[default],
        "truncate": truncate if isinstance(truncate, int) and truncate > 0 else 0,
    }


def _listed(file: Path) -> list[dict[str, Any]]:
    try:
        return msgspec.json.decode(file.read_bytes(), type=list[dict[str, Any]])
    except (OSError, msgspec.MsgspecError) as error:
        raise files.BadFiles(f"{file} is damaged: {error}") from error


def _unknown(folder: Path, what: str) -> files.BadFiles:
    return files.BadFiles(f"the files of {folder} ask for {what}; such vectors cannot be made here")
