"""The use cases of models and their providers."""

from __future__ import annotations

import random
from collections.abc import Sequence

from mcp_server import rules
from mcp_server.errors import Violation
from mcp_server.gateway.use_cases import UseCases
from mcp_server.models.entry import ModelEntry, entries
from mcp_server.models.inventory import find_route
from mcp_server.principal import Principal
from mcp_server.turns.counting import TokenCount
from mcp_server.turns.kinds import ChatInput
from mcp_server.turns.options import TurnOptions
from mcp_server.values import Message, Tool
from mcp_server.values.pattern import may_match


class ModelUseCases(UseCases):
    """List models, count tokens, and tell which providers are ready."""

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
