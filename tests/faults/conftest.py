"""What the tests of faults share: their seed."""

from __future__ import annotations

import os
import random

import pytest


@pytest.fixture
def seed() -> int:
    """Of all that is random in a test. A failed test shows it; ``FAULTS_SEED`` gives it."""
    chosen = int(os.environ.get("FAULTS_SEED") or random.randrange(1 << 32))  # noqa: S311  # no secret
    print(f"FAULTS_SEED={chosen}")  # noqa: T201  # pytest shows it where a test fails
    return chosen
