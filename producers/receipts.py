"""Receipts: what became of published events, read from the consumers' journal.

One blocking read for all events that somebody waits for; who does not wait pays nothing.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import NamedTuple

from redis.backoff import FullJitterBackoff

from consumer.journal import Row, journal_of, rows_of
from consumer.link import Link, LinkError, LinkTimeout, pairs
from consumer.survey import ms_of

BLOCK_MS = 1000
# Both ids are the server's clock; this is for one that was set back in between.
MARGIN_MS = 1000


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


async def receipts(
    link: Link, stream: str, entry_ids: Sequence[str], timeout_s: float
) -> list[Receipt]:
    """One for each entry, in order; waits until all are settled or the time is over.

    A link that breaks meanwhile is tried again: the events are sent, and their ids must not be
    lost with an error.
    """
    waiting, found = set(entry_ids), dict[str, Row]()
    # What is said of an event is said after it was added.
    first_ms = min(map(ms_of, entry_ids), default=0)
    last = f"{max(first_ms - MARGIN_MS, 0)}-0"
    backoff, failures = FullJitterBackoff(cap=1.0, base=0.05), 0
    deadline = time.monotonic() + timeout_s
    while waiting and (left_s := deadline - time.monotonic()) > 0:
        block_ms = max(int(min(BLOCK_MS, left_s * 1000)), 1)
        try:
            read = await link.one(
                "XREAD", "COUNT", 100, "BLOCK", block_ms, "STREAMS", journal_of(stream), last
            )
        except (LinkError, LinkTimeout):
            failures += 1
            await asyncio.sleep(min(backoff.compute(min(failures, 10)), left_s))
            continue
        for raw_id, flat in read[0][1] if read else []:
            last = raw_id.decode()
            for row in rows_of(pairs(flat)):
                if row.final and row.entry_id in waiting:
                    waiting.discard(row.entry_id)
                    found[row.entry_id] = row
    return [_receipt(entry_id, found.get(entry_id)) for entry_id in entry_ids]


def _receipt(entry_id: str, row: Row | None) -> Receipt:
    if row is None:
        return Receipt(entry_id)
    return Receipt(entry_id, row.outcome, row.region, row.snapshot_id, row.other, row.why)
