"""What would become of dead letters if they were sent again now: the current code, no writing.

The same checks as persist.lua makes, in the same order. What one letter would write is
remembered for those after it.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from consumer import keys
from consumer.decode import Entry, RegionEvent, Rejection, decode
from consumer.link import Link, ResponseError
from consumer.outcome import Outcome
from consumer.settings import Settings
from consumer.store import translate


class Forecast(NamedTuple):
    """outcome: as in `Outcome`; `dead_lettered` means that it fails again, with what is wrong."""

    outcome: Outcome
    other: str = ""
    reason: str = ""
    message: str = ""
    paths: tuple[str, ...] = ()


class Rehearsal:
    """One run over many letters."""

    def __init__(self, link: Link, settings: Settings, now_ms: int) -> None:
        self._link = link
        self._settings = settings
        self._now_ms = now_ms
        self._written: set[str] = set()
        self._held: dict[str, str] = {}
        self._newest: dict[str, tuple[int, str]] = {}

    async def of(self, entries: Sequence[Entry]) -> list[Forecast]:
        """In one round trip, in order."""
        events = [decode(entry, self._settings.rules, self._now_ms) for entry in entries]
        good = [event for event in events if isinstance(event, RegionEvent)]
        replies = await self._link.call([c for event in good for c in _questions(event)])
        answers = iter([replies[i : i + 3] for i in range(0, len(replies), 3)])
        return [
            _fails(event) if isinstance(event, Rejection) else self._fate(event, *next(answers))
            for event in events
        ]

    def _fate(self, event: RegionEvent, exists: Any, holder: Any, newest: Any) -> Forecast:
        for answer in (exists, holder, newest):
            if isinstance(answer, ResponseError):
                trouble = translate(answer)
                reason = "rejected_by_server" if trouble.scope == "fatal" else trouble.code
                return Forecast(Outcome.DEAD_LETTERED, reason=reason, message=trouble.message)
        region, snapshot_id, generated_at, trigger, _ = event.facts
        if exists or snapshot_id in self._written:
            return Forecast(Outcome.REDELIVERED, snapshot_id)
        bucket = keys.dedup(region, trigger, generated_at)
        if held_by := (holder.decode() if holder else self._held.get(bucket)):
            return Forecast(Outcome.DUPLICATE, held_by)
        self._written.add(snapshot_id)
        self._held[bucket] = snapshot_id
        found = (int(float(newest[1])), newest[0].decode()) if newest else (0, "")
        standing = max(self._newest.get(region, (0, "")), found)
        mine = (generated_at, snapshot_id)
        self._newest[region] = max(standing, mine)
        if mine >= standing:
            return Forecast(Outcome.PERSISTED, snapshot_id)
        return Forecast(Outcome.SUPERSEDED, standing[1])


def _questions(event: RegionEvent) -> tuple[tuple[Any, ...], ...]:
    region, snapshot_id, generated_at, trigger, _ = event.facts
    return (
        ("EXISTS", keys.by_id(snapshot_id)),
        ("GET", keys.dedup(region, trigger, generated_at)),
        ("ZREVRANGE", keys.index(region), 0, 0, "WITHSCORES"),
    )


def _fails(event: Rejection) -> Forecast:
    fault = event.fault
    return Forecast(Outcome.DEAD_LETTERED, "", fault.reason, fault.message, fault.paths)
