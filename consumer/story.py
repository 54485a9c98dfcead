"""`regions explain`: one event's story, from everything that still knows of it, in order."""

import re
from typing import Any, NamedTuple

from pydantic_core import from_json

from consumer import keys
from consumer.attempt import trace_of
from consumer.decode import Entry, decode
from consumer.link import Link
from consumer.lookup import entry, unsettled
from consumer.settings import Settings
from consumer.survey import ms_of, order
from consumer.trail import Facts, gather, last_id

ENTRY_ID = re.compile(r"^\d+-\d+$")


class Step(NamedTuple):
    """at_ms: 0 for what is so now, without a time of its own."""

    at_ms: int
    what: str
    said: str


class Story(NamedTuple):
    """steps in order of time; keys: what holds it now, (name, TTL in s, -1 for none)."""

    region: str
    snapshot_id: str
    entry_ids: list[str]
    steps: list[Step]
    keys: list[tuple[str, int]]
    trace_ids: list[str]


async def explain(link: Link, settings: Settings, what: str) -> Story | None:
    """The story of a snapshot id, an entry id, a dead letter's id, or a region's last event;
    None when nothing knows of it."""
    facts = Facts()
    if what in settings.shown_regions or await link.one("EXISTS", keys.index(what)):
        what = await last_id(link, settings, what)
        if not what:
            return None
    if ENTRY_ID.match(what):
        # An entry and a dead letter may have the same id: ids are unique in one stream alone.
        facts.entries[what] = await entry(link, settings.stream, what)
        facts.letter_id = "" if facts.entries[what] else what
    else:
        facts.snapshot_id = what
    await gather(link, settings, facts)
    holding = await _keys(link, settings, facts)
    if not (facts.letters or facts.audit or facts.rows or holding or any(facts.entries.values())):
        return None
    steps = [
        *_published(facts, settings), *_delivered(facts), *await _now(link, settings, facts),
        *_buried(facts), *_audited(facts), *await _standing(link, facts, holding),
    ]  # fmt: skip
    steps.sort(key=lambda step: step.at_ms or 1 << 62)
    return Story(
        facts.region,
        facts.snapshot_id,
        sorted(facts.entries.keys() - _letters_alone(facts), key=order),
        steps,
        holding,
        _traces(facts, settings),
    )


def _letters_alone(facts: Facts) -> set[str]:
    """What was asked for is a dead letter's id and no entry's."""
    told = {row.entry_id for row in facts.rows}
    return {facts.letter_id} - told if facts.letters or facts.audit else set()


def _traces(facts: Facts, settings: Settings) -> list[str]:
    """Of each entry its trace; an entry that is gone may still stand in the journal."""
    parents = {row.entry_id: row.traceparent for row in facts.rows}
    for entry_id, fields in facts.entries.items():
        if fields is not None:
            parents[entry_id] = fields.get(b"traceparent", b"").decode("ascii", "replace")
    made = [
        trace_of(settings.stream, entry_id, parent)
        for entry_id, parent in sorted(parents.items(), key=lambda pair: order(pair[0]))
    ]
    return list(dict.fromkeys(made))


def _published(facts: Facts, settings: Settings) -> list[Step]:
    steps = []
    for entry_id, fields in facts.entries.items():
        if fields is None:
            continue
        event = decode(Entry(entry_id, fields), settings.rules, ms_of(entry_id))
        parts = [f"entry {entry_id}"]
        if event.origin.cycle:
            parts.append(f"cycle {event.origin.cycle}")
        if again := fields.get(b"replay_of"):
            parts.append(f"a replay of dead letter {again.decode('ascii', 'replace')}")
        steps.append(Step(ms_of(entry_id), "published", ", ".join(parts)))
    return steps


def _delivered(facts: Facts) -> list[Step]:
    steps = []
    for row in facts.rows:
        said = f"entry {row.entry_id}, delivery {row.deliveries} to {row.consumer}"
        if row.outcome == "duplicate":
            said += f"; its bucket is held by {row.other}"
        elif row.outcome == "superseded":
            said += f"; {row.other} is newer"
        elif row.outcome == "dead_lettered":
            said += f"; dead letter {row.other}, {row.why}"
        elif row.why:
            said += f"; {row.why}"
        if letter := facts.letters.get(row.other):
            said += f": {letter.get('error_message')} (open)"
        steps.append(Step(row.at_ms, row.outcome, said))
    return steps


async def _now(link: Link, settings: Settings, facts: Facts) -> list[Step]:
    """Entries that are in the stream and not settled: who holds them, or that nobody does."""
    steps = []
    for entry_id, fields in facts.entries.items():
        if fields is not None and (said := await unsettled(link, settings, entry_id)):
            what = "pending" if said.startswith("delivery") else "waiting"
            steps.append(Step(0, what, f"entry {entry_id}: {said}"))
    return steps


def _buried(facts: Facts) -> list[Step]:
    """Dead letters that the journal does not tell of."""
    told = {row.other for row in facts.rows}
    return [
        Step(
            letter.failed_ms,
            "dead_lettered",
            f"dead letter {letter.id}, {letter.get('reason')}: "
            f"{letter.get('error_message')} (open)",
        )
        for letter in facts.letters.values()
        if letter.id not in told
    ]


def _audited(facts: Facts) -> list[Step]:
    steps = []
    for note in facts.audit:
        said = f"dead letter {note['dead_id']} by {note['by']}"
        if note.get("entry_id"):
            said += f", as entry {note['entry_id']}"
        done = {"replay": "replayed", "edit": "mended and replayed", "discard": "discarded"}
        steps.append(Step(int(note["at"]), done.get(note["action"], note["action"]), said))
    return steps


async def _keys(link: Link, settings: Settings, facts: Facts) -> list[tuple[str, int]]:
    """The keys that hold this snapshot now, with their TTL."""
    if not facts.snapshot_id:
        return []
    raw = await link.one("GET", keys.by_id(facts.snapshot_id))
    if not raw:
        return []
    document = from_json(raw)
    region, at = document["region_id"], document["generated_at"]
    facts.region = facts.region or region
    dedup = keys.dedup(region, document["meta"]["trigger_reason"], at)
    names = [keys.by_id(facts.snapshot_id), keys.snapshot(region, at), keys.latest(region), dedup]
    values = await link.call([("GET", name) for name in names])
    mine = facts.snapshot_id.encode()
    holding = [
        name
        for name, value in zip(names, values, strict=True)
        if value == mine or (isinstance(value, bytes) and value == raw)
    ]
    ttls = await link.call([("TTL", name) for name in holding])
    found = list(zip(holding, ttls, strict=True))
    if await link.one("ZSCORE", keys.index(region), facts.snapshot_id) is not None:
        found.append((keys.index(region), -1))
    return found


async def _standing(link: Link, facts: Facts, holding: list[tuple[str, int]]) -> list[Step]:
    """What is so now: persisted or not, and what came after it."""
    if not facts.snapshot_id:
        return []
    if not holding:
        rival = "" if any(row.final for row in facts.rows) else await _rival(link, facts)
        return [Step(0, "state", f"not persisted{rival}")]
    newest = await link.one("GET", keys.latest(facts.region))
    if newest == facts.snapshot_id.encode():
        return [Step(0, "state", f"persisted, and the newest of {facts.region}")]
    return [
        Step(0, "state", f"persisted; the newest of {facts.region} is {(newest or b'?').decode()}")
    ]


async def _rival(link: Link, facts: Facts) -> str:
    """Of an event that the journal does not know: who has its bucket?"""
    for fields in facts.entries.values():
        raw: Any = (fields or {}).get(b"snapshot")
        if not raw:
            continue
        document = from_json(raw)
        at, trigger = document["generated_at"], document["meta"]["trigger_reason"]
        bucket = at // keys.BUCKET_MS
        low, high = bucket * keys.BUCKET_MS, (bucket + 1) * keys.BUCKET_MS - 1
        for member in await link.one("ZRANGEBYSCORE", keys.index(facts.region), low, high):
            other = await link.one("GET", keys.by_id(member.decode()))
            if other and from_json(other)["meta"]["trigger_reason"] == trigger:
                return f": {member.decode()} has its bucket"
    return ""
