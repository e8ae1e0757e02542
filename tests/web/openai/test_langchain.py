"""LangChain's chat model for OpenAI as a client."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pydantic
import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import SecretStr

from mcp_server.testing import EchoProvider
from tests.web.meteorologist import Meteorologist
from tests.web.openai.conftest import API, StartAPI
from tests.web.openai.test_chat import ALL, MODEL


class Weather(pydantic.BaseModel):
    """Tells the weather."""

    city: str


@pytest.fixture
async def api(start_api: StartAPI) -> API:
    """A server with a model of each kind."""
    return await start_api(p=Meteorologist(model=ALL), echo=EchoProvider())


@pytest.fixture
async def chat_model(api: API) -> AsyncIterator[ChatOpenAI]:
    """LangChain's model, over that server."""
    async with httpx2.AsyncClient() as connections:  # its own ones are never closed
        yield ChatOpenAI(
            model=MODEL,
            base_url=api.url,
            api_key=SecretStr("any"),
            max_retries=0,
            stream_usage=True,
            http_async_client=connections,
        )


async def test_langchain_gets_an_answer_and_its_usage(chat_model: ChatOpenAI) -> None:
    """Whole and streamed alike."""
    whole = await chat_model.ainvoke([("system", "Be brief."), ("human", "How is it?")])
    streamed = None
    async for chunk in chat_model.astream([("system", "Be brief."), ("human", "How is it?")]):
        streamed = chunk if streamed is None else streamed + chunk
    assert streamed is not None
    for message in (whole, streamed):
        assert isinstance(message, AIMessage)
        assert message.content == "It is sunny."
        assert message.usage_metadata is not None
        assert message.usage_metadata["total_tokens"] == 18


async def test_langchain_calls_tools(chat_model: ChatOpenAI) -> None:
    """It sends its own call back with the result."""
    bound = chat_model.bind_tools([Weather], strict=True, tool_choice="any")
    call = await bound.ainvoke("How is it in Rome?")
    assert isinstance(call, AIMessage)
    assert [(one["name"], one["args"]) for one in call.tool_calls] == [("Weather", {"city": "Rome"})]
    result = ToolMessage("sun", tool_call_id=call.tool_calls[0]["id"])
    answer = await bound.ainvoke([HumanMessage("How is it in Rome?"), call, result])
    assert answer.content == "It is sunny."


@pytest.mark.parametrize("method", ["json_schema", "json_mode", "function_calling"])
async def test_langchain_gets_objects(chat_model: ChatOpenAI, method: str) -> None:
    """By each of its ways."""
    structured = chat_model.with_structured_output(Weather, method=method)  # type: ignore[arg-type]  # one of three literals
    assert await structured.ainvoke("Which city? Answer in JSON.") == Weather(city="Rome")


async def test_langchain_gets_embeddings(api: API) -> None:
    """It must not turn texts into tokens of OpenAI's models itself."""
    async with httpx2.AsyncClient() as connections:
        embeddings = OpenAIEmbeddings(
            model="echo/echo",
            base_url=api.url,
            api_key=SecretStr("any"),
            check_embedding_ctx_length=False,
            http_async_client=connections,
        )
        vectors = await embeddings.aembed_documents(["abba", "z"])
    assert [vector[:2] for vector in vectors] == [[2.0, 2.0], [0.0, 0.0]]


async def test_langchain_keeps_its_history_here(chat_model: ChatOpenAI) -> None:
    """With responses, each of which continues the one before."""
    model = chat_model.model_copy(update={"use_responses_api": True, "use_previous_response_id": True})
    with_tools = model.bind_tools([Weather])
    question = HumanMessage("How is it in Rome?")
    asked = await with_tools.ainvoke([question])
    assert isinstance(asked, AIMessage)
    assert [(call["name"], call["args"]) for call in asked.tool_calls] == [("Weather", {"city": "Rome"})]
    result = ToolMessage("sun", tool_call_id=asked.tool_calls[0]["id"])
    streamed: Any = None
    async for chunk in with_tools.astream([question, asked, result]):
        streamed = chunk if streamed is None else streamed + chunk
    assert streamed.text == "It is sunny."
    assert streamed.usage_metadata["input_tokens"] == 11
