"""`regions dead`: look at dead letters, send them again, discard them."""

import asyncio
import json
import time
from collections import Counter
from typing import Annotated, Any

import typer
from rich.table import Table

from consumer.commands.export import export_letters, import_letters
from consumer.commands.mend import edit
from consumer.commands.show import show
from consumer.commands.terminal import (
    AsJson,
    RedisUrl,
    clock,
    err,
    fail,
    linked,
    moment_ms,
    out,
    run,
)
from consumer.letters import Letter, Letters, Wanted, entry_of
from consumer.link import ResponseError
from consumer.progress import counting
from consumer.rehearse import Forecast, Rehearsal
from consumer.settings import Settings
from consumer.tables import table

AT_ONCE = 100

app = typer.Typer(name="dead", no_args_is_help=True, help="Dead letters: look, replay, discard.")
app.command()(show)
app.command()(edit)
app.command("export")(export_letters)
app.command("import")(import_letters)

Region = Annotated[str, typer.Option("--region", help="Of this region.")]
Reason = Annotated[str, typer.Option("--reason", help="Dead for this reason.")]
Fingerprint = Annotated[str, typer.Option("--fingerprint", help="Of this kind of fault.")]
Since = Annotated[str | None, typer.Option("--since", help="Failed since: 2h, 7d, an ISO time.")]
Ids = Annotated[list[str] | None, typer.Argument(metavar="[ID…]")]
All = Annotated[bool, typer.Option("--all", help="All of them.")]


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


@app.command("list")
def list_letters(
    region: Region = "",
    reason: Reason = "",
    fingerprint: Fingerprint = "",
    since: Since = None,
    group: Annotated[
        bool, typer.Option("--group", help="One line for each kind of fault.")
    ] = False,
    limit: Annotated[int, typer.Option(help="Show at most so many; 0 for all.")] = 50,
    redis_url: RedisUrl = None,
    as_json: AsJson = False,
) -> None:
    """Dead letters, oldest first.

    Examples:

        regions dead list --group

        regions dead list --region mena --since 2h

        regions dead list --limit 0 --json
    """
    settings = Settings.load(redis_url=redis_url)
    wanted = Wanted(region, reason, fingerprint, moment_ms(since, _now_ms()))
    letters = run(_scan(settings, wanted))
    if group:
        groups = _grouped(letters)
        typer.echo(json.dumps(groups)) if as_json else out.print(_group_table(groups))
        return
    shown = letters[: limit or None]
    if as_json:
        typer.echo(json.dumps([{"id": one.id, **one.about, "bytes": one.size} for one in shown]))
        return
    out.print(_list_table(shown))
    if len(shown) < len(letters):
        err.print(
            f"… and {len(letters) - len(shown)} more (--limit 0 shows all, --group the kinds)"
        )
    elif not letters:
        err.print("no dead letters")


async def _scan(settings: Settings, wanted: Wanted) -> list[Letter]:
    async with linked(settings) as link:
        return [letter async for letter in Letters(link, settings).scan(wanted.takes)]


def _list_table(letters: list[Letter]) -> Table:
    rows = table("id", "region", "reason", "what is wrong")
    rows.columns[0].no_wrap = True
    rows.columns[1].min_width, rows.columns[2].min_width = 8, 11
    for one in letters:
        rows.add_row(one.id, one.get("region") or "?", one.get("reason"), one.get("error_message"))
    return rows


def _grouped(letters: list[Letter]) -> list[dict[str, Any]]:
    """One for each fingerprint, the most frequent first."""
    kinds: dict[str, list[Letter]] = {}
    for one in letters:
        kinds.setdefault(one.get("fingerprint"), []).append(one)
    return [
        {
            "fingerprint": kind,
            "count": len(of_kind),
            "reason": of_kind[-1].get("reason"),
            "error_type": of_kind[-1].get("error_type"),
            "error_paths": of_kind[-1].get("error_paths"),
            "regions": dict(Counter(one.get("region") for one in of_kind)),
            "first_failed_ms": min(one.failed_ms for one in of_kind),
            "last_failed_ms": max(one.failed_ms for one in of_kind),
            "example": of_kind[-1].id,
        }
        for kind, of_kind in sorted(kinds.items(), key=lambda pair: -len(pair[1]))
    ]


def _group_table(groups: list[dict[str, Any]]) -> Table:
    rows = table("kind", "letters", "reason", "field", "last")
    for one in groups:
        field = one["error_paths"] or one["error_type"]
        last = clock(one["last_failed_ms"])[5:16]
        rows.add_row(one["fingerprint"], str(one["count"]), one["reason"], field, last)
    return rows


@app.command()
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
    wanted = Wanted(region, reason, fingerprint, moment_ms(since, _now_ms()))
    chosen = run(_chosen(settings, ids, wanted, everything))
    if dry_run:
        _tell_forecasts(run(_rehearse(settings, chosen)), as_json)
        return
    replayed, failed = run(_replay(settings, chosen, rate))
    if as_json:
        typer.echo(json.dumps({"replayed": replayed, "failed": failed}))
    else:
        err.print(f"{len(replayed)} back on {settings.stream}")
        for dead_id, why in list(failed.items())[:20]:
            err.print(f"{dead_id}: {why}", highlight=False)
    raise typer.Exit(1 if failed else 0)


async def _chosen(
    settings: Settings, ids: list[str] | None, wanted: Wanted, everything: bool
) -> list[str]:
    if ids:
        return list(dict.fromkeys(ids))
    if wanted == Wanted() and not everything:
        fail(
            "which ones? Name ids, a filter (--region, --reason, --fingerprint, --since), or --all",
            2,
        )
    return [letter.id for letter in await _scan(settings, wanted)]


async def _rehearse(settings: Settings, ids: list[str]) -> list[tuple[str, Forecast | None]]:
    told: list[tuple[str, Forecast | None]] = []
    async with linked(settings) as link:
        letters, rehearsal = Letters(link, settings), Rehearsal(link, settings, _now_ms())
        with counting(err, "rehearsing", len(ids)) as advance:
            for part in _parts(ids):
                found = await letters.fields(part)
                there = [(i, fields) for i, fields in zip(part, found, strict=True) if fields]
                forecasts = await rehearsal.of([entry_of(i, fields) for i, fields in there])
                by_id = dict(zip((i for i, _ in there), forecasts, strict=True))
                told += [(i, by_id.get(i)) for i in part]
                advance(len(part))
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
        with counting(err, "replaying", len(ids)) as advance:
            for number, part in enumerate(_parts(ids, size)):
                if rate and number:
                    await asyncio.sleep(size / rate)
                for dead_id, answer in zip(part, await letters.replay(part), strict=True):
                    if isinstance(answer, ResponseError):
                        failed[dead_id] = str(answer)
                    elif answer:
                        replayed[dead_id] = answer
                    else:
                        failed[dead_id] = "no such dead letter"
                advance(len(part))
    return replayed, failed


@app.command()
def discard(
    ids: Ids = None,
    region: Region = "",
    reason: Reason = "",
    fingerprint: Fingerprint = "",
    since: Since = None,
    everything: All = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    redis_url: RedisUrl = None,
) -> None:
    """Take dead letters away for good. The audit stream keeps a note of each, without the payload.

    Examples:

        regions dead discard 1795383064912-0

        regions dead discard --fingerprint 2f0c1a9b77de --yes
    """
    settings = Settings.load(redis_url=redis_url)
    wanted = Wanted(region, reason, fingerprint, moment_ms(since, _now_ms()))
    chosen = run(_chosen(settings, ids, wanted, everything))
    if chosen and not yes and not typer.confirm(f"Discard {len(chosen)} dead letters for good?"):
        fail("nothing was discarded")
    gone = run(_discard(settings, chosen))
    err.print(f"{gone} discarded")
    raise typer.Exit(0 if gone == len(chosen) else 1)


async def _discard(settings: Settings, ids: list[str]) -> int:
    async with linked(settings) as link:
        letters = Letters(link, settings)
        with counting(err, "discarding", len(ids)) as advance:
            gone = 0
            for part in _parts(ids):
                gone += await letters.discard(part)
                advance(len(part))
            return gone


def _parts(ids: list[str], size: int = AT_ONCE) -> list[list[str]]:
    return [ids[i : i + size] for i in range(0, len(ids), size)]
