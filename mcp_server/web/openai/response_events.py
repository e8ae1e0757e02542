"""The events of a turn as the events of a response."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from mcp_server.errors import MCPError, TurnCancelled
from mcp_server.values import (
    Completed,
    Delta,
    Event,
    Heartbeat,
    Logprob,
    Part,
    PartStarted,
    ProviderState,
    ProviderStatePart,
    Queued,
    Reasoning,
    Started,
    Switched,
    SwitchMode,
    Text,
    ToolCall,
    Turn,
    Usage,
)
from mcp_server.web.openai.identifiers import TurnId, answer_item_id
from mcp_server.web.openai.items import (
    Form,
    Item,
    call_item,
    message_item,
    reasoning_item,
    reasoning_part,
    refusal_part,
    text_part,
)
from mcp_server.web.openai.logprobs import token_objects
from mcp_server.web.openai.response_objects import Response, begun, complete, fail, last_item_status

NUMBERS: Final = 16
"""How many numbers each event of a turn has for those that it becomes. Only the last becomes more."""
KEEP_ALIVE: Final = b": keep-alive\n\n"
"""A comment, which clients skip."""
DONE: Final = b"data: [DONE]\n\n"
"""The end of a stream."""

_encode: Final = msgspec.json.Encoder().encode
_CONTENT: Final = ("text", "refusal")


class _Content:
    """A part of an answer while it grows."""

    __slots__ = ("index", "item", "kind", "logprobs", "pieces", "state")

    def __init__(self, kind: str, item: _OpenItem, index: int) -> None:
        self.kind = kind
        self.item = item
        self.index = index
        self.pieces: list[str] = []
        self.logprobs: list[Logprob] = []
        self.state: ProviderState | None = None

    @property
    def text(self) -> str:
        return "".join(self.pieces)


class _OpenItem:
    """An item while it grows."""

    __slots__ = ("call", "contents", "done", "id", "index", "kind", "name")

    def __init__(self, kind: str, id: str, index: int, call: str = "", name: str = "") -> None:
        self.kind = kind
        self.id = id
        self.index = index
        self.call = call
        self.name = name
        self.contents: list[_Content] = []
        self.done: Item | None = None
        """What it is in the end."""


_CLASSES: Final[dict[str, type[Part]]] = {
    "text": Text,
    "refusal": Text,
    "tool_call": ToolCall,
    "reasoning": Reasoning,
    "provider_state": ProviderStatePart,
}


class ResponseEvents:
    """Translates the events of one turn, from the first on, into server-sent events.

    ``sequence_number`` is the same whenever an event is sent: that of the event of the turn, times :data:`NUMBERS`,
    plus the position among those that it becomes.

    Args:
        turn: the turn.
        form: what items contain.
        instructions: those of the request, if they are known.
        after: the number of the last event that the caller has.
    """

    def __init__(self, turn: Turn, form: Form, *, instructions: str | None = None, after: int = 0) -> None:
        self._turn = turn
        self._form = form
        self._after = after
        self._response = begun(turn, instructions=instructions)
        self._number = 0
        self._began = False
        self._pieces: list[bytes] = []
        self._items: list[_OpenItem] = []
        self._parts: dict[int, _Content] = {}

    def translate(self, sequence: int, event: Event) -> bytes:
        """The events that an event of the turn becomes, if the caller has not got them."""
        if type(event) is Heartbeat:
            return KEEP_ALIVE
        self._number = NUMBERS * sequence
        self._began = True
        if type(event) is Delta:
            self._delta(event)
        elif type(event) is PartStarted:
            self._part(event)
        elif type(event) is Completed:
            self._complete(event)
        elif type(event) is Queued:
            self._response["status"] = "queued"
            self._send_response("response.created")
            self._send_response("response.queued")
        elif type(event) is Started:
            self._start(event.model, created=self._response["status"] == "queued")
        elif type(event) is Switched:
            self._switch(event)
        data = b"".join(self._pieces)
        self._pieces.clear()
        return data

    def failure(self, last: int, error: MCPError, usage: Usage) -> bytes:
        """The events at the end of a turn that did not succeed.

        Args:
            last: the number of its last event.
            error: how it ended.
            usage: what it has used.
        """
        self._number = NUMBERS * last + NUMBERS - (1 if self._began else 2)
        if not self._began:  # it failed before it asked a model, or nothing of it was written down
            self._send_response("response.created")
        self._response["output"] = [self._closed(item, "incomplete") for item in self._items]
        fail(self._response, error, usage, cancelled=isinstance(error, TurnCancelled))
        self._send_response("response.failed")
        data = b"".join(self._pieces)
        self._pieces.clear()
        return data

    @property
    def turn(self) -> TurnId:
        """The ids of the turn."""
        return TurnId(self._turn.session, self._turn.id)

    @property
    def response(self) -> Response:
        """The response as it is now."""
        return self._response

    # -- the response -------------------------------------------------------------------------------------------------

    def _start(self, model: str, *, created: bool = False) -> None:
        self._response |= {"status": "in_progress", "model": model, "output": []}
        if not created:
            self._send_response("response.created")
        self._send_response("response.in_progress")

    def _switch(self, event: Switched) -> None:
        self._response["model"] = event.to_model
        if event.mode is SwitchMode.RESTARTED and self._items:
            # It was interrupted after it had begun to answer, and its request was sent again.
            self._items.clear()
            self._parts.clear()
            self._start(event.to_model)

    def _complete(self, event: Completed) -> None:
        status = last_item_status(event.finish_reason)
        for item in self._items:
            self._close(item, status if item is self._items[-1] else "completed")
        output = [item.done for item in self._items if item.done is not None]
        complete(self._response, event, output, self._turn.create_time)
        self._send_response(f"response.{self._response['status']}")

    def _send_response(self, kind: str) -> None:
        self._send(kind, response=self._response)

    def _send(self, kind: str, **fields: Any) -> None:
        number = self._number
        self._number += 1
        if number > self._after:
            data = _encode({"type": kind, "sequence_number": number, **fields})
            self._pieces.append(b"event: " + kind.encode() + b"\ndata: " + data + b"\n\n")

    # -- items --------------------------------------------------------------------------------------------------------

    def _part(self, event: PartStarted) -> None:
        kind = event.kind
        last = self._items[-1] if self._items else None
        if kind in _CONTENT and last is not None and last.kind == "message" and last.done is None:
            self._end_content(last.contents[-1])
            item = last
        else:
            # Pieces of several tool calls may alternate: they stay open until the end.
            if last is not None and last.kind != "tool_call":
                self._close(last, "completed")
            item = self._open(event)
        content = _Content(kind, item, len(item.contents))
        item.contents.append(content)
        self._parts[event.part] = content
        where = {"item_id": item.id, "output_index": item.index}
        if kind in _CONTENT:
            self._send("response.content_part.added", **where, content_index=content.index, part=self._shown(content))
        elif kind == "reasoning":
            self._send_reasoning("added", where, part=reasoning_part("", self._form))

    def _open(self, event: PartStarted) -> _OpenItem:
        index = len(self._items)
        kind = "message" if event.kind in _CONTENT else event.kind
        id = answer_item_id(self._turn.id, _CLASSES[event.kind], index)
        item = _OpenItem(kind, id, index, event.tool_call_id, event.tool_name)
        self._items.append(item)
        self._send("response.output_item.added", output_index=index, item=self._closed(item, "in_progress"))
        return item

    def _delta(self, event: Delta) -> None:
        content = self._parts[event.part]
        if event.provider_state is not None:
            content.state = event.provider_state
            if content.item.kind == "reasoning" and content.item.done is not None:
                content.item.done = self._closed_as(content.item, "completed")
            return
        content.pieces.append(event.text)
        item = content.item
        where = {"item_id": item.id, "output_index": item.index, "content_index": content.index}
        if content.kind == "text":
            if event.logprobs and self._form.logprobs:
                content.logprobs += event.logprobs
            logprobs = token_objects(event.logprobs) if self._form.logprobs else []
            self._send("response.output_text.delta", **where, delta=event.text, logprobs=logprobs)
        elif content.kind == "refusal":
            self._send("response.refusal.delta", **where, delta=event.text)
        elif content.kind == "tool_call":
            del where["content_index"]
            self._send("response.function_call_arguments.delta", **where, delta=event.text)
        elif content.kind == "reasoning":
            self._send_reasoning_text("delta", where, delta=event.text)

    def _close(self, item: _OpenItem, status: str) -> None:
        if item.done is not None:
            return
        self._end_content(item.contents[-1])
        item.done = self._closed(item, status)
        self._send("response.output_item.done", output_index=item.index, item=item.done)

    def _end_content(self, content: _Content) -> None:
        item, text = content.item, content.text
        where = {"item_id": item.id, "output_index": item.index}
        if content.kind == "tool_call":
            done = {"arguments": text, "name": item.name}
            self._send("response.function_call_arguments.done", **where, **done)
        elif content.kind == "reasoning":
            self._send_reasoning_text("done", {**where, "content_index": content.index}, text=text)
            self._send_reasoning("done", where, part=reasoning_part(text, self._form))
        elif content.kind in _CONTENT:
            where["content_index"] = content.index
            if content.kind == "text":
                logprobs = token_objects(content.logprobs)
                self._send("response.output_text.done", **where, text=text, logprobs=logprobs)
            else:
                self._send("response.refusal.done", **where, refusal=text)
            self._send("response.content_part.done", **where, part=self._shown(content))

    def _send_reasoning(self, what: str, where: dict[str, Any], **fields: Any) -> None:
        if self._form.summaries:
            self._send(f"response.reasoning_summary_part.{what}", **where, summary_index=0, **fields)
        else:
            self._send(f"response.content_part.{what}", **where, content_index=0, **fields)

    def _send_reasoning_text(self, what: str, where: dict[str, Any], **fields: Any) -> None:
        if self._form.summaries:
            index = where.pop("content_index")
            self._send(f"response.reasoning_summary_text.{what}", **where, summary_index=index, **fields)
        else:
            self._send(f"response.reasoning_text.{what}", **where, **fields)

    def _closed(self, item: _OpenItem, status: str) -> Item:
        """An item as it is now."""
        return self._closed_as(item, status) if item.done is None else item.done

    def _closed_as(self, item: _OpenItem, status: str) -> Item:
        contents = item.contents
        if item.kind == "tool_call":
            return call_item(item.id, item.call, item.name, contents[0].text if contents else "", status)
        if item.kind == "message":
            return message_item(item.id, [self._shown(content) for content in contents], status)
        state = contents[0].state if contents else None
        text = contents[0].text if contents else ""
        return reasoning_item(item.id, text, state, self._form, status)

    def _shown(self, content: _Content) -> Item:
        if content.kind == "refusal":
            return refusal_part(content.text)
        return text_part(content.text, content.logprobs)
