"""Writes the rows of receipts."""

from __future__ import annotations

import sqlite3

from mcp_server.stores.consistency import request_taken
from mcp_server.stores.sqlite.rows import encode
from mcp_server.values import Receipt


class ReceiptRows:
    """Writes to the table of receipts, within a transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._execute = connection.execute

    def insert(self, receipt: Receipt) -> None:
        """Create a receipt."""
        try:
            self._execute(
                "INSERT INTO receipts (tenant, scope, service, request_id, create_time, body)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (
                    receipt.tenant,
                    receipt.scope,
                    receipt.service,
                    receipt.request_id,
                    receipt.create_time,
                    encode(receipt),
                ),
            )
        except sqlite3.IntegrityError as error:
            raise request_taken(receipt) from error

    def forget(self, before: int, limit: int) -> int:
        """Delete up to ``limit`` receipts from before that time, and count them."""
        return self._execute(
            "DELETE FROM receipts WHERE (tenant, scope, service, request_id) IN (SELECT tenant, scope, service,"
            " request_id FROM receipts WHERE create_time < ? ORDER BY create_time LIMIT ?)",
            (before, limit),
        ).rowcount
