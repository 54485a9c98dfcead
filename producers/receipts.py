"""Receipts: what became of published events, read from the consumers' journal.

One blocking read for all events that somebody waits for; who does not wait pays nothing.
"""

import time
from collections.abc import Sequence
from typing import NamedTuple

from consumer.journal import Row, journal_of, rows_of
from consumer.link import Link

BLOCK_MS = 1000


class Receipt(NamedTuple):
    """One event's fate. outcome: `persisted`, `superseded`, `duplicate`, `redelivered`,
    `dead_lettered`, or "" when it was not known in time. other: what holds the bucket or stands
    as latest, or the dead letter's id; why: the dead letter's reason."""

    entry_id: str
    outcome: str = ""
    region: str = ""
    snapshot_id: str = ""
    other: str = ""
    why: str = ""

    @property
    def ok(self) -> bool:
        """Persisted, or recognised as something that is."""
        return self.outcome not in {"", "dead_lettered"}


async def journal_end(link: Link, stream: str) -> str:
    """The journal's end now; ask before publishing, so that no receipt is missed."""
    newest = await link.one("XREVRANGE", journal_of(stream), "+", "-", "COUNT", 1)
    return newest[0][0].decode() if newest else "0-0"


async def receipts(
    link: Link, stream: str, entry_ids: Sequence[str], since: str, timeout_s: float
) -> list[Receipt]:
    """One for each entry, in order. Raises redis.RedisError when the server is away."""
    waiting, found, last = set(entry_ids), dict[str, Row](), since
    deadline = time.monotonic() + timeout_s
    while waiting and (left_s := deadline - time.monotonic()) > 0:
        block_ms = max(int(min(BLOCK_MS, left_s * 1000)), 1)
        read = await link.one(
            "XREAD", "COUNT", 100, "BLOCK", block_ms, "STREAMS", journal_of(stream), last
        )
        for raw_id, flat in read[0][1] if read else []:
            last = raw_id.decode()
            for row in rows_of(dict(zip(flat[::2], flat[1::2], strict=True))):
                if row.final and row.entry_id in waiting:
                    waiting.discard(row.entry_id)
                    found[row.entry_id] = row
    return [_receipt(entry_id, found.get(entry_id)) for entry_id in entry_ids]


def _receipt(entry_id: str, row: Row | None) -> Receipt:
    if row is None:
        return Receipt(entry_id)
    return Receipt(entry_id, row.outcome, row.region, row.snapshot_id, row.other, row.why)
