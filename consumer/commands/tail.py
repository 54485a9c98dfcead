"""`regions tail`: events as they are settled. Reads the journal; the group does not notice."""

import json
import time
from typing import Annotated, Any

import typer
from rich.text import Text

from consumer.attempt import trace_of
from consumer.commands.terminal import AsJson, RedisUrl, clock, linked, out, run
from consumer.journal import Row, journal_of, rows_of
from consumer.link import pairs
from consumer.settings import Settings
from consumer.survey import ms_of

BLOCK_MS = 1000
_STYLES = {"persisted": "green", "dead_lettered": "red", "retry": "red"}


def tail(
    region: Annotated[str | None, typer.Option(help="This region alone.")] = None,
    outcome: Annotated[str | None, typer.Option(help="This outcome alone.")] = None,
    for_s: Annotated[float, typer.Option("--for", help="End after so many seconds.")] = 0,
    count: Annotated[int, typer.Option("--count", "-n", help="End after so many events.")] = 0,
    redis_url: RedisUrl = None,
    as_json: AsJson = False,
) -> None:
    """Events as they are settled: when, region, outcome, milliseconds in the stream, trace.

    Examples:

        regions tail

        regions tail --region mena --outcome dead_lettered --json
    """
    settings = Settings.load(redis_url=redis_url)
    run(_follow(settings, region, outcome, for_s, count, as_json))


async def _follow(
    settings: Settings, region: str | None, outcome: str | None, for_s: float, count: int,
    as_json: bool,
) -> None:  # fmt: skip
    ends = time.monotonic() + for_s if for_s else float("inf")
    seen = 0
    name = journal_of(settings.stream)
    async with linked(settings) as link:
        newest = await link.one("XREVRANGE", name, "+", "-", "COUNT", 1)
        last = newest[0][0].decode() if newest else "0-0"
        while time.monotonic() < ends:
            wait_ms = int(max(min(BLOCK_MS, (ends - time.monotonic()) * 1000), 1))
            read = await link.one("XREAD", "COUNT", 50, "BLOCK", wait_ms, "STREAMS", name, last)
            for raw_id, flat in read[0][1] if read else []:
                last = raw_id.decode()
                for row in rows_of(pairs(flat)):
                    if region in {None, row.region} and outcome in {None, row.outcome}:
                        _show(settings, row, as_json)
                        seen += 1
                        if seen == count:
                            return


def _show(settings: Settings, row: Row, as_json: bool) -> None:
    said = described(settings, row)
    if as_json:
        typer.echo(json.dumps(said))
        return
    out.print(
        Text.assemble(
            (clock(row.at_ms)[11:], "dim"), f" {row.region or '?':<19}",
            (f"{row.outcome:<14}", _STYLES.get(row.outcome, "yellow")),
            f"{said['ms']:>7.0f} ms ", (said["trace_id"], "dim"),
        ),
        soft_wrap=True,
    )  # fmt: skip


def described(settings: Settings, row: Row) -> dict[str, Any]:
    """A row for scripts. ms: from the XADD until it was settled."""
    return {
        "at_ms": row.at_ms,
        "entry_id": row.entry_id,
        "region": row.region,
        "snapshot_id": row.snapshot_id,
        "outcome": row.outcome,
        "other": row.other,
        "reason": row.why,
        "deliveries": row.deliveries,
        "cycle": row.cycle,
        "consumer": row.consumer,
        "ms": max(row.at_ms - ms_of(row.entry_id), 0),
        "trace_id": trace_of(settings.stream, row.entry_id, row.traceparent),
    }
