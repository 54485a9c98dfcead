"""Finding what was said of an event: in the stream, in the journal."""

from collections.abc import AsyncIterator, Callable
from typing import Any

from consumer.journal import Row, journal_of, rows_of
from consumer.link import Link, pairs
from consumer.scripts import script, single
from consumer.settings import Settings
from consumer.survey import order

FIND = script("find")
PAGE = 200


async def entries_with(
    link: Link, settings: Settings, text: str, *, field: str = "", since_ms: int = 0
) -> list[str]:
    """Ids of the stream's entries that hold a text, or whose field is that text."""
    found: list[str] = []
    start = f"{max(since_ms, 0)}-0"
    while start:
        ids, following = await single(
            link, FIND, 1, settings.stream, start, field, text, read_only=True
        )
        found += [i.decode() for i in ids]
        start = following.decode()
    return found


async def entry(link: Link, stream: str, entry_id: str) -> dict[bytes, bytes] | None:
    rows = await link.one("XRANGE", stream, entry_id, entry_id)
    return pairs(rows[0][1]) if rows else None


async def journal(
    link: Link, settings: Settings, wanted: Callable[[Row], bool], since_ms: int = 0
) -> AsyncIterator[Row]:
    """What became of deliveries, oldest first, as far as the journal reaches."""
    name, start = journal_of(settings.stream), f"{max(since_ms, 0)}-0"
    while page := await link.one("XRANGE", name, start, "+", "COUNT", PAGE):
        for _, flat in page:
            for row in rows_of(pairs(flat)):
                if wanted(row):
                    yield row
        start = f"({page[-1][0].decode()}"


async def last_of(link: Link, settings: Settings, region: str) -> Row | None:
    """The journal's last word of a region, found from its end."""
    name, end = journal_of(settings.stream), "+"
    while page := await link.one("XREVRANGE", name, end, "-", "COUNT", PAGE):
        for _, flat in page:
            told = [row for row in rows_of(pairs(flat)) if row.region == region]
            if told:
                return told[-1]
        end = f"({page[-1][0].decode()}"
    return None


async def unsettled(link: Link, settings: Settings, entry_id: str) -> str:
    """Who holds an entry of the stream, or that nobody has read it; "" when it is settled."""
    groups = [named(row) for row in await link.one("XINFO", "GROUPS", settings.stream)]
    group = next((g for g in groups if g["name"] == settings.group.encode()), None)
    if group is None or order(group["last-delivered-id"].decode()) < order(entry_id):
        return "nobody has read it yet"
    for _, holder, idle_ms, deliveries in await link.one(
        "XPENDING", settings.stream, settings.group, entry_id, entry_id, 1
    ):
        return f"delivery {deliveries}, held by {holder.decode()} for {idle_ms / 1000:.1f} s"
    return ""


def named(flat: list[Any]) -> dict[str, Any]:
    return {k.decode(): v for k, v in pairs(flat).items()}
