"""What a running turn generates: its calls to providers, and the answer that comes of them."""

from __future__ import annotations

import contextlib
from collections.abc import Hashable, Mapping, Sequence
from functools import partial

import msgspec

from mcp_server.errors import MCPError, ProviderStreamCut
from mcp_server.interfaces import ContextType, GenerateRequest, Progress
from mcp_server.models.catalogue import Candidates
from mcp_server.models.failover import Failover
from mcp_server.models.provider_call import ProviderCall
from mcp_server.models.target import Target
from mcp_server.models.usage import Ledger, Meter
from mcp_server.turns.answer import Answer
from mcp_server.turns.claims import SEQUENCE_BLOCK
from mcp_server.turns.journal import Replay, pack
from mcp_server.turns.kinds import ChatInput, CompletionInput, Conversation, Prompt
from mcp_server.turns.log import Numbered, TurnLog
from mcp_server.values import (
    Attempt,
    Clock,
    Message,
    OnCut,
    ResponseFormat,
    Role,
    Started,
    Switched,
    SwitchMode,
    Turn,
    TurnState,
)

replace = msgspec.structs.replace


class Generation:
    """Asks the candidates of a turn until one has answered, and writes the turn's events.

    Args:
        turn: the turn as it was claimed. The last of its attempts was stored with the claim.
        log: gets the events.
        input: what is asked.
        conversation: the session as it was claimed.
        context_types: render the context of the session.
        earlier: the pieces of the log that other processes have stored.
        clock: tells the time.
    """

    def __init__(
        self,
        turn: Turn,
        log: TurnLog,
        input: ChatInput | CompletionInput,
        conversation: Conversation,
        context_types: Mapping[str, ContextType],
        earlier: Sequence[bytes],
        clock: Clock,
    ) -> None:
        self.missing: Sequence[Numbered] = ()
        """Events of other processes that were not stored, and have to be."""
        self._turn = turn
        self._log = log
        self._input = input
        self._conversation = conversation
        self._context_types = context_types
        self._earlier = earlier
        self._answer = Answer(log.append, Meter())
        # The first call may turn out to go to another model than the claim has stored.
        self._ledger = Ledger(turn.attempts[:-1], clock, service=turn.service, turn=turn.name)

    async def run(self, candidates: Candidates, *, until: float) -> None:
        """Generate the answer.

        Args:
            candidates: the models to ask.
            until: when the turn ends at the latest, by the event loop's clock.

        Raises:
            MCPError: no model has answered.
        """
        on_cut = self._input.options.on_cut or OnCut(candidates.policy.on_cut)
        failover = Failover(
            candidates,
            self._input.service,
            self._ledger,
            until=until,
            content=self._content,
            on_cut=on_cut,
            continues=self._can_continue,
        )
        await failover.run(partial(self._ask, on_cut))

    @property
    def begun(self) -> bool:
        """Whether a provider was asked."""
        return self._ledger.present is not None

    def with_parts(self, message: Message) -> Message:
        """The message with all parts so far."""
        return replace(message, parts=self._answer.parts())

    def progress(self) -> Turn:
        """The turn as it is while it generates, its message without parts."""
        ledger = self._ledger
        if ledger.present is None:
            return self._turn
        ledger.update()
        last = ledger.rows[-1]
        message = Message(role=Role.ASSISTANT, model=f"{last.provider}/{last.model}")
        return replace(self._turn, message=message, usage=ledger.total(), attempts=ledger.rows)

    def end(self, state: TurnState, error: MCPError | None) -> Turn:
        """The turn with how its last call ended, its message without parts."""
        self._ledger.update(state, error)
        turn, finish = self.progress(), self._answer.finish
        return turn if finish is None or error is not None else replace(turn, finish_reason=finish.reason)

    def _content(self) -> Hashable:
        """Identifies what the provider is asked: the session, or the input of a turn without one."""
        session = self._conversation.session
        return session.uid if session is not None else msgspec.msgpack.encode(self._input)

    def _can_continue(self, target: Target) -> bool:
        """Whether the model can continue the answer so far."""
        # What is held to a form of JSON begins anew: the rest alone would be held to the whole form.
        plain = self._input.options.config.response_format is ResponseFormat.TEXT
        return plain and target.model.capabilities.prefill and self._answer.continuable

    async def _ask(self, on_cut: OnCut, call: ProviderCall) -> None:
        """One call to a provider."""
        target, before = call.target, self._answer
        # A turn must not use up its sequence numbers, however often its answers break off.
        call.is_last = self._log.last_sequence - self._log.base > SEQUENCE_BLOCK // 2
        continues = on_cut in (OnCut.CONTINUE, OnCut.CONTINUE_OR_FAIL) and self._can_continue(target)
        beginning = Message(role=Role.ASSISTANT, parts=before.parts()[-1:]) if continues else None
        if target.loader is not None:
            if self._conversation.history is not None:
                self._conversation.history.release()  # loading may take minutes
            await call.load(target.loader, GenerateRequest(model=target.model.name))
        prompt = await self._input.build_prompt(self._conversation, target, self._context_types, beginning)
        self._begin(call, prompt, continues=continues)
        answer, first = self._answer, True
        generated = target.provider.generate(prompt.request)
        del prompt  # it may be large, and the provider need not keep it once it is sent
        async with contextlib.aclosing(generated) as events:  # type: ignore[type-var]  # a generator
            async for event in events:
                if type(event) is Progress:
                    call.progress(event)
                    continue
                call.piece()
                answer.add(event)
                if answer.finish is not None:
                    call.whole()
                    break
                if first:
                    first = False
                    self._ledger.first_token()
        if answer.finish is None:
            raise ProviderStreamCut(
                f"the answer of {target.name} ended without saying that it was complete: send the call again",
                metadata={"model": target.name},
            )

    def _begin(self, call: ProviderCall, prompt: Prompt, *, continues: bool) -> None:
        """Note that the provider is asked now, and write the event of it."""
        target, session, turn = call.target, self._conversation.session, self._turn
        previous, earlier = self._ledger.present, self._ledger.rows
        row = call.begin(prompt.window.input_tokens)
        self._turn = replace(turn, start_time=turn.start_time or row.start_time, window=prompt.window)
        before = self._answer
        self._answer = Answer(
            self._log.append,
            call.meter,
            before if continues else None,
            prompt.call_ids,
            provider=target.provider_name,
            model=target.model.name,
        )
        if previous is None:
            started = Started(
                turn=turn.name,
                model=target.name,
                provider=target.provider_name,
                window=prompt.window,
                session_etag=session.etag if session is not None else "",
            )
            if earlier:
                self._restart(earlier[-1], started)
            else:
                self._log.append(started)
            return
        from_model = f"{previous.provider}/{previous.model}"
        if call.previous_error is not None and (before.begun or from_model != target.name):
            self._log.append(
                Switched(
                    from_model=from_model,
                    to_model=target.name,
                    reason=call.previous_error.reason,
                    window=prompt.window,
                    mode=SwitchMode.CONTINUED if continues else SwitchMode.RESTARTED,
                )
            )

    def _restart(self, previous: Attempt, started: Started) -> None:
        """The attempt of another process was interrupted: this one begins anew."""
        from_model = f"{previous.provider}/{previous.model}"
        if not any(isinstance(event, Started) for _, event in Replay(self._earlier).after(0)):
            # That process died before the event was stored, and new readers need it. It was the first event or, after
            # `queued`, the second.
            number = 2 if self._turn.waited else 1
            self.missing = [(number, replace(started, model=from_model, provider=previous.provider))]
            self._log.earlier = Replay([*self._earlier, pack((), 0, before=self.missing)]).after
        self._log.append(
            Switched(
                from_model=from_model,
                to_model=started.model,
                reason="TURN_INTERRUPTED",
                window=started.window,
                mode=SwitchMode.RESTARTED,
            )
        )
