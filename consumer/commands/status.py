"""`regions status`: how the group stands, and whether a person is needed."""

import asyncio
import json
import time
from collections import Counter
from typing import Annotated, Any, NamedTuple

import typer
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from consumer.commands.terminal import AsJson, RedisUrl, length, linked, out, run
from consumer.letters import Letters
from consumer.link import Link
from consumer.settings import Settings
from consumer.store import Store
from consumer.survey import LIVE_MS, Survey, age_s
from consumer.tables import span, table

MANY_LETTERS = 10_000
# A person who asks may wait some seconds for the truth.
COUNT_LIMIT = 1_000_000


class Limits(NamedTuple):
    """What is too much; seconds and numbers."""

    stale_s: float
    oldest_s: float
    backlog: int
    dead: int
    deliveries: int


def status(
    redis_url: RedisUrl = None,
    as_json: AsJson = False,
    watch: Annotated[float, typer.Option(help="Refresh in place every so many seconds.")] = 0,
    max_age: Annotated[str, typer.Option(help="Oldest newest snapshot of a region.")] = "7h",
    max_oldest: Annotated[str, typer.Option(help="Oldest unsettled event.")] = "5m",
    max_backlog: Annotated[int, typer.Option(help="Entries nobody has read.")] = 10_000,
    max_dead: Annotated[int, typer.Option(help="Dead letters.")] = 0,
    max_deliveries: Annotated[int, typer.Option(help="Deliveries of a pending entry.")] = 2,
) -> None:
    """How the group stands. Exit status 1 when something needs a person.

    Examples:

        regions status

        regions status --watch 2

        regions status --max-age 12h --max-dead 10 --json
    """
    settings = Settings.load(redis_url=redis_url)
    limits = Limits(length(max_age), length(max_oldest), max_backlog, max_dead, max_deliveries)
    if watch:
        run(_watch(settings, limits, watch))
        return
    said = run(_once(settings, limits))
    if as_json:
        typer.echo(json.dumps(said))
    else:
        out.print(_view(said))
    raise typer.Exit(1 if said["problems"] else 0)


async def _once(settings: Settings, limits: Limits) -> dict[str, Any]:
    async with linked(settings) as link:
        return await _look(link, settings, limits)


async def _watch(settings: Settings, limits: Limits, every_s: float) -> None:
    async with linked(settings) as link:
        with Live(console=out, auto_refresh=False) as live:
            while True:
                said = await _look(link, settings, limits)
                stamp = Text(time.strftime("%H:%M:%SZ", time.gmtime()), style="dim")
                live.update(Group(stamp, _view(said)), refresh=True)
                await asyncio.sleep(every_s)


async def _look(link: Link, settings: Settings, limits: Limits) -> dict[str, Any]:
    survey, now_ms = await Store(link, settings).survey(count_limit=COUNT_LIMIT)
    reasons: Counter[str] = Counter()
    async for letter in Letters(link, settings).scan():
        reasons[letter.get("reason")] += 1
        if reasons.total() >= MANY_LETTERS:
            break
    return report(survey, now_ms, reasons, settings, limits)


def report(
    survey: Survey, now_ms: int, reasons: Counter[str], settings: Settings, limits: Limits
) -> dict[str, Any]:
    """What `--json` prints; docs/operating.md has the shape. Times are seconds."""
    regions = [
        {
            "region": region,
            "snapshot_id": newest[0] if newest else None,
            "age_s": round(max(now_ms - newest[1], 0) / 1000, 1) if newest else None,
        }
        for region, newest in survey.newest.items()
    ]
    said: dict[str, Any] = {
        "stream": settings.stream,
        "group": settings.group,
        "length": survey.length,
        "backlog": survey.backlog,
        "backlog_exact": survey.backlog_exact,
        "pending": survey.pending,
        "oldest_id": survey.oldest_id or None,
        "oldest_age_s": round(survey.oldest_age_s(now_ms), 1),
        "highest_deliveries": survey.highest_deliveries,
        "lost": survey.lost,
        "consumers": [
            {
                "name": member.name,
                "idle_s": round(member.idle_ms / 1000, 1),
                "pending": member.pending,
                "reading": member.idle_ms < LIVE_MS,
            }
            for member in survey.members
        ],
        "dead": {
            "total": survey.dead,
            "oldest_age_s": round(age_s(survey.oldest_dead_id, now_ms), 1),
            "reasons": dict(reasons),
        },
        "regions": regions,
    }
    return {**said, "problems": _problems(survey, said, limits)}


def _problems(survey: Survey, said: dict[str, Any], limits: Limits) -> list[str]:
    problems = []
    if not survey.group:
        what = "group" if survey.stream else "stream"
        problems.append(f"there is no {what} {said[what]}: has a consumer ever run?")
    elif not survey.live:
        problems.append("no consumer is reading")
    if survey.backlog > limits.backlog:
        problems.append(f"{survey.backlog} entries nobody has read")
    if said["oldest_age_s"] > limits.oldest_s:
        problems.append(f"the oldest unsettled event has waited {span(said['oldest_age_s'])}")
    if survey.highest_deliveries > limits.deliveries:
        problems.append(f"an entry was delivered {survey.highest_deliveries} times")
    if survey.dead > limits.dead:
        problems.append(f"{survey.dead} dead letters: regions dead list --group")
    if survey.lost:
        problems.append(f"{survey.lost} entries were trimmed or deleted before they were read")
    for row in said["regions"]:
        if row["age_s"] is None:
            problems.append(f"{row['region']} has no snapshot: regions explain {row['region']}")
        elif row["age_s"] > limits.stale_s:
            age = span(row["age_s"])
            problems.append(
                f"{row['region']}'s newest snapshot is {age} old: regions explain {row['region']}"
            )
    return problems


def _view(said: dict[str, Any]) -> Group:
    about = Table.grid(padding=(0, 2))
    at_least = "" if said["backlog_exact"] else "at least "
    dead = ", ".join(f"{count} {reason}" for reason, count in said["dead"]["reasons"].items())
    oldest = f"{said['oldest_id']}, {span(said['oldest_age_s'])}" if said["oldest_id"] else "–"
    for name, value in (
        ("stream", f"{said['stream']}, {said['length']} entries"),
        ("backlog", f"{at_least}{said['backlog']} nobody has read"),
        ("pending", f"{said['pending']} read and not settled"),
        ("oldest", oldest),
        ("deliveries", f"{said['highest_deliveries']} at most"),
        ("dead", f"{said['dead']['total']}" + (f" ({dead})" if dead else "")),
    ):
        about.add_row(Text(name, style="bold"), value)
    return Group(about, Text(), _consumers(said), Text(), _regions(said), *_verdict(said))


def _consumers(said: dict[str, Any]) -> Table:
    rows = table("consumer", "last read", "holds")
    for one in said["consumers"]:
        style = "" if one["reading"] else "yellow"
        rows.add_row(one["name"], f"{span(one['idle_s'])} ago", str(one["pending"]), style=style)
    if not said["consumers"]:
        rows.add_row("none", "", "", style="red")
    return rows


def _regions(said: dict[str, Any]) -> Table:
    rows = table("region", "newest snapshot", "age")
    for one in said["regions"]:
        age = "–" if one["age_s"] is None else span(one["age_s"])
        rows.add_row(one["region"], one["snapshot_id"] or "none", age)
    return rows


def _verdict(said: dict[str, Any]) -> list[Text]:
    if not said["problems"]:
        return [Text(), Text("all is well", style="green")]
    return [Text(), *(Text(f"! {problem}", style="red") for problem in said["problems"])]
