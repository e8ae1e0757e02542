"""What programs with LlamaIndex do: chat, stream, call tools, get an object, embed. Prints what came of it in JSON."""

from __future__ import annotations

import json
import sys
from typing import Any

from llama_index.core.llms import ChatMessage  # type: ignore[import-not-found]  # it has an environment of its own
from llama_index.core.tools import FunctionTool  # type: ignore[import-not-found]
from llama_index.embeddings.openai_like import OpenAILikeEmbedding  # type: ignore[import-not-found]
from llama_index.llms.openai_like import OpenAILike  # type: ignore[import-not-found]
from pydantic import BaseModel


class City(BaseModel):
    """A city."""

    city: str


def weather(city: str) -> str:
    """Tells the weather."""
    return "sun" if city == "Rome" else ""


url = sys.argv[1]
llm: Any = OpenAILike(
    model="p/able",
    api_base=url,
    api_key="any",
    is_chat_model=True,
    is_function_calling_model=True,
    max_retries=0,
)
question = [ChatMessage(role="system", content="Be brief."), ChatMessage(role="user", content="How is it in Rome?")]
chat = llm.chat(question)
streamed = [piece.delta for piece in llm.stream_chat(question)]
tools = llm.predict_and_call([FunctionTool.from_defaults(weather)], user_msg="How is it in Rome?")
found = llm.as_structured_llm(City).chat(question)
embedder = OpenAILikeEmbedding(model_name="echo/echo", api_base=url, api_key="any", max_retries=0)
vectors = embedder.get_text_embedding_batch(["abba", "z"])

print(  # noqa: T201  # this is how the test learns it
    json.dumps(
        {
            "chat": chat.message.content,
            "stream": "".join(streamed),
            "tools": tools.response,
            "object": found.raw.model_dump(),
            "embeddings": [vector[:2] for vector in vectors],
        }
    )
)
