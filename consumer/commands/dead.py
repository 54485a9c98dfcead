"""`regions dead`: look at dead letters, send them again, discard them."""

import json
from collections import Counter
from typing import Annotated, Any

import typer
from rich.table import Table

from consumer.commands.choice import (
    All,
    Fingerprint,
    Ids,
    Reason,
    Region,
    Since,
    chosen,
    scan,
    wanted_by,
)
from consumer.commands.export import export_letters, import_letters
from consumer.commands.mend import edit
from consumer.commands.replay import replay
from consumer.commands.show import show
from consumer.commands.terminal import (
    AsJson,
    RedisUrl,
    clock,
    err,
    fail,
    linked,
    out,
    run,
)
from consumer.letters import Letter, Letters
from consumer.progress import in_parts
from consumer.settings import Settings
from consumer.tables import table

app = typer.Typer(name="dead", no_args_is_help=True, help="Dead letters: look, replay, discard.")
app.command()(show)
app.command()(replay)
app.command()(edit)
app.command("export")(export_letters)
app.command("import")(import_letters)


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
    wanted = wanted_by(region, reason, fingerprint, since)
    letters = run(scan(settings, wanted))
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
    wanted = wanted_by(region, reason, fingerprint, since)
    ids = run(chosen(settings, ids, wanted, everything))
    if ids and not yes and not typer.confirm(f"Discard {len(ids)} dead letters for good?"):
        fail("nothing was discarded")
    gone = run(_discard(settings, ids))
    err.print(f"{gone} discarded")
    raise typer.Exit(0 if gone == len(ids) else 1)


async def _discard(settings: Settings, ids: list[str]) -> int:
    async with linked(settings) as link:
        letters = Letters(link, settings)
        return sum([await letters.discard(part) for part in in_parts(err, "discarding", ids)])
