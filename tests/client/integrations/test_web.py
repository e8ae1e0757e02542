"""A chat in a web application: what a browser gets, whatever the framework."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from http.cookies import Morsel, SimpleCookie
from typing import Any
from urllib.parse import quote, unquote

import aiohttp
import pytest
from yarl import URL

from mcp_client import MCPClient, session_id_for
from mcp_client.integrations._web.settings import WebChatSettings
from mcp_client.integrations._web.visitors import Cookie
from mcp_server import errors
from mcp_server.errors import ProviderUnavailable
from mcp_server.interfaces import Finish, PartState
from mcp_server.testing import Gate, ScriptedProvider
from tests.client.integrations.conftest import Open, Serve, say
from tests.client.integrations.reader import events, whole
from tests.client.integrations.sites import SITES, Site


async def test_an_answer_streams_as_it_comes(site: Site, serve: Serve, browser: Open, stack: AsyncExitStack) -> None:
    """Each token when it is there, with an id of its own; then the whole. What only the provider needs is left out."""
    gate = Gate()
    states = [PartState(data=b"signature"), PartState(data=b"hidden", own_part=True)]
    server = await serve(ScriptedProvider(["Hel", gate, "lo", *states, Finish()]))
    url = await stack.enter_async_context(site(server.address)) + "/chat"
    async with (await browser()).post(url, **say("Hi")) as response:
        assert response.headers["Cache-Control"] == "no-cache, no-transform"
        assert response.headers["X-Accel-Buffering"] == "no"
        received = events(response)
        started = await anext(received)
        assert (started.name, started.data["model"]) == ("started", "scripted/scripted")
        turn = started.data["turn"]
        assert response.headers["Content-Location"] == f"chat/{turn}"
        while (event := await anext(received)).name != "delta":
            pass
        assert event.data == {"part": 0, "text": "Hel"}
        gate.open()
        rest = [event async for event in received]
        assert [event.data["text"] for event in rest if event.name == "delta"] == ["lo"]
        assert rest[-1].name == "completed"
        assert rest[-1].data["finish_reason"] == "stop"
        assert rest[-1].data["usage"]["output_tokens"] > 0
        ids = [event.id for event in [started, event, *rest]]
        assert all(id.startswith(f"{turn}/") for id in ids)
        assert [int(id.partition("/")[2]) for id in ids] == sorted({int(id.partition("/")[2]) for id in ids})


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_browser_goes_on_where_it_was_cut(
    site: Site, serve: Serve, browser: Open, stack: AsyncExitStack, method: str
) -> None:
    """With the id of the last event: no token is lost or comes twice, and the model is asked once."""
    gate = Gate()
    provider = ScriptedProvider(["one ", "two ", gate, "three ", "four", Finish()])
    server = await serve(provider)
    url = await stack.enter_async_context(site(server.address)) + "/chat"
    visitor = await browser()
    seen, text = "", ""
    async with visitor.post(url, **say("Count", request_id="count-1")) as response:
        async for event in events(response):
            seen, text = event.id, text + event.data.get("text", "")
            if text == "one two ":
                break
        response.close()  # as if the cable were cut
    turn = seen.partition("/")[0]
    if method == "GET":
        again = visitor.get(f"{url}/{turn}", headers={"Last-Event-ID": seen})
    else:
        body = {"message": "Count", "request_id": "count-1"}
        again = visitor.post(url, json=body, headers={"Last-Event-ID": seen})
    async with again as response:
        gate.open()
        rest, received = await whole(response)
    assert text + rest == "one two three four"
    assert received[-1].name == "completed"
    assert (len(provider.requests), provider.cancelled) == (1, 0)
    for last in (received[-1].id, f"{turn}/end"):  # an EventSource comes back after the end as well, until it is told
        async with visitor.get(f"{url}/{turn}", headers={"Last-Event-ID": last}) as response:
            assert response.status == 204
    async with visitor.get(f"{url}/{turn}") as response:  # and who has seen nothing gets it all
        assert (await whole(response))[0] == "one two three four"


async def test_an_answer_survives_the_application(
    site: Site, serve: Serve, browser: Open, stack: AsyncExitStack
) -> None:
    """It is stopped in the middle and started again; the browser goes on at the new one."""
    gate = Gate()
    provider = ScriptedProvider(["one ", gate, "two", Finish()])
    server = await serve(provider)
    visitor = await browser()
    async with site(server.address) as address:
        response = await visitor.post(f"{address}/chat", **say("Count"))
        received = events(response)
        while (event := await anext(received)).name != "delta":
            pass
        if site is SITES["flask"]:
            response.close()  # its server waits for its threads
    response.close()
    port = int(address.rpartition(":")[2])
    async with site(server.address, port=port) as address:
        turn = event.id.partition("/")[0]
        async with visitor.get(f"{address}/chat/{turn}", headers={"Last-Event-ID": event.id}) as response:
            gate.open()
            assert (await whole(response))[0] == "two"
    assert (len(provider.requests), provider.cancelled) == (1, 0)


async def test_an_event_source_begins_with_a_place(
    site: Site, serve: Serve, browser: Open, stack: AsyncExitStack
) -> None:
    """It can only GET: who posts for it is told where the answer will be, and does not wait for it."""
    gate = Gate()
    server = await serve(ScriptedProvider(["Hel", gate, "lo", Finish()]))
    url = await stack.enter_async_context(site(server.address)) + "/chat"
    visitor = await browser()
    async with visitor.post(url, json={"message": "Hi"}, headers={"Accept": "application/json"}) as response:
        assert response.status == 202
        turn = (await response.json())["turn"]
        place = response.url.join(URL(response.headers["Location"]))
    assert str(place) == f"{url}/{turn}"
    async with visitor.get(place) as response:
        gate.open()
        assert (await whole(response))[0] == "Hello"


async def test_each_visitor_has_a_session_of_their_own(
    site: Site, serve: Serve, browser: Open, stack: AsyncExitStack
) -> None:
    """It is remembered, and nobody else reaches it or its turns."""
    server = await serve()
    url = await stack.enter_async_context(site(server.address)) + "/chat"
    ann, bob = await browser(), await browser()
    async with ann.post(url, **say("I am Ann")) as response:
        text, received = await whole(response)
        assert "I am Ann" in text
        cookie = SimpleCookie(response.headers["Set-Cookie"])["chat_visitor"]
    assert (cookie["httponly"], cookie["samesite"], cookie["secure"], cookie["path"]) == (True, "Lax", "", "/")
    assert int(cookie["max-age"]) == 30 * 24 * 3600
    turn = received[0].data["turn"]
    async with bob.post(url, **say("I am Bob")) as response:
        assert "Ann" not in (await whole(response))[0]
    for call in (bob.get(f"{url}/{turn}"), bob.delete(f"{url}/{turn}"), bob.get(f"{url}/..%2f{turn}")):
        async with call as response:
            assert response.status == 404
    async with ann.get(f"{url}/{turn}") as response:
        assert (await whole(response))[0] == text
    async with ann.get(url) as response:
        shown = await response.json()
    assert [(one["role"], one["text"]) for one in shown["messages"]] == [("user", "I am Ann"), ("assistant", text)]
    assert (shown["turn"], {one["turn"] for one in shown["messages"]}) == (None, {turn})
    async with MCPClient(server.address) as client:
        names = [session.name async for session in client.list_sessions()]
    assert len(names) == 2
    assert not any(cookie.value.partition(".")[0] in name for name in names)  # a list of sessions opens none


async def test_an_application_may_know_its_users(
    site: Site, serve: Serve, browser: Open, stack: AsyncExitStack
) -> None:
    """Then no cookie is set, and sessions and turns are as the request says."""
    provider = ScriptedProvider.saying("Hello")
    server = await serve(provider)
    chat = site(
        server.address,
        session_of=lambda request: request.headers.get("X-User"),
        session_options=lambda request: {"labels": {"plan": request.headers["X-Plan"]}},
        turn_options={"temperature": 0.5},
    )
    url = await stack.enter_async_context(chat) + "/chat"
    headers = {"Accept": "text/event-stream", "X-User": "ann", "X-Plan": "free"}
    async with (await browser()).post(url, json={"message": "Hi"}, headers=headers) as response:
        assert (await whole(response))[0] == "Hello"
        assert "Set-Cookie" not in response.headers
    async with MCPClient(server.address) as client:
        assert (await client.get_session("ann")).labels == {"plan": "free"}
    assert provider.requests[0].config.temperature == 0.5
    async with (await browser()).get(url) as response:  # nobody that it knows
        assert "Set-Cookie" in response.headers


KEY = "the secret of the site"
FORGED = [
    "",
    "short",
    "x" * 5000,
    "../../" + "x" * 26,
    '"' + "x" * 32,
    "x" * 32,
    f"{'x' * 32}.",
    f"{'x' * 32}.{'x' * 43}",
]


async def cookie_for(url: str, value: str, name: str = "chat_visitor") -> Morsel[str]:
    """The cookie that a visitor has after a request with a cookie of this value."""
    headers = {"Cookie": f"{name}={value}"}
    async with aiohttp.ClientSession(headers=headers) as visitor, visitor.get(url) as response:
        assert response.status == 200
        return SimpleCookie(response.headers["Set-Cookie"])[name]


async def test_a_cookie_that_the_site_did_not_make_starts_a_new_visitor(
    site: Site, serve: Serve, stack: AsyncExitStack
) -> None:
    """Whether it is malformed, invented, changed or signed by another site."""
    server = await serve()
    url = await stack.enter_async_context(site(server.address, secret=KEY)) + "/chat"
    other = await stack.enter_async_context(site(server.address, secret="the secret of another site")) + "/chat"
    own = (await cookie_for(url, "")).value
    assert (await cookie_for(url, own)).value == own
    secret, _, signature = own.partition(".")
    changed = [f"{secret[1:]}{secret[0]}.{signature}", f"{secret}.{signature[1:]}{signature[0]}", own + "A", secret]
    for value in [*FORGED, *changed, (await cookie_for(other, "")).value]:
        made = (await cookie_for(url, value)).value
        assert made not in (value, own)
        assert made.partition(".")[0] != value.partition(".")[0]


async def test_visitors_stay_where_the_secret_does(
    site: Site, serve: Serve, browser: Open, stack: AsyncExitStack
) -> None:
    """At every process of a site, and after a restart; another secret makes everybody a new visitor."""
    server = await serve()
    visitor = await browser()
    histories = []
    for secret in (KEY, KEY.encode(), "another one, just as long"):
        async with site(server.address, secret=secret) as address:
            async with visitor.get(f"{address}/chat") as response:
                histories.append(len((await response.json())["messages"]))
            async with visitor.post(f"{address}/chat", **say("Hi")) as response:
                await whole(response)
    assert histories == [0, 2, 0]


@pytest.mark.parametrize("secret", ["", b"", "fifteen letters"])
def test_a_short_secret_is_refused(secret: str | bytes) -> None:
    """An empty one is a variable that was not set."""
    with pytest.raises(ValueError, match="secret: must have at least 16 bytes"):
        WebChatSettings[Any](secret=secret)


async def test_the_attributes_of_the_cookie_can_be_chosen(site: Site, serve: Serve, stack: AsyncExitStack) -> None:
    """Scripts never read it."""
    server = await serve()
    settings = Cookie(name="who", secure=True, samesite="Strict", max_age=60, path="/chat", domain="localhost")
    url = await stack.enter_async_context(site(server.address, cookie=settings)) + "/chat"
    cookie = await cookie_for(url, "", name="who")
    assert (cookie["httponly"], cookie["secure"], cookie["samesite"]) == (True, True, "Strict")
    assert (cookie["max-age"], cookie["path"], cookie["domain"]) == ("60", "/chat", "localhost")


async def test_every_response_says_that_its_type_is_not_to_be_guessed(
    site: Site, serve: Serve, browser: Open, stack: AsyncExitStack
) -> None:
    """Answers, histories, errors, those of the application's own routes, and the end of a stream."""
    server = await serve(ScriptedProvider.saying("<script>alert(1)</script>"))
    address = await stack.enter_async_context(site(server.address))
    url = f"{address}/chat"
    visitor = await browser()
    async with visitor.post(url, json={"message": "Hi"}, headers={"Accept": "application/json"}) as response:
        turn = (await response.json())["turn"]
        statuses = {(response.status, response.headers.get("X-Content-Type-Options"))}
    for call in (
        visitor.get(url),
        visitor.post(url, **say("Hi")),
        visitor.get(f"{url}/{turn}"),
        visitor.get(f"{url}/{turn}", headers={"Last-Event-ID": f"{turn}/end"}),
        visitor.get(f"{url}/missing"),
        visitor.delete(f"{url}/missing"),
        visitor.post(url, data=b"{"),
        visitor.get(f"{address}/missing"),
    ):
        async with call as response:
            statuses.add((response.status, response.headers.get("X-Content-Type-Options")))
            await response.read()
    assert statuses == {(status, "nosniff") for status in (200, 202, 204, 404, 415)}


async def test_there_is_no_session_before_the_first_message(
    site: Site, serve: Serve, browser: Open, stack: AsyncExitStack
) -> None:
    """Pages that are opened, and requests that are refused, leave nothing at the server."""
    server = await serve()
    url = await stack.enter_async_context(site(server.address)) + "/chat"
    visitor = await browser()
    for call in (
        visitor.get(url),
        visitor.get(f"{url}/missing"),
        visitor.delete(f"{url}/missing"),
        visitor.post(url, json={"message": ""}),
        visitor.post(url, json={"message": "Hi", "request_id": "a"}, headers={"Last-Event-ID": "t/5"}),
    ):
        async with call as response:
            await response.read()
    async with MCPClient(server.address) as client:
        assert [session.name async for session in client.list_sessions()] == []
        async with visitor.post(url, **say("Hi")) as response:
            await whole(response)
        assert len([session.name async for session in client.list_sessions()]) == 1


async def test_a_session_that_is_gone_begins_anew(
    site: Site, serve: Serve, browser: Open, stack: AsyncExitStack
) -> None:
    """Deleted or expired: the visitor goes on talking."""
    server = await serve()
    url = await stack.enter_async_context(site(server.address)) + "/chat"
    visitor = await browser()
    for _ in range(2):
        async with visitor.post(url, **say("Hi")) as response:
            assert (await whole(response))[1][-1].name == "completed"
        async with MCPClient(server.address) as client:
            async for session in client.list_sessions():
                await client.delete_session(session)


async def test_first_messages_at_once_share_a_session(
    site: Site, serve: Serve, browser: Open, stack: AsyncExitStack
) -> None:
    """A page that was opened has a visitor already."""
    server = await serve()
    chat = site(server.address, turn_options={"if_busy": "queue"})
    url = await stack.enter_async_context(chat) + "/chat"
    visitor = await browser()
    async with visitor.get(url) as response:
        assert await response.json() == {"messages": [], "turn": None}

    async def ask(number: int) -> str:
        async with visitor.post(url, **say(f"number {number}")) as response:
            return (await whole(response))[1][-1].name

    assert await asyncio.gather(*map(ask, range(5))) == ["completed"] * 5
    async with visitor.get(url) as response:
        assert len((await response.json())["messages"]) == 10


async def test_a_turn_is_stopped(site: Site, serve: Serve, browser: Open, stack: AsyncExitStack) -> None:
    """Its stream ends with the reason; another message meanwhile is told which turn runs."""
    provider = ScriptedProvider(["Hel", Gate(), "lo", Finish()])
    server = await serve(provider)
    url = await stack.enter_async_context(site(server.address)) + "/chat"
    visitor = await browser()
    async with visitor.post(url, **say("Hi")) as response:
        received = events(response)
        turn = (await anext(received)).data["turn"]
        async with visitor.get(url) as page:
            assert (await page.json())["turn"] == turn
        async with visitor.post(url, **say("Are you there?")) as busy:
            problem = await busy.json()
            assert (busy.status, busy.content_type) == (409, "application/problem+json")
            assert (problem["reason"], problem["turn"], problem["status"]) == ("SESSION_BUSY", turn, 409)
        async with visitor.delete(f"{url}/{turn}") as stopped:
            assert await stopped.json() == {"turn": turn, "state": "cancelled"}
        last = [event async for event in received][-1]
    assert (last.name, last.id, last.data["reason"]) == ("failed", f"{turn}/end", "TURN_CANCELLED")
    assert provider.cancelled == 1
    async with visitor.get(f"{url}/{turn}") as response:  # who comes late is told the same
        text, received_again = await whole(response)
    assert (text, received_again[-1]) == ("Hel", last)


async def test_a_failure_in_the_middle_is_an_event(
    site: Site, serve: Serve, browser: Open, stack: AsyncExitStack, caplog: pytest.LogCaptureFixture
) -> None:
    """What visitors are not to know stands in the log."""
    server = await serve(ScriptedProvider(["Hel", ProviderUnavailable("the machine 10.0.0.7 fell over")]))
    url = await stack.enter_async_context(site(server.address)) + "/chat"
    async with (await browser()).post(url, **say("Hi")) as response:
        text, received = await whole(response)
    assert text == "Hel"
    assert (received[-1].name, received[-1].data["status"]) == ("failed", 502)
    assert received[-1].data["reason"] == "PROVIDER_UNAVAILABLE"
    assert received[-1].data["detail"] == "The model could not answer."
    assert "10.0.0.7" in caplog.text


SECRET = "project 4711 has no access, ask ops at db7.internal:9000"


@pytest.mark.parametrize(
    "error",
    [
        errors.InvalidArgument([errors.Violation(field="messages", description=SECRET)]),
        errors.ContextTooLong(SECRET),
        errors.UnsupportedByModel(SECRET),
        errors.ProviderRejected(SECRET),
        errors.ProviderUnavailable(SECRET),
        errors.ProviderRateLimited(SECRET),
        errors.QuotaExceeded(SECRET),
        ValueError(SECRET),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("before", [[], ["Hel"]], ids=["at once", "later"])
async def test_visitors_do_not_read_what_a_provider_said(
    site: Site, serve: Serve, browser: Open, stack: AsyncExitStack, error: Exception, before: list[str]
) -> None:
    """Whatever kind of error it is, in a response or in an event."""
    server = await serve(ScriptedProvider([*before, error]))
    url = await stack.enter_async_context(site(server.address)) + "/chat"
    async with (await browser()).post(url, **say("Hi")) as response:
        text = await response.text()
    assert '"detail"' in text
    for word in ("project", "db7.internal", "violations"):
        assert word not in text


async def test_visitors_do_not_read_which_models_there_are(
    site: Site, serve: Serve, browser: Open, stack: AsyncExitStack, caplog: pytest.LogCaptureFixture
) -> None:
    """If the application names one that there is not; the log says it."""
    server = await serve()
    url = await stack.enter_async_context(site(server.address, turn_options={"model": "gone"})) + "/chat"
    async with (await browser()).post(url, **say("Hi")) as response:
        problem = await response.json()
    assert (response.status, problem["reason"], problem["detail"]) == (
        404,
        "MODEL_NOT_FOUND",
        "The model was not found.",
    )
    assert "scripted/echo" in caplog.text


async def test_names_of_users_become_sessions(site: Site, serve: Serve, browser: Open, stack: AsyncExitStack) -> None:
    """Whatever they consist of."""
    server = await serve()
    users = ("ada", "Ada", "ada_l", "Ada@example.com", "auth0|507f", "x" * 70, "42", "-", "\u65e5\u672c")
    chat = site(server.address, session_of=lambda request: session_id_for(unquote(request.headers["X-User"])))
    url = await stack.enter_async_context(chat) + "/chat"
    visitor = await browser()
    for user in users:
        headers = {"Accept": "text/event-stream", "X-User": quote(user)}
        async with visitor.post(url, json={"message": user}, headers=headers) as response:
            assert (await whole(response))[1][-1].name == "completed"
    async with MCPClient(server.address) as client:
        names = [session.id async for session in client.list_sessions()]
    assert set(names) == set(map(session_id_for, users))
    assert len(set(names)) == len(users)


HOSTILE = 'a\nb\rc\r\nd\n\nevent: x\ndata: {}\n\n\u2028 "quoted" \\ 😀 </script> \x7f'


async def test_text_cannot_break_out_of_its_event(
    site: Site, serve: Serve, browser: Open, stack: AsyncExitStack
) -> None:
    """Line breaks of all kinds, and what looks like events."""
    server = await serve(ScriptedProvider([HOSTILE, Finish()]))
    url = await stack.enter_async_context(site(server.address)) + "/chat"
    async with (await browser()).post(url, **say(HOSTILE)) as response:
        text, received = await whole(response)
    assert text == HOSTILE
    assert {event.name for event in received} == {"started", "part", "delta", "completed"}


BAD: list[tuple[dict[str, Any], int, str]] = [
    ({"data": b"{", "headers": {"Content-Type": "application/json"}}, 400, "the body is not valid JSON"),
    ({"data": b'"\xff"', "headers": {"Content-Type": "application/json"}}, 400, "the body is not valid JSON"),
    ({"data": b"[" * 1400, "headers": {"Content-Type": "application/json"}}, 400, "the body is not valid JSON"),
    ({"json": ["Hi"]}, 400, "expected an object"),
    ({"json": {}}, 400, "message: must not be empty"),
    ({"json": {"message": " \n"}}, 400, "message: must not be empty"),
    ({"json": {"message": 5}}, 400, "message: expected a text"),
    ({"json": {"message": "Hi", "model": "x"}}, 400, "unknown fields: model"),
    ({"data": b'{"message": "\\ud800"}', "headers": {"Content-Type": "application/json"}}, 400, "message"),
    ({"json": {"message": "Hi", "request_id": "x" * 1000}}, 400, "request_id"),
    ({"data": {"message": "Hi"}}, 415, "application/json"),
    ({}, 415, "application/json"),
    ({"json": {"message": "x" * 2000}}, 413, "larger than"),
    ({"json": {"message": "Hi"}, "headers": {"Last-Event-ID": "nonsense"}}, 400, "Last-Event-ID"),
    ({"json": {"message": "Hi"}, "headers": {"Last-Event-ID": "t/5"}}, 400, "request_id"),
    ({"json": {"message": "Hi", "request_id": "a"}, "headers": {"Last-Event-ID": "t/5"}}, 404, "turn"),
]


async def test_bad_requests_are_told_what_is_wrong(
    site: Site, serve: Serve, browser: Open, stack: AsyncExitStack
) -> None:
    """And nothing reaches the model."""
    provider = ScriptedProvider.saying("Hello")
    server = await serve(provider)
    url = await stack.enter_async_context(site(server.address, max_body=1500)) + "/chat"
    visitor = await browser()
    for arguments, status, detail in BAD:
        async with visitor.post(url, **arguments) as response:
            problem = await response.json(content_type="application/problem+json")
            assert (response.status, problem["status"]) == (status, status), problem
            assert detail in problem["detail"]
            assert problem["title"]
    assert provider.requests == []


async def test_a_server_that_is_away_is_a_problem(site: Site, browser: Open, stack: AsyncExitStack) -> None:
    """That says nothing of where it should be; also from the application's own routes."""
    url = await stack.enter_async_context(site("127.0.0.1:1", retry=None))
    visitor = await browser()
    for call in (visitor.get(f"{url}/chat"), visitor.post(f"{url}/chat", **say("Hi")), visitor.get(f"{url}/missing")):
        async with call as response:
            problem = await response.json(content_type="application/problem+json")
            assert (response.status, problem["status"]) == (503, 503)
            assert "127.0.0.1" not in str(problem)


async def test_the_applications_own_routes_answer_alike(
    site: Site, serve: Serve, browser: Open, stack: AsyncExitStack
) -> None:
    """They use the same client, and their errors are the same problems."""
    server = await serve()
    url = await stack.enter_async_context(site(server.address))
    async with (await browser()).get(f"{url}/missing") as response:
        problem = await response.json(content_type="application/problem+json")
        assert (response.status, problem["reason"]) == (404, "SESSION_NOT_FOUND")


async def test_who_is_to_wait_is_told_how_long(site: Site, serve: Serve, browser: Open, stack: AsyncExitStack) -> None:
    """In the header, in whole seconds."""
    gate = Gate()
    server = await serve(ScriptedProvider(["Hel", gate, "lo", Finish()]))
    url = await stack.enter_async_context(site(server.address, retry=None)) + "/chat"
    visitor = await browser()
    async with visitor.post(url, **say("Hi")) as response:
        stopping = asyncio.create_task(server.stop(grace=30))
        async with (await browser()).post(url, **say("Hi")) as refused:
            problem = await refused.json(content_type="application/problem+json")
            assert (refused.status, problem["reason"]) == (503, "DRAINING")
            assert (refused.headers["Retry-After"], problem["retry_after"]) == ("1", 1.0)
        gate.open()
        assert (await whole(response))[0] == "Hello"
    await stopping


async def test_a_slow_browser_gets_all_of_it(site: Site, serve: Serve, browser: Open, stack: AsyncExitStack) -> None:
    """More than all the buffers on the way hold; the model has long ended when it begins to read."""
    pieces = [f"{number} " + "x" * 10_000 for number in range(100)]
    server = await serve(ScriptedProvider([*pieces, Finish()]))
    url = await stack.enter_async_context(site(server.address)) + "/chat"
    visitor = await browser()
    async with visitor.post(url, **say("Go on")) as response:
        received = events(response)
        turn = (await anext(received)).data["turn"]
        async with MCPClient(server.address) as client:
            (session,) = [session async for session in client.list_sessions()]
            async with client.stream_turn(f"{session.name}/turns/{turn}") as other:
                await other.reply()
        rest = [event async for event in received]
    assert "".join(event.data["text"] for event in rest if event.name == "delta") == "".join(pieces)
