"""The scripts as methods, and the one place where the server's errors get our names."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pydantic_core import from_json, to_json

from consumer import keys
from consumer.decode import RegionEvent
from consumer.link import Link, RedisError, Reply, ResponseError, code_of, pairs
from consumer.outcome import Outcome, Trouble
from consumer.scripts import Script, load, run, script, single
from consumer.settings import Settings
from consumer.survey import Survey, credible, survey_of, uncertain

DAY_S = 86_400

# Of the whole server, and it passes: waits, fail-overs, memory, a wrong password being rotated.
_SERVER = frozenset(
    [
        "LOADING",
        "READONLY",
        "OOM",
        "BUSY",
        "MASTERDOWN",
        "CLUSTERDOWN",
        "TRYAGAIN",
        "MISCONF",
        "NOREPLICAS",
        "NOSCRIPT",
        "UNBLOCKED",
        "EXECABORT",
        "NOAUTH",
        "WRONGPASS",
        "NOGROUP",
        "MOVED",
        "ASK",
    ]
)
# Of one event, for ever: its key is something else.
_FATAL = frozenset(["WRONGTYPE"])


PERSIST, DEAD_LETTER, CLAIM, TAKE, RELEASE, SWEEP, TRIM, SURVEY, COUNT = map(
    script,
    (
        "persist", "dead_letter", "claim", "take", "release", "sweep", "trim", "survey", "count",
    ),
)  # fmt: skip
# What a consumer needs all the time.
SCRIPTS = (PERSIST, DEAD_LETTER, CLAIM, TAKE, RELEASE, SWEEP, TRIM, SURVEY)
# How many unread entries a survey counts one by one where nothing else tells their number; where
# Redis' word can be true, one step: few unread entries are counted, many are believed.
COUNT_LIMIT = 10_000


class Answer(NamedTuple):
    outcome: Outcome
    other: str


class Claimed(NamedTuple):
    """cursor: where to go on; entries: ours, delivered (id, fields); suspects: ids that are ours
    but not delivered; vanished: ids that were pending and are no longer in the stream."""

    cursor: str
    entries: list[tuple[str, dict[bytes, bytes]]]
    suspects: list[str]
    vanished: list[str]


class Store:
    """What the consumer does on the server; every call is one round trip."""

    def __init__(self, link: Link, settings: Settings) -> None:
        self._link = link
        self._settings = settings
        self._keep_s = settings.keep_days * DAY_S

    async def load(self) -> None:
        """Connect and load the scripts, so that the first event finds a warm way."""
        await load(self._link, SCRIPTS)

    async def ensure_group(self) -> bool:
        """Create the group at 0, so that what was published before is read; True if it was new."""
        try:
            await self._link.one(
                "XGROUP", "CREATE", self._settings.stream, self._settings.group, "0", "MKSTREAM"
            )
        except ResponseError as error:
            if code_of(error) == "BUSYGROUP":
                return False
            raise
        return True

    async def persist(self, events: Sequence[RegionEvent]) -> list[Answer | Trouble]:
        """Check, write, mark and ack each event; answers in order, each its own."""
        replies = await self._run(PERSIST, [self._persist_args(event) for event in events])
        return [
            reply
            if isinstance(reply, Trouble)
            else Answer(Outcome(reply[0].decode()), reply[1].decode())
            for reply in replies
        ]

    async def bury(
        self, letters: Sequence[tuple[str, Mapping[bytes | str, bytes | str]]]
    ) -> list[str | Trouble | None]:
        """Move entries to the dead letters: (entry id, record) → the dead letter's id, or None
        when somebody else has settled the entry."""
        settings = self._settings
        arguments: list[tuple[Any, ...]] = []
        for entry_id, record in letters:
            flat = [part for pair in record.items() for part in pair]
            arguments.append(
                (2, settings.stream, settings.dead_stream, settings.group, entry_id, *flat)
            )
        replies = await self._run(DEAD_LETTER, arguments)
        return [reply.decode() if isinstance(reply, bytes) else reply for reply in replies]

    async def claim(self, cursor: str, count: int) -> Claimed:
        settings = self._settings
        reply = await self._single(
            CLAIM, 1, settings.stream, settings.group, settings.consumer,
            settings.idle_ms, cursor, count,
        )  # fmt: skip
        following, entries, suspects, vanished = reply
        return Claimed(
            following.decode(),
            [_entry(raw) for raw in entries if raw],
            [identifier.decode() for identifier in suspects],
            [identifier.decode() for identifier in vanished],
        )

    async def take(self, entry_id: str) -> tuple[str, dict[bytes, bytes], int] | None:
        """Deliver one suspect to us; None when it is no longer ours. (id, fields, deliveries)"""
        settings = self._settings
        reply = await self._single(
            TAKE, 1, settings.stream, settings.group, settings.consumer, entry_id
        )
        return None if reply is None else (*_entry(reply[0]), int(reply[1]))

    async def release(self, heir: str = "released") -> int:
        """Make all we hold claimable at once and remove our name; how many entries it was."""
        settings, total = self._settings, 0
        while released := await self._single(
            RELEASE, 1, settings.stream, settings.group, settings.consumer, heir, 1000
        ):
            total += int(released)
        return total

    async def sweep(self) -> list[str]:
        """Remove the names of idle consumers that hold nothing; returns them."""
        settings = self._settings
        names = await self._single(
            SWEEP, 1, settings.stream, settings.group, settings.idle_ms, settings.consumer
        )
        return [name.decode() for name in names]

    async def trim(self) -> int:
        """Trim what is acked by all groups and older than the retention; how many went."""
        settings, total = self._settings, 0
        while trimmed := await self._single(TRIM, 1, settings.stream, settings.retain_s * 1000):
            total += int(trimmed)
        return total

    async def survey(self, ttl_ms: int = 0, count_limit: int = COUNT_LIMIT) -> tuple[Survey, int]:
        """How the group stands, and the server's clock (ms). Of all that ask within `ttl_ms` one
        looks, and the others are told what it saw; 0 looks afresh."""
        settings = self._settings
        regions = settings.shown_regions
        cache = keys.survey(settings.stream, settings.group)
        fresh, json, now_ms = await self._single(
            SURVEY, 3 + len(regions), settings.stream, settings.dead_stream, cache,
            *map(keys.index, regions), settings.group, ttl_ms, read_only=not ttl_ms,
        )  # fmt: skip
        said = from_json(json)
        if fresh and (last := uncertain(said)):
            said |= await self._counted(last, 1 if credible(said) else count_limit)
            if ttl_ms:
                # Refused by a full server, it is counted again next time.
                await self._link.call([("SET", cache, to_json(said), "PX", ttl_ms)])
        return survey_of(said, regions), now_ms

    async def _counted(self, last: str, limit: int) -> dict[str, Any]:
        counted, everything = 0, 0
        while not everything and counted < limit:
            some, last, everything = await self._single(
                COUNT, 1, self._settings.stream, last, read_only=True
            )
            counted += some
        return {"counted": counted, "counted_all": bool(everything)}

    def _persist_args(self, event: RegionEvent) -> tuple[Any, ...]:
        region, snapshot_id, generated_at, trigger_reason, _ = event.facts
        return (
            7,
            self._settings.stream,
            keys.dedup(region, trigger_reason, generated_at),
            keys.by_id(snapshot_id),
            keys.snapshot(region, generated_at),
            keys.index(region),
            keys.latest(region),
            keys.live(region),
            self._settings.group,
            event.entry.id,
            snapshot_id,
            generated_at,
            event.raw,
            self._keep_s,
            self._settings.dedup_window_s,
        )

    async def _single(self, script: Script, *arguments: Any, read_only: bool = False) -> Reply:
        return await single(self._link, script, *arguments, read_only=read_only)

    async def _run(self, script: Script, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        try:
            replies = await run(self._link, script, arguments)
        except RedisError as error:
            return [translate(error)] * len(arguments)
        return [
            translate(reply) if isinstance(reply, ResponseError) else reply for reply in replies
        ]


def _entry(raw: Any) -> tuple[str, dict[bytes, bytes]]:
    identifier, flat = raw
    return identifier.decode(), pairs(flat)


def translate(error: RedisError) -> Trouble:
    """A redis-py error → Trouble. What is no answer of the server is trouble with the link."""
    message = str(error)[:200]
    code = code_of(error)
    if code in _SERVER or not isinstance(error, ResponseError):
        return Trouble("server", code, message)
    return Trouble("fatal" if code in _FATAL else "event", code, message)
