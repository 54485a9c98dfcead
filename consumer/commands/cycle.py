"""`regions cycle`: is a producer's run complete?"""

import json
from typing import Annotated, Any

import typer

from consumer import keys
from consumer.commands.terminal import AsJson, RedisUrl, linked, out, run, searching
from consumer.decode import Entry, decode
from consumer.journal import Row
from consumer.letters import Letters
from consumer.link import Link
from consumer.lookup import entries_with, entry, journal, unsettled
from consumer.settings import Settings
from consumer.survey import ms_of
from consumer.tables import table

_RANK = {"missing": 0, "pending": 1, "dead": 2, "ok": 3}
_STYLES = {"ok": "green", "dead": "red", "missing": "yellow", "pending": "cyan"}


def cycle(
    name: Annotated[str, typer.Argument(metavar="CYCLE", help="As the producer named its run.")],
    redis_url: RedisUrl = None,
    as_json: AsJson = False,
) -> None:
    """What became of each region of a run: ok, dead, pending or missing.

    Exit status 0 when all regions are settled and none is dead. A replay of a dead letter counts
    for its region. Looks as far back as the stream's retention.

    Example:  regions cycle 2026-11-22T06:00Z
    """
    settings = Settings.load(redis_url=redis_url)
    with searching(name):
        rows = run(_ask(settings, name))
    if as_json:
        complete = all(row["state"] == "ok" for row in rows)
        typer.echo(json.dumps({"cycle": name, "complete": complete, "regions": rows}))
    else:
        view = table("region", "state", "outcome", "entry")
        for row in rows:
            state = row["state"]
            view.add_row(
                row["region"], f"[{_STYLES[state]}]{state}[/]", row["outcome"], row["entry_id"]
            )
        out.print(view)
    raise typer.Exit(0 if all(row["state"] == "ok" for row in rows) else 1)


async def _ask(settings: Settings, name: str) -> list[dict[str, Any]]:
    async with linked(settings) as link:
        return await standing(link, settings, name)


async def standing(link: Link, settings: Settings, name: str) -> list[dict[str, Any]]:
    """One row for each region: the best that is known of its events of this run."""
    settled: dict[str, Row] = {}
    async for row in journal(link, settings, lambda row: row.cycle == name and row.final):
        settled[row.entry_id] = row
    rows = {
        region: {"region": region, "state": "missing", "outcome": "", "entry_id": ""}
        for region in settings.shown_regions
    }
    for row in settled.values():
        state = "dead" if row.outcome == "dead_lettered" else "ok"
        _better(rows, row.region, state, row.outcome, row.entry_id)
    if any(row["state"] == "missing" for row in rows.values()):
        # Not settled yet, or settled and the journal has a gap: the streams themselves know.
        found = await entries_with(link, settings, name, field="cycle")
        buried = {one.get("source_id") async for one in Letters(link, settings).scan()}
        for entry_id in set(found) - settled.keys():
            fields = await entry(link, settings.stream, entry_id) or {}
            event = decode(Entry(entry_id, fields), settings.rules, ms_of(entry_id))
            if entry_id in buried:
                _better(rows, event.region, "dead", "dead_lettered", entry_id)
            elif await link.one("EXISTS", keys.by_id(event.snapshot_id)):
                _better(rows, event.region, "ok", "persisted", entry_id)
            elif await unsettled(link, settings, entry_id):
                _better(rows, event.region, "pending", "", entry_id)
            else:  # acked, and neither dead nor written: recognised as another one's duplicate
                _better(rows, event.region, "ok", "duplicate", entry_id)
    return list(rows.values())


def _better(
    rows: dict[str, dict[str, Any]], region: str, state: str, outcome: str, entry_id: str
) -> None:
    row = rows.setdefault(
        region or "?", {"region": region or "?", "state": "missing", "outcome": "", "entry_id": ""}
    )
    if _RANK[state] >= _RANK[row["state"]]:
        row.update(state=state, outcome=outcome, entry_id=entry_id)
