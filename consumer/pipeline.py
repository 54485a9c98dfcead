"""The road of an event, top to bottom: decode, persist, settle, record.

Failure travels as a value. Only the scripts ack (persist.lua, dead_letter.lua); every other way
out of here leaves the entry pending, and pending entries come back.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from redis.backoff import FullJitterBackoff

from consumer.dead import record
from consumer.decode import Entry, RegionEvent, Rejection, decode
from consumer.events import Fault
from consumer.outcome import (
    Batch,
    Outcome,
    Retried,
    Settled,
    Trouble,
    Verdict,
    decide,
    refused,
    too_often,
)
from consumer.settings import Settings
from consumer.store import Store

T = TypeVar("T")
A = TypeVar("A")
Event = RegionEvent | Rejection

# Checking a batch takes tens of milliseconds; after so many events the loop may send what the
# batch before has yet to send, or the server would wait for it.
BREATH = 16

logger = logging.getLogger("regions.pipeline")


class Pipeline:
    """A batch in, outcomes out. `watch` is shown each finished batch and decides nothing."""

    def __init__(self, store: Store, settings: Settings, watch: Callable[[Batch], None]) -> None:
        self._store = store
        self._settings = settings
        self._watch = watch
        self._rules = settings.rules
        self._backoff = FullJitterBackoff(cap=1.0, base=0.05)
        self._hurry = asyncio.Event()

    async def process(self, entries: Sequence[Entry], *, claimed: bool = False) -> list[Settled]:
        """Settle a batch. Nothing is raised for a bad event or an ailing server."""
        started = time.time_ns()
        retried: list[Retried] = []
        now_ms = started // 1_000_000
        limit = self._settings.max_deliveries

        events: list[RegionEvent] = []
        dead: list[tuple[Event, Fault]] = []
        settled: list[Settled] = []
        for number, entry in enumerate(entries, 1):
            if number % BREATH == 0:
                await asyncio.sleep(0)
            event = (
                too_often(entry, limit)
                if entry.deliveries > limit
                else decode(entry, self._rules, now_ms)
            )
            if isinstance(event, Rejection):
                dead.append((event, event.fault))
            else:
                events.append(event)

        persist_started = time.time_ns()
        answers = await self._insist(self._store.persist, events, retried)
        persist_ended = time.time_ns()
        for good, answer in zip(events, answers, strict=True):
            if not isinstance(answer, Trouble):
                settled.append(Settled(good, answer.outcome, answer.other))
            elif decide(answer, good.entry.deliveries, limit) is Verdict.NEVER:
                dead.append((good, refused(answer, good)))
            else:
                settled.append(Settled(good, Outcome.RETRY, trouble=answer))

        if dead:
            settled += await self._bury(dead, now_ms, retried)
        ended = time.time_ns()
        self._show(
            Batch(
                settled,
                started,
                ended,
                (persist_started, persist_ended) if events else None,
                (persist_ended, ended) if dead else None,
                retried,
                claimed,
            )
        )
        return settled

    def hurry(self) -> None:
        """On the way out: no more waiting; what the server cannot take now stays pending."""
        self._hurry.set()

    async def _bury(
        self, dead: list[tuple[Event, Fault]], now_ms: int, retried: list[Retried]
    ) -> list[Settled]:
        letters = [
            (event.entry.id, record(event, fault, self._settings, now_ms)) for event, fault in dead
        ]
        settled = []
        answers = await self._insist(self._store.bury, letters, retried)
        for (event, fault), answer in zip(dead, answers, strict=True):
            if isinstance(answer, Trouble):
                settled.append(Settled(event, Outcome.RETRY, fault=fault, trouble=answer))
            elif answer is None:  # somebody else has settled it
                settled.append(Settled(event, Outcome.REDELIVERED, fault=fault))
            else:
                settled.append(Settled(event, Outcome.DEAD_LETTERED, answer, fault))
        return settled

    async def _insist(
        self,
        send: Callable[[Sequence[T]], Awaitable[list[A | Trouble]]],
        items: Sequence[T],
        retried: list[Retried],
    ) -> list[A | Trouble]:
        """Send, and send again what the server as a whole could not take, within the budget.

        That is safe for all that goes through here: the scripts settle an entry once. One
        event's own trouble is not repeated, so it holds up nobody.
        """
        if not items:
            return []
        deadline = time.monotonic() + self._settings.retry_s
        answers = await send(items)
        while troubled := [i for i, a in enumerate(answers) if _of_the_server(a)]:
            delay = self._backoff.compute(len(retried) + 1)
            if self._hurry.is_set() or time.monotonic() + delay > deadline:
                break
            first = answers[troubled[0]]
            assert isinstance(first, Trouble)
            retried.append(Retried(time.time_ns(), first.code, first.message, len(troubled)))
            await self._pause(delay)
            again = await send([items[i] for i in troubled])
            for index, answer in zip(troubled, again, strict=True):
                answers[index] = answer
        return answers

    async def _pause(self, delay_s: float) -> None:
        try:
            async with asyncio.timeout(delay_s):
                await self._hurry.wait()
        except TimeoutError:
            pass

    def _show(self, batch: Batch) -> None:
        try:
            self._watch(batch)
        except Exception:
            logger.exception("telemetry failed; the events are settled all the same")


def _of_the_server(answer: object) -> bool:
    return isinstance(answer, Trouble) and answer.scope == "server"
