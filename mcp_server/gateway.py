"""The use cases of every edge: each takes the principal who calls first, and nothing below is called by an edge."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence

from mcp_server.admission import AdmitAll
from mcp_server.errors import MCPError, NotAllowed
from mcp_server.interfaces import Admission, ContextType, Permit, TurnObserver, Work
from mcp_server.models.catalogue import Candidates, Catalogue
from mcp_server.models.embedding import MAX_RESPONSE_BYTES, Embedded, EmbedInput, embed, max_batch
from mcp_server.models.inventory import Inventory, find_route
from mcp_server.models.usage import Ledger
from mcp_server.principal import Principal
from mcp_server.sessions.manager import MCPSessionManager
from mcp_server.settings.tables import ModelSettings, TurnSettings
from mcp_server.turns.kinds import ChatInput, CompletionInput
from mcp_server.turns.log import TurnReader
from mcp_server.turns.options import TurnOptions
from mcp_server.turns.registry import TurnRegistry
from mcp_server.turns.request import TurnRequest
from mcp_server.values import SECOND, Clock

__all__ = ["MAX_RESPONSE_BYTES", "ChatInput", "CompletionInput", "EmbedInput", "Gateway", "TurnOptions", "max_batch"]


class Gateway:
    """The use cases over sessions, turns and models.

    Args:
        sessions: keeps the conversations.
        turns: runs the turns.
        inventory: knows the models.
        clock: tells the time.
        models: the default models.
        turn_settings: how long a turn may take if its call does not say.
        admission: decides who may begin work.
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
        admission: Admission | None = None,
        observers: Sequence[TurnObserver] = (),
    ) -> None:
        self.sessions = sessions
        self.turns = turns
        self.router = inventory
        self.context_types = context_types
        self.clock = clock
        self.default_model = models.default
        self._default_embedding_model = models.default_embedding
        self._turn_timeout = int(turn_settings.timeout * SECOND)
        self._admission = admission or AdmitAll()
        self._observers = observers

    async def chat(self, principal: Principal, chat: ChatInput) -> TurnReader:
        """Begin a chat, or find it if it was begun before, and return a reader of its turn, as
        :meth:`~mcp_server.turns.registry.TurnRegistry.open`."""
        return await self._open(principal, chat)

    async def complete(self, principal: Principal, completion: CompletionInput) -> TurnReader:
        """The same for a completion."""
        return await self._open(principal, completion)

    async def _open(self, principal: Principal, input: ChatInput | CompletionInput) -> TurnReader:
        options = input.options
        draw = random.random()  # noqa: S311  # spreads calls, and guards nothing
        catalogue = (await self.router.catalogue()).restricted(principal.models)
        candidates: Candidates | MCPError | None = None
        if options.model or not options.session:
            catalogue, candidates = _candidates(catalogue, (options.model, self.default_model), input.needs(), draw)
        work = Work(
            service=input.service,
            session=options.session,
            model=options.model,
            max_output_tokens=options.config.max_output_tokens,
        )
        return await self.turns.open(
            TurnRequest(
                tenant=principal.tenant,
                input=input,
                timeout=options.timeout if options.timeout is not None else self._turn_timeout,
                catalogue=catalogue,
                default_model=self.default_model,
                draw=draw,
                candidates=candidates,
                permit=await self._permit(principal, work),
            )
        )

    async def _permit(self, principal: Principal, work: Work) -> Permit | MCPError:
        """The permit, or why there is none: a turn that began before is found all the same."""
        try:
            return await self._admission.admit(principal, work)
        except MCPError as refusal:
            refusal.__traceback__ = None  # its frames would keep the request
            return refusal

    async def embed(self, principal: Principal, request: EmbedInput) -> Embedded:
        """Turn texts into vectors, as :func:`~mcp_server.models.embedding.embed`.

        Raises:
            Draining, QuotaExceeded, Overloaded: nothing new may begin now.
            SessionNotFound, ModelNotFound: the session or the model is not there.
        """
        self.turns.check_draining()
        permit = await self._admission.admit(
            principal, Work(service="embedding", session=request.session, model=request.model)
        )
        ledger = Ledger((), self.clock)
        try:
            session_model = ""
            if request.session:
                session_model = (await self.sessions.touch(principal.tenant, request.session)).default_model
            catalogue = (await self.router.catalogue()).restricted(principal.models)
            route, _ = find_route(catalogue, request.model, session_model, self._default_embedding_model)
            candidates = route.candidates(["embedding"], random.random())  # noqa: S311  # spreads calls, guards nothing
            until = asyncio.get_running_loop().time() + self._turn_timeout / SECOND
            return await embed(request, candidates, ledger, until=until)
        finally:
            permit.release()
            for observer in self._observers:
                observer.attempts_ended("embedding", ledger.rows)

    async def delete_session(self, tenant: str, session_id: str, *, etag: str) -> None:
        """Delete a session and stop its turn, whose readers then end with SessionNotFound."""
        self.turns.cancel_session(await self.sessions.delete(tenant, session_id, etag=etag))


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
