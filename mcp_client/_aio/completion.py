"""The client's methods for completions."""

from __future__ import annotations

from typing import Unpack

from mcp_client._aio.calls import AsyncCalls
from mcp_client._aio.stream import TurnStream
from mcp_client._core.call_defaults import CallDefaults
from mcp_client._core.requests import generation as requests
from mcp_client._core.responses.turns import unary_reply
from mcp_client.values import Reply, Seconds, Session, TurnOptions


class CompletionMethods:
    """Complete raw prompts."""

    _calls: AsyncCalls
    _defaults: CallDefaults

    async def complete(
        self,
        prompt: str,
        *,
        suffix: str = "",
        session: str | Session | None = None,
        include_context: bool = False,
        save_as: str = "",
        timeout: Seconds | None = None,
        **options: Unpack[TurnOptions],
    ) -> Reply:
        """Complete a raw prompt and wait for the complete answer.

        Args:
            prompt: the text to continue.
            suffix: the text that follows the completion.
            session: provides the model and the context; its history is neither used nor changed.
            include_context: prepend the session's context to the prompt.
            save_as: store the answer as the session's context entry of this name.
            timeout: the timeout of the call in seconds, as in :meth:`chat`.
            **options: :class:`TurnOptions`.
        """
        request = requests.complete(
            prompt,
            suffix=suffix,
            session=self._defaults.session_of(session),
            include_context=include_context,
            save_as=save_as,
            options=self._defaults.merged(options),
        )
        if request.config.HasField("logprobs"):  # only events have them
            async with TurnStream(self._calls, "CompletionService.StreamComplete", request, timeout) as stream:
                return await stream.reply()
        return unary_reply(await self._calls.turn("CompletionService.Complete", request, timeout))

    def stream_complete(
        self,
        prompt: str,
        *,
        suffix: str = "",
        session: str | Session | None = None,
        include_context: bool = False,
        save_as: str = "",
        after_sequence: int | None = None,
        timeout: Seconds | None = None,
        **options: Unpack[TurnOptions],
    ) -> TurnStream:
        """Complete a raw prompt and stream the answer. The arguments are those of :meth:`complete`.

        Args:
            after_sequence: as in :meth:`stream_chat`.
        """
        request = requests.complete(
            prompt,
            suffix=suffix,
            session=self._defaults.session_of(session),
            include_context=include_context,
            save_as=save_as,
            options=self._defaults.merged(options),
            after_sequence=after_sequence,
        )
        return TurnStream(self._calls, "CompletionService.StreamComplete", request, timeout)
