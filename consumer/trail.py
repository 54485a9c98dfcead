"""Everything that still knows of one event: entries, dead letters, notes, journal. Found by
following ids from one to the next."""

from pydantic_core import from_json

from consumer import keys
from consumer.decode import Entry, decode
from consumer.events import DAY_MS
from consumer.journal import Row
from consumer.letters import Letter, Letters
from consumer.link import Link
from consumer.lookup import entries_with, entry, journal, last_of
from consumer.settings import Settings
from consumer.survey import ms_of


class Facts:
    """What is gathered while ids lead to further ids."""

    def __init__(self) -> None:
        self.letter_id = ""
        self.region = ""
        self.snapshot_id = ""
        self.entries: dict[str, dict[bytes, bytes] | None] = {}
        self.letters: dict[str, Letter] = {}
        self.audit: list[dict[str, str]] = []
        self.rows: list[Row] = []


async def last_id(link: Link, settings: Settings, region: str) -> str:
    """The last event of a region: as the journal tells, else the one that stands as latest."""
    if last := await last_of(link, settings, region):
        return last.entry_id
    standing = await link.one("GET", keys.latest(region))
    return standing.decode() if standing else ""


async def gather(link: Link, settings: Settings, facts: Facts) -> None:
    """Follow the ids: letter → entry → snapshot → other entries of it, and replays both ways."""
    letters = Letters(link, settings)
    audit, buried = await letters.audit(), [letter async for letter in letters.scan()]
    searched, known = False, -1
    while known != (known := len(facts.entries) + len(facts.letters) + bool(facts.snapshot_id)):
        for entry_id in facts.entries:
            fields = facts.entries[entry_id] or await entry(link, settings.stream, entry_id)
            facts.entries[entry_id] = fields
            _learn(facts, settings, entry_id)
        for letter in [one for one in buried if _concerns(one, facts)]:
            facts.letters[letter.id] = letter
            facts.entries.setdefault(letter.get("source_id"), None)
            facts.snapshot_id = facts.snapshot_id or letter.get("snapshot_id")
            facts.region = facts.region or letter.get("region")
        for note in audit:
            entries = {note.get("source_id"), note.get("entry_id")} & facts.entries.keys()
            dead = note["dead_id"] == facts.letter_id or note["dead_id"] in facts.letters
            if (entries or dead) and note not in facts.audit:
                facts.audit.append(note)
                for name in ("source_id", "entry_id"):
                    if note.get(name):
                        facts.entries.setdefault(note[name], None)
        if facts.snapshot_id and not searched:
            searched = True  # the whole stream may have to be looked through
            for entry_id in await entries_with(
                link, settings, facts.snapshot_id, since_ms=await _earliest(link, facts.snapshot_id)
            ):
                facts.entries.setdefault(entry_id, None)
    first = min((ms_of(i) for i in facts.entries), default=0)
    async for row in journal(link, settings, lambda row: row.entry_id in facts.entries, first):
        facts.rows.append(row)
        facts.region = facts.region or row.region
        facts.snapshot_id = facts.snapshot_id or row.snapshot_id


def _learn(facts: Facts, settings: Settings, entry_id: str) -> None:
    fields = facts.entries[entry_id]
    if fields is None:
        return
    event = decode(Entry(entry_id, fields), settings.rules, ms_of(entry_id))
    facts.region = facts.region or event.region
    facts.snapshot_id = facts.snapshot_id or event.snapshot_id


async def _earliest(link: Link, snapshot_id: str) -> int:
    """It cannot have been published more than a day before it was computed."""
    raw = await link.one("GET", keys.by_id(snapshot_id))
    return int(from_json(raw)["generated_at"]) - DAY_MS if raw else 0


def _concerns(letter: Letter, facts: Facts) -> bool:
    return (
        letter.id == facts.letter_id
        or letter.get("source_id") in facts.entries
        or bool(facts.snapshot_id and letter.get("snapshot_id") == facts.snapshot_id)
    )
