"""The settings of the provider ``huggingface``, read from TOML."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mcp_client import MCPClient
from mcp_server.errors import ConfigError
from mcp_server.providers.huggingface.settings import HuggingFaceSettings
from mcp_server.settings import load
from mcp_server.testing import running
from tests.providers.test_huggingface_embedding import MEAN, bert, say
from tests.providers.test_huggingface_embedding import settings as loading
from tests.small_models.tiny import WINDOW

PAGE = Path(__file__).parent.parent.parent / "docs" / "providers" / "huggingface.md"
SERVER = '[server]\naddress = "127.0.0.1:0"\n[store]\ntype = "memory"\n[metrics]\naddress = ""\n'


def settings(folder: Path, text: str) -> Path:
    """A file with these settings."""
    file = folder / "contextprotocol.toml"
    file.write_text(SERVER + text)
    return file


async def test_the_settings_of_the_page_are_taken(tmp_path: Path) -> None:
    """A server starts with them, and says of each model whether it is there."""
    (text,) = re.findall(r"^```toml\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    config = load(settings(tmp_path, text), environ={})
    provider = config.providers["hf"]
    assert isinstance(provider, HuggingFaceSettings)
    async with running(config) as server, MCPClient(server.address) as client:
        models = {model.name: model for model in await client.list_models()}
    assert models.keys() == {f"hf/{name}" for name in provider.models}
    assert models["hf/mine"].state == "unavailable"
    assert models["hf/mine"].is_default


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[providers.hf]\ntype = 'huggingface'\nmodels = {}", "at least one model"),
        ("[providers.hf]\ntype = 'huggingface'\nmodels.mine = {}", "providers.hf.models.mine.path"),
        ("[providers.hf]\ntype = 'huggingface'\nmodels.mine = { path = 'x', source = 'a/b' }", "one of the two"),
        ("[providers.hf]\ntype = 'huggingface'\nmodels.mine = { source = 'b' }", "owner/name"),
        ("[providers.hf]\ntype = 'huggingface'\ndevice = 'gpu'\nmodels.'a/b' = {}", "cuda"),
        ("[providers.hf]\ntype = 'huggingface'\ndtype = 'int4'\nmodels.'a/b' = {}", "bfloat16"),
    ],
)
def test_settings_that_cannot_be_are_refused(tmp_path: Path, text: str, problem: str) -> None:
    """With the key, and with what is allowed."""
    with pytest.raises(ConfigError, match=problem):
        load(settings(tmp_path, text), environ={})


@pytest.mark.parametrize(("window", "allowed"), [(WINDOW, True), (WINDOW + 1, False)])
def test_a_context_window_is_at_most_the_models_own(
    tiny_model: Path, tmp_path: Path, window: int, allowed: bool
) -> None:
    """The server does not start with a larger one."""
    text = f"[providers.hf]\ntype = 'huggingface'\nmodels.mine = {{ path = '{tiny_model}', context_window = {window} }}"
    file = settings(tmp_path, text)
    if allowed:
        load(file, environ={})
        return
    with pytest.raises(ConfigError, match=rf"mine\.context_window.*found {window}, expected at most {WINDOW}"):
        load(file, environ={})


@pytest.mark.usefixtures("transformers")
def test_the_same_holds_for_embeddings(tmp_path: Path) -> None:
    """Their window is the limit of sentence-transformers, if the files state one."""
    model = tmp_path / "model"
    bert(model)
    say(model, MEAN)
    (model / "sentence_bert_config.json").write_text('{"max_seq_length": 256}')
    text = f"[providers.hf]\ntype = 'huggingface'\nmodels.mine = {{ path = '{model}', context_window = 512 }}"
    with pytest.raises(ConfigError, match="expected at most 256"):
        load(settings(tmp_path, text), environ={})


def test_a_model_of_the_hub_is_checked_when_it_is_loaded(tiny_model: Path) -> None:
    """Its files are not here before."""
    from mcp_server.providers.huggingface.worker.failures import CannotLoad
    from mcp_server.providers.huggingface.worker.loading import load as load_model

    with pytest.raises(CannotLoad, match=f"context_window is {WINDOW + 1}, and the model reads {WINDOW}"):
        load_model(loading(tiny_model, context_window=WINDOW + 1))
