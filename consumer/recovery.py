"""What others left behind: abandoned entries, dead names, and entries past their retention."""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any

from redis.exceptions import RedisError

from consumer.decode import Entry
from consumer.link import code_of
from consumer.pipeline import Pipeline
from consumer.settings import Settings
from consumer.store import Store

START = "0-0"
CLAIM_EVERY_S = 1.0
HOUSEKEEP_EVERY_S = 30.0

logger = logging.getLogger("regions.recovery")


class Recovery:
    """Runs beside the subscribers; its entries take the same road as theirs."""

    def __init__(self, store: Store, pipeline: Pipeline, settings: Settings) -> None:
        self._store = store
        self._pipeline = pipeline
        self._settings = settings
        idle_s = settings.idle_ms / 1000
        self._claim_every_s = min(CLAIM_EVERY_S, idle_s / 2)
        self._housekeep_every_s = min(HOUSEKEEP_EVERY_S, idle_s, max(settings.retain_s / 4, 0.25))
        self._tasks: list[asyncio.Task[None]] = []
        self.alive_at = 0.0
        """time.monotonic() of the last round that the server answered."""
        self.trimmed = 0
        self.vanished = 0
        """Pending entries that somebody deleted from the stream: those are lost."""

    def start(self) -> None:
        self._tasks = [
            asyncio.create_task(forever(self.claim_all, self._claim_every_s)),
            asyncio.create_task(forever(self.housekeep, self._housekeep_every_s)),
        ]

    async def stop(self, timeout_s: float) -> None:
        """Let the batch under way finish, then end."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout_s)

    @property
    def running(self) -> bool:
        return bool(self._tasks) and not any(task.done() for task in self._tasks)

    async def claim_all(self) -> int:
        """Take over everything that has been pending too long; how many entries it was.

        As with the subscribers, one batch is claimed while others are written.
        """
        cursor, total = START, 0
        under_way: set[asyncio.Task[Any]] = set()
        try:
            while True:
                claimed = await self._store.claim(cursor, self._settings.batch)
                self.alive_at = time.monotonic()
                self.vanished += len(claimed.vanished)
                _tell_of(claimed.vanished)
                # 2: read once by whoever left it, and now by us.
                entries = [Entry(identifier, fields, 2) for identifier, fields in claimed.entries]
                total += len(entries) + len(claimed.suspects)
                if entries:
                    work = self._pipeline.process(entries, claimed=True)
                    under_way.add(asyncio.create_task(work))
                if len(under_way) >= self._settings.subscribers:
                    _, under_way = await asyncio.wait(
                        under_way, return_when=asyncio.FIRST_COMPLETED
                    )
                for suspect in claimed.suspects:
                    await _finish(self._alone(suspect))
                cursor = claimed.cursor
                if cursor == START:
                    break
        finally:  # also on a stop: a batch is finished, not cut in half
            if under_way:
                await asyncio.wait(under_way)
        if total:
            logger.info("took over %d abandoned entries", total)
        return total

    async def _alone(self, entry_id: str) -> None:
        taken = await self._store.take(entry_id)
        if taken is not None:
            await self._pipeline.process([Entry(*taken)], claimed=True)

    async def housekeep(self) -> None:
        gone = await self._store.sweep()
        if gone:
            logger.info("removed the names of dead consumers: %s", ", ".join(gone))
        trimmed = await self._store.trim()
        self.trimmed += trimmed
        if trimmed:
            logger.info("trimmed %d acked entries past their retention", trimmed)


def _tell_of(vanished: list[str]) -> None:
    if vanished:
        logger.error(
            "%d pending entries were deleted from the stream by somebody: %s",
            len(vanished),
            ", ".join(vanished[:5]),
        )


async def _finish(work: Awaitable[object]) -> None:
    """Work that a stop must not cut in half: it is finished first, then the stop goes on."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


async def forever(work: Callable[[], Awaitable[object]], every_s: float) -> None:
    """Do it again and again, whatever it raises; a trouble is told once."""
    said = ""
    while True:
        try:
            await work()
            said = ""
        except (RedisError, OSError) as error:
            code = code_of(error)
            if code not in {said, "NOGROUP"}:  # the reader tells of a missing group, and makes it
                logger.warning("%s: %s: %s", work.__name__, code, error)
            said = code
        except Exception:
            logger.exception("%s failed; trying again", work.__name__)
        await asyncio.sleep(every_s * random.uniform(0.8, 1.2))  # noqa: S311 (no secret)
