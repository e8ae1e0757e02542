"""What a valid question about usage is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from mcp_server.rules.limits import LABEL_KEY
from mcp_server.rules.violations import Violations, shown

USAGE_GROUPS: Final = ("tenant", "key", "provider", "model", "session", "hour", "day")
"""What usage can be grouped by, besides labels."""


def usage_query(found: Violations, group_by: Sequence[str], start: int | None, end: int | None) -> None:
    """What to distinguish, and the period."""
    for index, name in enumerate(group_by):
        label = name.removeprefix("label:") if name.startswith("label:") else None
        if label is None and name not in USAGE_GROUPS:
            allowed = ", ".join(USAGE_GROUPS)
            found.add(f"group_by[{index}]", f"{shown(name)} is not known; allowed: {allowed} and label:NAME")
        elif label is not None and not LABEL_KEY.fullmatch(label):
            found.add(f"group_by[{index}]", f"the name of the label must match {LABEL_KEY.pattern}")
        elif name in group_by[:index]:
            found.add(f"group_by[{index}]", f"{shown(name)} is there twice")
    if start is not None and end is not None and end <= start:
        found.add("end_time", "must be later than start_time")
