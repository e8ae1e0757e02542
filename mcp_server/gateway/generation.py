"""The use cases that ask a model: chat, complete and embed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

from mcp_server import rules
from mcp_server.errors import MCPError, NotAllowed, Violation
from mcp_server.gateway.use_cases import UseCases
from mcp_server.interfaces import Permit, Work
from mcp_server.models.catalogue import Candidates, Catalogue
from mcp_server.models.embedding import Embedded, EmbedInput, embed
from mcp_server.models.inventory import Inventory, find_route
from mcp_server.models.usage import Ledger, highest_costs
from mcp_server.principal import Principal
from mcp_server.quotas import Demand
from mcp_server.sessions.changes import fresh_id
from mcp_server.token_estimates import tokens_of_text
from mcp_server.turns.kinds import ChatInput, CompletionInput
from mcp_server.turns.log import TurnReader
from mcp_server.turns.request import TurnRequest, release
from mcp_server.values import SECOND, Hold


class GenerationUseCases(UseCases):
    """Chat, complete, embed."""

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
