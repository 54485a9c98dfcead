"""`regions dead replay`: back on the stream, or first a rehearsal of it."""

import asyncio
import json
from collections import Counter
from typing import Annotated

import typer

from consumer.commands.choice import (
    All,
    Fingerprint,
    Ids,
    Reason,
    Region,
    Since,
    chosen,
    now_ms,
    wanted_by,
)
from consumer.commands.terminal import AsJson, RedisUrl, err, linked, out, run
from consumer.letters import Letters, entry_of
from consumer.link import ResponseError
from consumer.progress import AT_ONCE, in_parts
from consumer.rehearse import Forecast, Rehearsal
from consumer.settings import Settings
from consumer.tables import table


def replay(
    ids: Ids = None,
    region: Region = "",
    reason: Reason = "",
    fingerprint: Fingerprint = "",
    since: Since = None,
    everything: All = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Write nothing; say what would become of each.")
    ] = False,
    rate: Annotated[float, typer.Option(help="At most so many a second; 0 for no limit.")] = 0,
    redis_url: RedisUrl = None,
    as_json: AsJson = False,
) -> None:
    """Put dead letters back on the stream, by id or by filter; each one atomically.

    Exit status 1 when one was not there or could not be put back (with --dry-run: when one would
    fail again).

    Examples:

        regions dead replay 1795383064912-0

        regions dead replay --reason invalid --since 2h --dry-run

        regions dead replay --all --rate 100
    """
    settings = Settings.load(redis_url=redis_url)
    wanted = wanted_by(region, reason, fingerprint, since)
    ids = run(chosen(settings, ids, wanted, everything))
    if dry_run:
        _tell_forecasts(run(_rehearse(settings, ids)), as_json)
        return
    replayed, failed = run(_replay(settings, ids, rate))
    if as_json:
        typer.echo(json.dumps({"replayed": replayed, "failed": failed}))
    else:
        err.print(f"{len(replayed)} back on {settings.stream}")
        for dead_id, why in list(failed.items())[:20]:
            err.print(f"{dead_id}: {why}", highlight=False)
    raise typer.Exit(1 if failed else 0)


async def _rehearse(settings: Settings, ids: list[str]) -> list[tuple[str, Forecast | None]]:
    told: list[tuple[str, Forecast | None]] = []
    async with linked(settings) as link:
        letters, rehearsal = Letters(link, settings), Rehearsal(link, settings, now_ms())
        for part in in_parts(err, "rehearsing", ids):
            found = await letters.fields(part)
            there = [(i, fields) for i, fields in zip(part, found, strict=True) if fields]
            forecasts = await rehearsal.of([entry_of(i, fields) for i, fields in there])
            by_id = dict(zip((i for i, _ in there), forecasts, strict=True))
            told += [(i, by_id.get(i)) for i in part]
    return told


def _tell_forecasts(told: list[tuple[str, Forecast | None]], as_json: bool) -> None:
    rows = [{"id": i, **(f._asdict() if f else {"outcome": "not_there"})} for i, f in told]
    for row in rows:
        if row["outcome"] == "dead_lettered":
            row["outcome"] = "fails_again"
    counts = Counter(str(row["outcome"]) for row in rows)
    if as_json:
        typer.echo(json.dumps({"outcomes": counts, "letters": rows}))
    else:
        view = table("id", "would be", "because")
        view.columns[0].no_wrap, view.columns[1].min_width = True, 11
        for row in rows[:50]:
            view.add_row(row["id"], row["outcome"], row.get("message") or row.get("other", ""))
        out.print(view)
        err.print(
            ", ".join(f"{count} {what}" for what, count in counts.items()) or "no dead letters"
        )
    raise typer.Exit(1 if {"fails_again", "not_there"} & counts.keys() else 0)


async def _replay(
    settings: Settings, ids: list[str], rate: float
) -> tuple[dict[str, str], dict[str, str]]:
    replayed, failed = {}, {}
    size = min(AT_ONCE, max(int(rate), 1)) if rate else AT_ONCE
    async with linked(settings) as link:
        letters = Letters(link, settings)
        for number, part in enumerate(in_parts(err, "replaying", ids, size)):
            if rate and number:
                await asyncio.sleep(size / rate)
            for dead_id, answer in zip(part, await letters.replay(part), strict=True):
                if isinstance(answer, ResponseError):
                    failed[dead_id] = str(answer)
                elif answer:
                    replayed[dead_id] = answer
                else:
                    failed[dead_id] = "no such dead letter"
    return replayed, failed
