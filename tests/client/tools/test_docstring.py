"""What a model reads of a docstring: all of it but the sections about parameters, results and errors."""

from __future__ import annotations

import inspect

import pytest

from mcp_client.tools.docstring import Docstring, parse


@pytest.mark.parametrize(
    ("docstring", "description", "parameters"),
    [
        pytest.param("", "", {}, id="none"),
        pytest.param("Adds.", "Adds.", {}, id="one line"),
        pytest.param(
            """Searches one of:
            - the catalogue
            - the archive
            """,
            "Searches one of:\n- the catalogue\n- the archive",
            {},
            id="list",
        ),
        pytest.param(
            """Refunds an order.

            Use this when:
                the customer has asked for it twice.

            Never refund more than 50 euros.
            """,
            "Refunds an order.\n\nUse this when:\n    the customer has asked for it twice.\n\n"
            "Never refund more than 50 euros.",
            {},
            id="other heading",
        ),
        pytest.param(
            """Refunds an order.

            Args:
                order (str): its number,
                    as printed: with dashes.

                *reasons: why
            Returns:
                Nothing.

            Raises:
                LookupError: it is not there.

            Never refund more than 50 euros.
            """,
            "Refunds an order.\n\nNever refund more than 50 euros.",
            {"order": "its number, as printed: with dashes.", "reasons": "why"},
            id="google",
        ),
        pytest.param(
            """Refunds an order.

            :param str order: its number,
                as printed.
            :type order: str
            :returns: nothing
            :raises LookupError: it is not there
            :param reason: why

            Never refund more than 50 euros.
            """,
            "Refunds an order.\n\nNever refund more than 50 euros.",
            {"order": "its number, as printed.", "reason": "why"},
            id="sphinx",
        ),
        pytest.param("Rolls.\n\nReturns:\nwhat is shown", "Rolls.\n\nReturns:\nwhat is shown", {}, id="no section"),
        pytest.param(
            "Books.\n\nParameters:\n    All dates are in UTC.",
            "Books.\n\nParameters:\n    All dates are in UTC.",
            {},
            id="section without parameters",
        ),
        pytest.param(
            "Books.\n\nArgs:\n    days (list(int)): which (of the week): 0 to 6\n    room: its number",
            "Books.",
            {"days": "which (of the week): 0 to 6", "room": "its number"},
            id="brackets in a type",
        ),
        pytest.param("Rolls.\n\n:note: it is loaded", "Rolls.\n\n:note: it is loaded", {}, id="other field"),
    ],
)
def test_a_docstring_is_kept_whole(docstring: str, description: str, parameters: dict[str, str]) -> None:
    """Only known sections are left out of the description, wherever they stand."""
    parsed = parse(inspect.cleandoc(docstring))
    assert parsed == Docstring(description=description, parameters=parameters)
