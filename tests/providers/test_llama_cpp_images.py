"""Images with a projector file: llama.cpp computes what the model sees."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from mcp_server.errors import ContextTooLong, ProviderUnavailable, UnsupportedByModel
from mcp_server.interfaces import Finish, GenerateRequest
from mcp_server.providers.llama_cpp.images import pixels_of
from mcp_server.providers.llama_cpp.provider import LlamaCppProvider
from mcp_server.providers.llama_cpp.settings import LlamaCppModel, LlamaCppSettings
from mcp_server.values import Blob, GenerationConfig, Message, ModelState, Role, Text, ToolResult
from tests.providers.conftest import events_of, text_of
from tests.small_models.llama_server import TEMPLATE
from tests.small_models.projector import COLOURS, PARTS, SIZE, make_projector, png

pytestmark = pytest.mark.asyncio(loop_scope="session")

Parts = tuple[Text | Blob | ToolResult, ...]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def seeing(model_file: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LlamaCppProvider]:
    """The embedded model with a projector for colours, and with a file that is none."""
    projector = tmp_path_factory.mktemp("projector") / "colours.gguf"
    make_projector(projector, model_file)
    models = {
        "seeing": LlamaCppModel(path=model_file, projector=projector, temperature=0.0, context_window=1000),
        "tooled": LlamaCppModel(path=model_file, projector=projector, chat_template=TEMPLATE),
        "wrong": LlamaCppModel(path=model_file, projector=model_file),
    }
    provider = LlamaCppProvider(LlamaCppSettings(models=models))
    yield provider
    await provider.close()


def image(colour: str) -> Blob:
    """A picture of one colour."""
    return Blob(mime_type="image/png", data=png(colour))


def bmp(width: int, height: int) -> bytes:
    """The header of a picture without its pixels, which llama.cpp takes for black ones."""
    return b"BM" + struct.pack("<12xIiiHH24x", 40, width, height, 1, 24)


def asking(*parts: Text | Blob, role: Role = Role.USER, limit: int = 12) -> GenerateRequest:
    """A chat of one message."""
    message = Message(role=role, parts=parts)
    return GenerateRequest(model="seeing", messages=(message,), config=GenerationConfig(max_output_tokens=limit))


async def test_a_projector_is_what_makes_a_model_see(provider: LlamaCppProvider, seeing: LlamaCppProvider) -> None:
    """Without one it sees no images; a file that is no projector is a reason."""
    (blind,) = await provider.models()
    able, _, wrong = await seeing.models()
    assert (blind.capabilities.images, able.capabilities.images) == (False, True)
    assert wrong.state is ModelState.UNAVAILABLE
    assert wrong.state_reason.startswith("projector: ")
    with pytest.raises(ProviderUnavailable, match="is a llama model, and not a projector"):
        await events_of(seeing, GenerateRequest(model="wrong", prompt="x"))


@pytest.mark.parametrize("colour", COLOURS)
async def test_what_is_in_an_image_reaches_the_model(seeing: LlamaCppProvider, colour: str) -> None:
    """The answer to the same words depends on the image."""
    events = await events_of(seeing, asking(Text(text="Repeat this word: "), image(colour)))
    named = {other for other in COLOURS if other in text_of(events)}
    assert named == {colour}


async def test_an_image_counts_as_its_parts(seeing: LlamaCppProvider) -> None:
    """In the count before a call, and in the usage after it."""
    words = Text(text="Repeat this word: ")
    without = await seeing.count_tokens(asking(words))
    for images in (1, 2):
        request = asking(words, *[image("red")] * images, limit=1)
        (*_, finish) = await events_of(seeing, request)
        assert isinstance(finish, Finish)
        assert finish.usage is not None
        assert await seeing.count_tokens(request) == finish.usage.input_tokens == without + images * PARTS


async def test_too_many_images_are_too_long(seeing: LlamaCppProvider) -> None:
    """They are refused by the numbers, and the next call is answered."""
    with pytest.raises(ContextTooLong) as raised:
        await events_of(seeing, asking(*[image("red")] * 300))
    assert raised.value.metadata["limit"] == "1000"
    assert int(raised.value.metadata["tokens"]) > 300 * PARTS
    assert text_of(await events_of(seeing, asking(image("blue"))))


@pytest.mark.parametrize(
    ("request_", "problem"),
    [
        (asking(Blob(mime_type="image/webp", data=b"RIFF")), "cannot read image/webp as bytes: send image/bmp"),
        (asking(Blob(mime_type="application/pdf", data=b"%PDF")), "cannot read application/pdf as bytes"),
        (asking(Blob(mime_type="image/png", uri="http://localhost/a.png")), "cannot read image/png at an address"),
        (asking(Blob(mime_type="image/png", data=png("red")[:50])), "Failed to load image"),
        (asking(Blob(mime_type="image/png", data=b"not an image")), "content is none of image/bmp, image/gif"),
        (
            asking(*[Blob(mime_type="image/bmp", data=bmp(10_000, -10_000))] * 2),
            "these have 200000000: send smaller",
        ),
        (asking(image("red"), role=Role.SYSTEM), "only in messages of the user"),
    ],
    ids=["format", "document", "address", "damaged", "disguised", "huge", "system"],
)
async def test_what_it_cannot_see_is_said(seeing: LlamaCppProvider, request_: GenerateRequest, problem: str) -> None:
    """It is refused by its name; nothing is fetched from anywhere."""
    with pytest.raises(UnsupportedByModel, match=problem):
        await events_of(seeing, request_)


JPEG = b"\xff\xd8\xff\xe0\x00\x04\xff\xc0\x00\xff\xff"


@pytest.mark.parametrize(
    ("data", "pixels"),
    [
        (png("red"), SIZE * SIZE),
        (bmp(3, -4), 12),
        (b"BM" + struct.pack("<12xIHHHH", 12, 3, 4, 1, 24), 12),
        (b"GIF89a" + struct.pack("<HH", 3, 4), 12),
        (JPEG + b"\xc2\x00\x0b\x08\x00\x04\x00\x03", 12),
        (JPEG, None),
        (b"\xff\xd8" + b"\xff" * 1000, None),
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\x04CgBI" + bytes(12), None),
        (b"GIF89a", None),
        (bmp(0, 0), None),
        (b"8BPS", None),
        (b"", None),
    ],
)
async def test_the_header_says_how_large_an_image_is(data: bytes, pixels: int | None) -> None:
    """In each of the formats; without a size it is no image."""
    assert pixels_of(data) == pixels


async def test_the_result_of_a_tool_is_text(seeing: LlamaCppProvider) -> None:
    """An image in it is refused."""
    message = Message(role=Role.TOOL, parts=(ToolResult(tool_call_id="1", parts=(image("red"),)),))
    with pytest.raises(UnsupportedByModel, match="reads only text as the result of a tool"):
        await events_of(seeing, GenerateRequest(model="tooled", messages=(message,)))
