"""The device that computes: how much of its memory is free, and whether it still computes."""

from __future__ import annotations

import os
from collections.abc import Callable

import torch

from mcp_server.providers.huggingface.protocol import AnyMessage, Failed


def full(device: torch.device) -> str:
    """What to say when its memory does not suffice."""
    if device.type != "cuda":
        return f"the memory of {device} is full"
    free, total = torch.cuda.mem_get_info(device)
    return f"the memory of {device} is full: {free / 1e9:.1f} of its {total / 1e9:.1f} GB are free"


def reason(error: BaseException, device: torch.device) -> str:
    """Why it failed, for callers: without what the message of an error that nobody expected may contain."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return full(device)
    return f"{type(error).__name__}; the log says more"


def end_if_dead(device: torch.device, tell: Callable[[list[AnyMessage]], None]) -> None:
    """End this process if its device does not compute any more. For after a failure.

    Some faults of a graphics card stay: whatever is asked of it in the same process fails from then on.
    """
    if device.type == "cpu":
        return
    try:
        torch.accelerator.synchronize(device)
    except RuntimeError as error:
        tell([Failed(why=f"{device} does not compute any more: {str(error).partition(chr(10))[0]}")])
        os._exit(1)
