"""The contract of histories."""

from __future__ import annotations

import random

import pytest

from mcp_server.interfaces import Change, Store, Stored
from mcp_server.testing.contracts.stores.values import (
    NOW,
    append,
    delete,
    messages,
    put,
    receipt,
    replace,
    session,
    texts,
    turn,
    update,
)
from mcp_server.values import (
    Blob,
    FinishReason,
    Message,
    ProviderState,
    ProviderStatePart,
    Reasoning,
    Refusal,
    Role,
    Text,
    ToolCall,
    ToolResult,
    Usage,
    UsageSource,
)


class MessageContract:
    """The contract of histories."""

    async def test_a_message_is_read_as_it_was_written(self, store: Store) -> None:
        """All kinds of parts and all fields."""
        written = Message(
            role=Role.ASSISTANT,
            parts=(
                Text(text="hi", provider_state=ProviderState(provider="p", data=b"\x00")),
                ProviderStatePart(provider_state=ProviderState(provider="p", model="m", data=b"\xff\x00")),
                Reasoning(text="hm"),
                Refusal(text="no"),
                Blob(mime_type="image/png", data=b"\x00\x01"),
                Blob(mime_type="image/png", uri="https://example.com/a.png"),
                ToolCall(id="c", name="f", arguments_json="{}"),
                ToolResult(tool_call_id="c", parts=(Text(text="42"), Blob(mime_type="a/b", data=b"x")), is_error=True),
            ),
            name="Ada",
            index=0,
            id="m0",
            create_time=NOW,
            turn="turn",
            model="echo/echo",
            finish_reason=FinishReason.LENGTH,
            usage=Usage(input_tokens=1, output_tokens=2, source=UsageSource.REPORTED),
        )
        await store.change("t", "s", lambda _: Change(session=session(message_count=1), append=(written,)))
        assert list(await store.messages("t", "uid-s", 0, 1)) == [written]
        read = await store.change("t", "s", lambda _: Change(read_last=1))
        assert read.messages == (written,)

    async def test_messages_keep_their_order(self, store: Store) -> None:
        """Over many changes, and with indices of several digits."""
        await put(store, session())
        expected = [str(n) for n in range(300)]
        for n in range(0, 300, 3):
            await append(store, "s", *expected[n : n + 3])
        assert await texts(store, "uid-s") == expected
        found = await store.messages("t", "uid-s", 0, 300)
        assert [message.index for message in found] == list(range(300))
        stored = await store.session("t", "s")
        assert stored is not None
        assert stored.message_count == 300

    @pytest.mark.parametrize(
        ("start", "stop", "expected"),
        [(0, 3, "abc"), (1, 2, "b"), (2, 9, "cde"), (3, 2**62, "de"), (4, 4, ""), (5, 9, ""), (3, 1, ""), (-2, 1, "a")],
    )
    async def test_a_range_of_messages(self, store: Store, start: int, stop: int, expected: str) -> None:
        """``start <= index < stop``, as far as such messages exist."""
        await put(store, session())
        await append(store, "s", *"abcde")
        assert await texts(store, "uid-s", start, stop) == list(expected)

    async def test_messages_of_neighbours_stay_apart(self, store: Store) -> None:
        """A range never includes messages of another session or tenant."""
        for name in ("a", "b", "c"):
            await put(store, session(name))
            await append(store, name, name)
        await put(store, session("b", tenant="u"))
        assert await texts(store, "uid-b") == ["b"]
        assert await texts(store, "uid-b", tenant="u") == []
        assert await texts(store, "uid-b", 1, 2**40) == []

    @pytest.mark.parametrize("count", [0, 1, 2, 5, 9])
    async def test_read_last_gives_the_end_of_the_history(self, store: Store, count: int) -> None:
        """As it was before the change, oldest first."""
        await put(store, session())
        await append(store, "s", *"abcde")

        def decide(stored: Stored) -> Change:
            old = stored.session
            assert old is not None
            return Change(session=replace(old, message_count=6), append=messages(5, "f"), read_last=count)

        changed = await store.change("t", "s", decide)
        assert "".join(message.text for message in changed.messages) == "abcde"[max(5 - count, 0) :]
        assert await texts(store, "uid-s") == list("abcdef")

    @pytest.mark.parametrize("size", [1, 2_500, 10**9])
    async def test_read_last_may_stop_after_the_bytes_that_are_enough(self, store: Store, size: int) -> None:
        """It returns the last messages, at least one, and all that have fewer bytes together; also the next time."""
        await put(store, session())
        texts = [letter * 1000 for letter in "abcde"]
        await append(store, "s", *texts)
        for _ in range(2):
            changed = await store.change("t", "s", lambda _: Change(read_last=5, read_bytes=size))
            read = [message.text for message in changed.messages]
            assert read == texts[-len(read) :]
            assert len(read) >= min(max(size // 1200, 1), 5)
        changed = await store.change("t", "s", lambda _: Change(read_last=5))
        assert [message.text for message in changed.messages] == texts

    async def test_read_last_is_right_however_steps_are_mixed(self, store: Store) -> None:
        """Hundreds of random changes of a few sessions give the same as lists in Python."""
        choice = random.Random(7)  # noqa: S311  # no secret
        model: dict[str, list[str]] = {}
        written = 0

        async def step(name: str) -> None:
            nonlocal written
            kind = choice.choice(["append", "append", "read", "touch", "read", "replace", "delete", "fail"])
            if name not in model or kind == "replace":
                written += 1
                await put(store, session(name, uid=f"{name}-{written}"))
                model[name] = []
            elif kind == "append":
                new = [f"{name} {n}" for n in range(written, written + choice.randint(1, 4))]
                written += len(new)
                await append(store, name, *new)
                model[name] += new
            elif kind == "delete":
                await delete(store, name)
                del model[name]
            elif kind == "fail":
                with pytest.raises(LookupError):
                    await store.change("t", name, lambda _: (_ for _ in ()).throw(LookupError()))
            elif kind == "touch":
                written += 1
                await update(store, name, etag=str(written))
            else:
                length = choice.choice([1, 3, 20])
                changed = await store.change("t", name, lambda _: Change(read_last=length))
                assert [message.text for message in changed.messages] == model[name][-length:]

        for _ in range(400):
            await step(choice.choice("abc"))
        for name, expected in model.items():
            stored = await store.session("t", name)
            assert stored is not None
            assert await texts(store, stored.uid) == expected

    @pytest.mark.parametrize(
        "change",
        [
            Change(session=session("another")),
            Change(session=session(tenant="another")),
            Change(session=session(message_count=1)),
            Change(session=session(message_count=1), append=messages(1, "a")),
            Change(append=messages(0, "a")),
            Change(session=session(), delete=True),
            Change(turn=turn(tenant="another")),
            Change(turn=turn(session="s", session_uid="another")),
            Change(turn=turn(session="s", session_uid="uid-s"), delete=True),
            Change(receipt=receipt(tenant="another")),
            Change(receipt=receipt(scope="another")),
            Change(receipt=receipt(scope="uid-s"), delete=True),
        ],
        ids=[
            "id",
            "tenant",
            "count",
            "index",
            "append alone",
            "both",
            "turn tenant",
            "turn session",
            "turn deleted",
            "receipt tenant",
            "receipt session",
            "receipt deleted",
        ],
    )
    async def test_a_change_that_contradicts_itself_is_refused(self, store: Store, change: Change) -> None:
        """It is a bug in the deciding code: nothing is written."""
        await put(store, session())
        with pytest.raises(ValueError, match=r"."):
            await store.change("t", "s", lambda _: change)
        assert await store.session("t", "s") == session()
        assert await store.turn("t", "turn") is None
