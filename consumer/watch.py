"""Looks at the group now and then, for the gauges; one consumer pays, all of them know."""

import asyncio
import time

from consumer.recovery import forever
from consumer.store import Store
from consumer.survey import Survey

EVERY_S = 5.0
# Shorter than that: what a consumer is told is never older than two of its own looks.
KEPT_MS = 3_000
# What is older tells nothing of now: a server that is away has no gauges, and alerts see that.
STALE_S = 30.0


class Watch:
    """Runs beside the subscribers; `latest()` is what is known of the group at the moment."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: tuple[Survey, int, float] | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(forever(self.look, EVERY_S))

    async def look(self) -> None:
        survey, now_ms = await self._store.survey(ttl_ms=KEPT_MS)
        self._known = survey, now_ms, time.monotonic()

    def latest(self) -> tuple[Survey, int] | None:
        """The last survey and the server's clock now (ms); None without a recent one."""
        if self._known is None:
            return None
        survey, now_ms, heard_at = self._known
        since_s = time.monotonic() - heard_at
        return (survey, now_ms + int(since_s * 1000)) if since_s < STALE_S else None

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
