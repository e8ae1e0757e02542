"""The use cases of every edge: sessions, turns, models, chat, complete, embed. Edges call these and nothing below.

Each takes the :class:`~mcp_server.principal.Principal` of the caller, and applies the rules of a valid
request (:mod:`mcp_server.rules`), whoever calls. ``violations`` is what the edge could not convert; it is raised
together with what the rules find, all in one :class:`~mcp_server.errors.InvalidArgument`.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Final

import msgspec

from mcp_server import rules
from mcp_server.accounts import Accounts
from mcp_server.admission import AdmitAll
from mcp_server.errors import MCPError, NotAllowed, SessionNotFound, TurnNotFound, Violation
from mcp_server.interfaces import Admission, ContextType, Permit, RequestKey, TurnObserver, Work
from mcp_server.keys import KeyManager
from mcp_server.models.catalogue import Candidates, Catalogue
from mcp_server.models.embedding import Embedded, EmbedInput, embed
from mcp_server.models.entry import ModelEntry, entries
from mcp_server.models.inventory import Inventory, find_route
from mcp_server.models.usage import Ledger, highest_costs
from mcp_server.principal import Principal
from mcp_server.quotas import Demand
from mcp_server.sessions.changes import fresh_id
from mcp_server.sessions.manager import MCPSessionManager
from mcp_server.settings.tables import ModelSettings, TurnSettings
from mcp_server.token_estimates import tokens_of_text
from mcp_server.turns.claims import turn_not_found
from mcp_server.turns.counting import TokenCount
from mcp_server.turns.kinds import ChatInput, CompletionInput
from mcp_server.turns.log import TurnReader
from mcp_server.turns.options import TurnOptions
from mcp_server.turns.registry import TurnRegistry
from mcp_server.turns.request import TurnRequest, release
from mcp_server.turns.watching import SessionWatch
from mcp_server.values import (
    SECOND,
    Clock,
    Hold,
    MCPSession,
    Message,
    SessionDraft,
    SessionUpdate,
    Tool,
    Turn,
    turn_name,
)
from mcp_server.values.pattern import may_match

__all__ = [
    "ChatInput",
    "CompletionInput",
    "EmbedInput",
    "Embedded",
    "Gateway",
    "ModelEntry",
    "SessionWatch",
    "TokenCount",
    "TurnOptions",
    "TurnReader",
]

replace = msgspec.structs.replace

READ_CHUNK: Final = 16
"""How many messages are read at once: each may have 3 MiB, and a page ends at 3.5 MB."""


class Gateway:
    """The use cases over sessions, turns and models.

    Args:
        sessions: keeps the conversations.
        turns: runs the turns.
        inventory: knows the models.
        context_types: by name.
        clock: tells the time.
        models: the default models.
        turn_settings: how long a turn may take if its call does not say.
        accounts: the limits and the usage of callers.
        admission: decides who may begin work.
        keys: manages API keys.
        observers: are notified of calls to providers that belong to no turn.
    """

    def __init__(
        self,
        *,
        sessions: MCPSessionManager,
        turns: TurnRegistry,
        inventory: Inventory,
        context_types: Mapping[str, ContextType],
        clock: Clock,
        models: ModelSettings,
        turn_settings: TurnSettings,
        keys: KeyManager,
        accounts: Accounts,
        admission: Admission | None = None,
        observers: Sequence[TurnObserver] = (),
    ) -> None:
        self.keys = keys
        self._sessions = sessions
        self._turns = turns
        self._context_types = context_types
        self._clock = clock
        self.configure(inventory, models, turn_settings)
        self.accounts = accounts
        """The limits and the usage of callers."""
        self._admission = admission or AdmitAll()
        self._observers = observers

    def configure(self, inventory: Inventory, models: ModelSettings, turn_settings: TurnSettings) -> None:
        """Use other settings for calls that begin from now on."""
        self._inventory = inventory
        self._default_model = models.default
        self._default_embedding_model = models.default_embedding
        self._turn_timeout = int(turn_settings.timeout * SECOND)

    # -- chat, complete, embed ----------------------------------------------------------------------------------------

    async def chat(self, principal: Principal, chat: ChatInput, *, violations: Sequence[Violation] = ()) -> TurnReader:
        """Begin a chat, or find it if it was begun before, and return a reader of its turn, as
        :meth:`~mcp_server.turns.registry.TurnRegistry.open`."""
        rules.refuse(violations, chat.violations())
        return await self._open(principal, chat)

    async def complete(
        self, principal: Principal, completion: CompletionInput, *, violations: Sequence[Violation] = ()
    ) -> TurnReader:
        """The same for a completion."""
        rules.refuse(violations, completion.violations())
        return await self._open(principal, completion)

    async def _open(self, principal: Principal, input: ChatInput | CompletionInput) -> TurnReader:
        options = input.options
        draw = random.random()  # noqa: S311  # spreads calls, and guards nothing
        quota = self.accounts.quota(principal)
        inventory, default_model = self._inventory, self._default_model
        timeout = options.timeout if options.timeout is not None else self._turn_timeout
        loop = asyncio.get_running_loop()
        begin = loop.time()
        inventory.begin_use()
        try:
            catalogue = (await inventory.catalogue()).restricted(principal.models)
            candidates: Candidates | MCPError | None = None
            if options.model or not options.session:
                catalogue, candidates = _candidates(catalogue, (options.model, default_model), input.needs(), draw)
            if (reader := await self._turns.attach(principal.tenant, input, quota)) is not None:
                inventory.end_use()
                return reader  # no turn begins: it need not wait for a permit
            work = Work(
                service=input.service,
                session=options.session,
                model=options.model,
                max_output_tokens=options.config.max_output_tokens,
                timeout=timeout / SECOND,
            )
            permit = await self._permit(principal, work)
        except BaseException:
            inventory.end_use()
            raise
        if isinstance(permit, MCPError):
            inventory.end_use()  # no turn begins
        else:
            permit = _PermitWithModels(permit, inventory)
        return await self._turns.open(
            TurnRequest(
                tenant=principal.tenant,
                input=input,
                timeout=max(timeout - int((loop.time() - begin) * SECOND), 1),
                catalogue=catalogue,
                default_model=default_model,
                draw=draw,
                candidates=candidates,
                quota=quota,
                input_tokens=input.estimate_tokens() if quota is not None else 0,
                key=principal.key,
                permit=permit,
            )
        )

    async def _permit(self, principal: Principal, work: Work) -> Permit | MCPError:
        """The permit, or why there is none: a turn that began before is found all the same."""
        try:
            return await self._admission.admit(principal, work)
        except MCPError as refusal:
            refusal.__traceback__ = None  # its frames would keep the request
            return refusal

    async def embed(
        self, principal: Principal, request: EmbedInput, *, violations: Sequence[Violation] = ()
    ) -> Embedded:
        """Turn texts into vectors, as :func:`~mcp_server.models.embedding.embed`.

        Raises:
            Draining, QuotaExceeded, Overloaded: nothing new may begin now.
            SessionNotFound, ModelNotFound: the session or the model is not there.
        """
        rules.refuse(violations, request.violations())
        self._turns.check_draining()
        timeout = self._turn_timeout / SECOND
        until = asyncio.get_running_loop().time() + timeout
        permit = await self._admission.admit(
            principal, Work(service="embedding", session=request.session, model=request.model, timeout=timeout)
        )
        ledger = Ledger((), self._clock, service="embedding")
        hold: Hold | None = None
        inventory = self._inventory
        inventory.begin_use()
        try:
            session_model = ""
            if request.session:
                session_model = (await self._sessions.touch(principal.tenant, request.session)).default_model
            catalogue = (await inventory.catalogue()).restricted(principal.models)
            route, _ = find_route(catalogue, request.model, session_model, self._default_embedding_model)
            candidates = route.candidates(["embedding"], random.random())  # noqa: S311  # spreads calls, guards nothing
            if (quota := self.accounts.quota(principal)) is not None:
                hold = await self.accounts.hold(quota, self._embed_demand(request, candidates))
            return await embed(request, candidates, ledger, until=until)
        finally:
            try:
                # What was used is booked before the caller knows its vectors, also if the caller leaves.
                await asyncio.shield(
                    self.accounts.settle(principal, hold, ledger.rows, session=request.session, labels=request.labels)
                )
                for observer in self._observers:
                    observer.attempts_ended("embedding", ledger.rows)
            finally:
                inventory.end_use()
                release(permit)

    def _embed_demand(self, request: EmbedInput, candidates: Candidates) -> Demand:
        tokens = sum(map(tokens_of_text, request.inputs))
        return Demand(
            id=fresh_id("e"),
            tokens=tokens,
            costs=highest_costs(candidates.targets, tokens, 0),
            timeout=self._turn_timeout,
        )

    # -- sessions -----------------------------------------------------------------------------------------------------

    async def create_session(
        self,
        principal: Principal,
        session_id: str,
        draft: SessionDraft,
        *,
        request_id: str = "",
        violations: Sequence[Violation] = (),
    ) -> MCPSession:
        """Begin a session; an empty ``session_id`` lets the server choose one. A ``request_id`` makes the call safe to
        retry, here and in :meth:`fork_session`, :meth:`append_messages` and :meth:`rewind_session`: it takes effect
        once.

        Raises:
            SessionExists: the id is taken.
            RequestIdReused: the ``request_id`` was used for another request.
        """
        found = rules.Violations()
        rules.session_id(found, session_id)
        rules.session_draft(found, draft, self._context_types)
        rules.request_id(found, request_id)
        rules.refuse(violations, found)
        return await self._sessions.create(
            principal.tenant,
            session_id,
            draft,
            request=_key(request_id),
            key=principal.key,
            quota=self.accounts.quota(principal),
        )

    async def get_session(
        self, principal: Principal, session_id: str, *, violations: Sequence[Violation] = ()
    ) -> MCPSession:
        """A session as it is now.

        Raises:
            SessionNotFound: it does not exist, or has expired.
        """
        rules.refuse(violations)
        return await self._sessions.get(principal.tenant, session_id)

    async def list_sessions(
        self,
        principal: Principal,
        *,
        limit: int,
        labels: Mapping[str, str],
        newest_first: bool = False,
        after: tuple[int, str] | None = None,
        violations: Sequence[Violation] = (),
    ) -> Sequence[MCPSession]:
        """Up to ``limit`` sessions that carry all ``labels``, in the order of their creation, after the
        ``(create_time, uid)`` of ``after``; without their context and metadata."""
        found = rules.Violations()
        rules.labels(found, "labels", labels)
        rules.refuse(violations, found)
        return await self._sessions.list(
            principal.tenant, limit=limit, labels=labels, newest_first=newest_first, after=after
        )

    async def update_session(
        self,
        principal: Principal,
        session_id: str,
        update: SessionUpdate,
        *,
        violations: Sequence[Violation] = (),
    ) -> MCPSession:
        """Change a session in one step.

        Raises:
            SessionNotFound: it does not exist, or has expired.
            EtagMismatch: it has changed since the caller read it.
        """
        found = rules.Violations()
        rules.session_update(found, update, self._context_types)
        rules.refuse(violations, found)
        update = replace(update, remove_context=frozenset(update.remove_context))
        return await self._sessions.update(principal.tenant, session_id, update, quota=self.accounts.quota(principal))

    async def delete_session(
        self, principal: Principal, session_id: str, *, etag: str = "", violations: Sequence[Violation] = ()
    ) -> None:
        """Delete a session and stop its turns, whose readers then end with SessionNotFound.

        Raises:
            SessionNotFound: it does not exist, or has expired.
            EtagMismatch: it has changed since the caller read it.
        """
        rules.refuse(violations)
        self._turns.cancel_session(await self._sessions.delete(principal.tenant, session_id, etag=etag))

    async def fork_session(
        self,
        principal: Principal,
        session_id: str,
        *,
        new_id: str = "",
        message_count: int | None = None,
        request_id: str = "",
        violations: Sequence[Violation] = (),
    ) -> MCPSession:
        """Begin a session with the first ``message_count`` messages of another, or with all (``None``), and everything
        that its caller decided about it.

        Raises:
            SessionNotFound: the session to fork does not exist, or has expired.
            SessionExists: the new id is taken.
            RequestIdReused: the ``request_id`` was used for another request.
        """
        found = rules.Violations()
        rules.session_id(found, new_id)
        if message_count is not None:
            rules.whole(found, "message_count", message_count, 0)
        rules.request_id(found, request_id)
        rules.refuse(violations, found)
        return await self._sessions.fork(
            principal.tenant,
            session_id,
            new_id=new_id,
            message_count=message_count,
            request=_key(request_id),
            key=principal.key,
            quota=self.accounts.quota(principal),
        )

    async def list_messages(
        self,
        principal: Principal,
        session_id: str,
        *,
        limit: int,
        newest_first: bool = False,
        after: int | None = None,
        violations: Sequence[Violation] = (),
    ) -> AsyncGenerator[Message, None]:
        """Up to ``limit`` messages of a session's history, after the one with the index ``after``. They are read in
        small chunks while they are taken, so a caller that stops early reads little more than it takes.

        Raises:
            SessionNotFound: it does not exist, or has expired.
        """
        rules.refuse(violations)
        session = await self._sessions.get(principal.tenant, session_id)
        count = session.message_count
        # Positions count from the end that is listed first; the history changes only at its newer end.
        # After a rewind it may be shorter than at the page before.
        begin = 0 if after is None else (max(count - after, 0) if newest_first else after + 1)
        last = min(begin + limit, count)
        while begin < last:
            end = min(begin + READ_CHUNK, last)
            span = (count - end, count - begin) if newest_first else (begin, end)
            chunk = await self._sessions.messages(session, *span)
            for message in reversed(chunk) if newest_first else chunk:
                yield message
            if len(chunk) < end - begin:  # the session was deleted or rewound meanwhile
                await self._sessions.get(principal.tenant, session_id)
                return
            begin = end

    async def append_messages(
        self,
        principal: Principal,
        session_id: str,
        messages: Sequence[Message],
        *,
        etag: str = "",
        request_id: str = "",
        violations: Sequence[Violation] = (),
    ) -> tuple[MCPSession, int]:
        """Add messages to the end of a session's history, all or none; return the session and the index of the first.

        Raises:
            SessionNotFound: it does not exist, or has expired.
            SessionBusy: a turn runs on it.
            EtagMismatch: it has changed since the caller read it.
            RequestIdReused: the ``request_id`` was used for another request.
            ToolResultsMissing: a tool call before the end of the messages has no result.
        """
        found = rules.Violations()
        rules.messages(found, messages, in_session=True)
        rules.expected_etag(found, "etag", etag)
        rules.request_id(found, request_id)
        rules.refuse(violations, found)
        return await self._sessions.append(
            principal.tenant,
            session_id,
            messages,
            etag=etag,
            request=_key(request_id, in_session=True),
            quota=self.accounts.quota(principal),
        )

    async def rewind_session(
        self,
        principal: Principal,
        session_id: str,
        message_count: int,
        *,
        etag: str = "",
        request_id: str = "",
        violations: Sequence[Violation] = (),
    ) -> MCPSession:
        """Keep only the first ``message_count`` messages of a session's history, and return the session.

        Raises:
            SessionNotFound: it does not exist, or has expired.
            SessionBusy: a turn runs on it or waits for it.
            EtagMismatch: it has changed since the caller read it.
            RequestIdReused: the ``request_id`` was used for another request.
            ToolResultsMissing: only some of the results of an exchange would remain.
        """
        found = rules.Violations()
        rules.whole(found, "message_count", message_count, 0)
        rules.expected_etag(found, "etag", etag)
        rules.request_id(found, request_id)
        rules.refuse(violations, found)
        return await self._sessions.rewind(
            principal.tenant,
            session_id,
            message_count,
            etag=etag,
            request=_key(request_id, in_session=True),
        )

    async def watch_session(
        self, principal: Principal, session_id: str, *, after_etag: str = "", violations: Sequence[Violation] = ()
    ) -> SessionWatch:
        """What happens to a session, its current state first, which is brief if its etag is ``after_etag``.

        Raises:
            SessionNotFound: it does not exist, or has expired; also raised by the reader, after its last event.
            Draining: the server is about to stop; also raised by the reader.
            Overloaded: too many calls watch it, or the caller makes too many of them.
        """
        found = rules.Violations()
        rules.expected_etag(found, "after_etag", after_etag)
        rules.refuse(violations, found)
        return await self._turns.watch(session_id, (principal.tenant, principal.key), after_etag=after_etag)

    # -- turns --------------------------------------------------------------------------------------------------------

    async def get_turn(
        self, principal: Principal, session_id: str, turn_id: str, *, violations: Sequence[Violation] = ()
    ) -> Turn:
        """A turn as it is now, with its answer as far as it is known; ``session_id`` is empty if it has no session.

        Raises:
            TurnNotFound: it does not exist, its session was deleted, or it is past the retention period.
        """
        rules.refuse(violations)
        return await self._turns.get(principal.tenant, session_id, turn_id)

    async def list_turns(
        self,
        principal: Principal,
        session_id: str,
        *,
        limit: int,
        before: str = "",
        violations: Sequence[Violation] = (),
    ) -> Sequence[Turn]:
        """Up to ``limit`` turns of a session, the newest first; only those older than the one with the id ``before``.

        Raises:
            SessionNotFound: it does not exist, or has expired.
        """
        rules.refuse(violations)
        session = await self._sessions.get(principal.tenant, session_id)
        return await self._turns.list(session, limit=limit, before=before)

    async def read_turn(
        self,
        principal: Principal,
        session_id: str,
        turn_id: str,
        *,
        after_sequence: int = 0,
        violations: Sequence[Violation] = (),
    ) -> TurnReader:
        """A reader of a turn's events after ``after_sequence``, live or from the record.

        Raises:
            TurnNotFound: as :meth:`get_turn`.
        """
        rules.refuse(violations)
        return await self._turns.read(principal.tenant, session_id, turn_id, after_sequence)

    async def cancel_turn(
        self, principal: Principal, session_id: str, turn_id: str, *, violations: Sequence[Violation] = ()
    ) -> Turn:
        """Stop a turn and return it as it ended: cancelled, or otherwise if that came first.

        Raises:
            TurnNotFound: as :meth:`get_turn`.
        """
        rules.refuse(violations)
        return await self._turns.cancel(principal.tenant, session_id, turn_id)

    async def hide_turn(
        self, principal: Principal, session_id: str, turn_id: str, *, violations: Sequence[Violation] = ()
    ) -> None:
        """Let nobody find a turn any more: to every other use case it does not exist, and its ``request_id`` is unused.
        It is stopped if it runs. The messages that it has added to the history stay.

        A turn that is past the retention period can be hidden from :meth:`find_turn_message`.

        Raises:
            TurnNotFound: as :meth:`get_turn`, and the history has no message of it.
            InvalidArgument: the session has 1000 hidden turns with messages, the maximum.
        """
        rules.refuse(violations)
        try:
            await self._turns.hide(principal.tenant, session_id, turn_id)
        except TurnNotFound:
            if not session_id:
                raise
            await self.find_turn_message(principal, session_id, turn_id)
            await self._sessions.hide_turn(principal.tenant, session_id, turn_id)

    async def find_turn_message(
        self,
        principal: Principal,
        session_id: str,
        turn_id: str,
        *,
        include_hidden: bool = False,
        violations: Sequence[Violation] = (),
    ) -> int:
        """The index of the last message that a turn has added to the history of its session. It is found as long as the
        session keeps the message, also when the turn is past the retention period. The history is read from its newer
        end: it takes the longer the older the turn is.

        Raises:
            TurnNotFound: the session does not exist, or has no message of that turn; or the turn is hidden, unless
                ``include_hidden`` is set.
        """
        rules.refuse(violations)
        name = turn_name(session_id, turn_id)
        messages = self.list_messages(principal, session_id, limit=sys.maxsize, newest_first=True)
        with contextlib.suppress(SessionNotFound):
            session = await self._sessions.get(principal.tenant, session_id)
            if turn_id in session.hidden_turns and not include_hidden:
                raise turn_not_found(name)
            async with contextlib.aclosing(messages):
                async for message in messages:
                    if message.turn == name:
                        return message.index
        raise turn_not_found(name)

    # -- models -------------------------------------------------------------------------------------------------------

    async def list_models(
        self, principal: Principal, *, limit: int, after: str = "", violations: Sequence[Violation] = ()
    ) -> Sequence[ModelEntry]:
        """Up to ``limit`` of the models that the caller may use, by name, after the one named ``after``."""
        rules.refuse(violations)
        catalogue = (await self._inventory.catalogue()).restricted(principal.models)
        targets = sorted([target for target in catalogue.listed() if target.name > after], key=lambda each: each.name)
        return entries(catalogue, targets[:limit], self._default_model)

    async def get_model(self, principal: Principal, name: str, *, violations: Sequence[Violation] = ()) -> ModelEntry:
        """The model that an alias, a route or ``provider/model`` stands for.

        Raises:
            ModelNotFound: no provider has it.
            NotAllowed: the caller may not use it.
        """
        found = rules.Violations()
        rules.model_name(found, "name", name)
        rules.refuse(violations, found)
        catalogue = (await self._inventory.catalogue()).restricted(principal.models)
        route, catalogue = find_route(catalogue, name)
        (entry,) = entries(catalogue, route.targets[:1], self._default_model)
        return entry

    async def count_tokens(
        self,
        principal: Principal,
        *,
        session: str = "",
        messages: Sequence[Message] = (),
        model: str = "",
        tools: Sequence[Tool] = (),
        instruction: str = "",
        violations: Sequence[Violation] = (),
    ) -> TokenCount:
        """Count the tokens of the prompt that a chat would send to its model, without sending it. It counts as one
        request, and does not renew the session.

        Args:
            principal: the caller.
            session: the id of the session whose instruction, context and history are counted too, or empty.
            messages: the new input; without a session, the whole conversation.
            model: as of a chat.
            tools: what the model may call.
            instruction: an instruction for this turn alone.
            violations: what the edge could not convert.

        Raises:
            SessionNotFound, ModelNotFound: the session or the model is not there.
            ToolResultsMissing, UnsupportedByModel: the chat would be refused.
            QuotaExceeded: the caller has made too many requests.
        """
        input = ChatInput(
            options=TurnOptions(session=session, model=model),
            messages=tuple(messages),
            tools=tuple(tools),
            instruction=instruction,
        )
        rules.refuse(violations, input.count_violations())
        inventory = self._inventory
        inventory.begin_use()
        try:
            catalogue = (await inventory.catalogue()).restricted(principal.models)
            stored = await self._sessions.get(principal.tenant, session) if session else None
            named = stored.default_model if stored is not None else ""
            route, _ = find_route(catalogue, model, named, self._default_model)
            target = route.candidates(input.needs(), random.random()).targets[0]  # noqa: S311  # guards nothing
            if (quota := self.accounts.quota(principal)) is not None:
                await self.accounts.take_request(quota)
            return await self._turns.count_tokens(input, stored, target)
        finally:
            inventory.end_use()

    def provider_names(self, principal: Principal) -> Sequence[str]:
        """The configured names of the providers, those of whose models the caller may use one."""
        models = principal.models
        return [
            name
            for name in self._inventory.providers
            if models is None or any(may_match(pattern, f"{name}/") for pattern in models)
        ]

    async def provider_ready(self, principal: Principal, name: str) -> bool:
        """Whether the provider with that configured name has a model that can answer now."""
        return await self._inventory.ready(name)


class _PermitWithModels:
    """The permit of a turn, which also keeps the providers of its models open until it is given back."""

    __slots__ = ("_inventory", "_permit")

    def __init__(self, permit: Permit, inventory: Inventory) -> None:
        self._permit = permit
        self._inventory = inventory

    def release(self) -> None:
        """Give both back, the models even if the permit fails."""
        self._inventory.end_use()
        self._permit.release()


def _key(request_id: str, *, in_session: bool = False) -> RequestKey | None:
    """The key of a call on a session that is safe to retry; ``None`` if it is not."""
    return RequestKey(service="session", request_id=request_id, in_session=in_session) if request_id else None


def _candidates(
    catalogue: Catalogue, names: Sequence[str], needs: Sequence[str], draw: float
) -> tuple[Catalogue, Candidates | MCPError]:
    """The models to ask, or why there are none: a turn that began before is found all the same.

    Raises:
        NotAllowed: the caller may use none of them; that comes before everything else.
    """
    try:
        route, catalogue = find_route(catalogue, *names)
        return catalogue, route.candidates(needs, draw)
    except NotAllowed:
        raise
    except MCPError as refusal:
        refusal.__traceback__ = None  # its frames would keep the request
        return catalogue, refusal
