"""The one thing that the demo draws at random: how an answer opens."""

from __future__ import annotations

import math
from collections.abc import Mapping
from random import Random

from mcp_server.values import GenerationConfig, Logprob


def draw(weights: Mapping[str, float], config: GenerationConfig, seed: str) -> str:
    """One of the keys, by their weights, the temperature and the nucleus: the same one for the same seed."""
    temperature = 1.0 if config.temperature is None else config.temperature
    likely = sorted(weights, key=lambda key: -weights[key])
    if not temperature:
        return likely[0]
    chances = {key: math.pow(weights[key], 1 / max(temperature, 0.01)) for key in likely}
    total, reached = sum(chances.values()), 0.0
    nucleus: dict[str, float] = {}
    for key, chance in chances.items():
        nucleus[key] = chance
        reached += chance / total
        if config.top_p is not None and reached >= config.top_p:
            break
    return Random(seed).choices([*nucleus], [*nucleus.values()])[0]  # noqa: S311  # not for secrets


def logprob(chosen: str, weights: Mapping[str, float], most: int) -> Logprob:
    """The log probability of a key, before temperature and nucleus, and those of the ``most`` most likely ones."""
    total = sum(weights.values())
    each = {key: math.log(weight / total) for key, weight in weights.items()}
    top = sorted(each, key=lambda key: -each[key])[:most]
    return Logprob(
        token=chosen, logprob=each[chosen], top=tuple([Logprob(token=key, logprob=each[key]) for key in top])
    )
