"""Writes the journal: one command a batch, beside the road, and nobody waits for it."""

import asyncio
import logging

from redis.exceptions import RedisError

from consumer.journal import fields_of, journal_of
from consumer.link import Link
from consumer.outcome import Batch, Settled
from consumer.settings import Settings

# A server that does not answer is told no more than this; the gap stands in the log.
MOST_UNDER_WAY = 16

logger = logging.getLogger("regions.journal")


class Scribe:
    """Called with each finished batch."""

    def __init__(self, link: Link, settings: Settings) -> None:
        self._link = link
        self._settings = settings
        self._journal = journal_of(settings.stream)
        self._under_way: set[asyncio.Task[None]] = set()
        self._gap = 0

    def __call__(self, batch: Batch) -> None:
        if len(self._under_way) >= MOST_UNDER_WAY:
            self._gap += len(batch.settled)
            return
        task = asyncio.create_task(self._write(batch))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def finish(self, timeout_s: float) -> None:
        """On the way out: let what is under way arrive."""
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=timeout_s)

    async def _write(self, batch: Batch) -> None:
        at_ms = batch.ended_ns // 1_000_000
        oldest = max(at_ms - self._settings.retain_s * 1000, 0)
        took_ms = (batch.ended_ns - batch.started_ns) / 1e6
        rows = [_row(one) for one in batch.settled]
        try:
            await self._link.one(
                "XADD", self._journal, "MINID", "~", oldest, "*",
                *fields_of(rows, self._settings.consumer, at_ms, took_ms),
            )  # fmt: skip
        except (RedisError, OSError) as error:
            self._gap += len(rows)
            logger.debug("not written: %s", error)
            return
        if self._gap:
            gap, self._gap = self._gap, 0
            logger.warning("the journal has a gap of %d events", gap)


def _row(settled: Settled) -> tuple[str | int, ...]:
    event, entry = settled.event, settled.event.entry
    why = settled.fault.reason if settled.fault else settled.trouble.code if settled.trouble else ""
    return (
        entry.id, event.region, event.snapshot_id, settled.outcome.value, settled.other,
        entry.deliveries, event.origin.traceparent, event.origin.cycle, why,
    )  # fmt: skip
