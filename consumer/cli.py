"""`regions`: publish, consume, read, and see it all run once."""

import asyncio
import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer
from redis.exceptions import RedisError

from consumer.commands.cycle import cycle
from consumer.commands.dead import app as dead
from consumer.commands.docs import docs
from consumer.commands.doctor import doctor
from consumer.commands.explain import explain
from consumer.commands.status import status
from consumer.commands.tail import tail
from consumer.commands.terminal import AsJson, RedisUrl, err, fail, linked, out, run, say
from consumer.events import REGIONS
from consumer.latest import Newest, newest
from consumer.publish import Report, publish_files
from consumer.settings import Settings, WrongSetting
from consumer.tables import latest_table, table
from producers.publisher import PublishFailed

app = typer.Typer(
    name="regions",
    help="Regional snapshots as events: publish them, persist them once, see what became of each.",
    epilog="Exit status: 0 done, 1 something is wrong (it says what), 2 wrong use or setting.",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"region-stream {version('region-stream')}")
        raise typer.Exit


@app.callback()
def _root(
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="And exit.")
    ] = False,
) -> None:
    pass


@app.command()
def demo() -> None:
    """See it run: a server of its own, two consumers, eight regions, and some trouble.

    Example:  regions demo
    """
    from consumer.demo import DemoFailed
    from consumer.demo import run as run_demo

    try:
        run_demo(out)
    except (DemoFailed, TimeoutError) as error:
        fail(f"the demo did not get through: {error}")


@app.command()
def publish(
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FILE…|-]", help="One JSON snapshot a line, or one JSON array."),
    ] = None,
    redis_url: RedisUrl = None,
    cycle: Annotated[str | None, typer.Option(help="Name of this run, for its traces.")] = None,
    keep_going: Annotated[
        bool, typer.Option("--keep-going", help="Send the valid ones even if some are not.")
    ] = False,
    durable: Annotated[
        bool, typer.Option("--durable", help="Wait until they are on the server's disk.")
    ] = False,
    wait: Annotated[
        bool,
        typer.Option("--wait", help="Wait until all are settled, and say what became of each."),
    ] = False,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for that.")] = 30,
    as_json: AsJson = False,
) -> None:
    """Publish snapshots: all of them, or with one invalid none.

    Exit status 1 when one is invalid, or (with --wait) dead-lettered or not settled in time.

    Examples:

        regions publish cycle.ndjson

        regions publish cycle.ndjson --wait --json

        make-snapshots | regions publish -
    """
    settings = Settings.load(redis_url=redis_url)
    try:
        report = asyncio.run(
            publish_files(
                files or [Path("-")],
                settings,
                err,
                cycle=cycle,
                keep_going=keep_going,
                durable=durable,
                wait_s=timeout if wait else 0,
            )
        )
    except PublishFailed as error:
        fail(f"{error} ({len(error.sent)} were sent before)" if error.sent else str(error))
    if as_json:
        told = [receipt._asdict() for receipt in report.receipts]
        typer.echo(json.dumps(report._asdict() | {"receipts": told}))
    else:
        _tell(report, settings.stream)
    bad = report.invalid or not all(receipt.ok for receipt in report.receipts)
    raise typer.Exit(1 if bad else 0)


def _tell(report: Report, stream: str) -> None:
    for fault in report.faults:
        err.print(fault, highlight=False, markup=False, soft_wrap=True)
    if report.invalid > len(report.faults):
        err.print(f"… and {report.invalid - len(report.faults)} more")
    if report.published:
        err.print(f"published {report.published} snapshots on {stream}, cycle {report.cycle}")
    elif report.invalid:
        err.print("nothing was sent; --keep-going sends the valid ones")
    else:
        err.print("nothing to send")
    if report.receipts:
        rows = table("region", "outcome", "entry", "")
        for receipt in report.receipts:
            outcome = receipt.outcome or "not settled in time"
            rows.add_row(receipt.region or "?", outcome, receipt.entry_id, receipt.why)
        out.print(rows)


@app.command()
def consume(redis_url: RedisUrl = None) -> None:
    """Run a consumer until it is told to stop (SIGTERM, Ctrl-C).

    The same as `faststream run consumer.app:app`; settings come from the environment.

    Example:  REDIS_URL=redis://localhost:6379/0 regions consume
    """
    import uvloop

    from consumer.app import build

    consumer = build(Settings.load(redis_url=redis_url))
    uvloop.run(consumer.run())


@app.command()
def latest(
    regions: Annotated[list[str] | None, typer.Argument(metavar="[REGION…]")] = None,
    redis_url: RedisUrl = None,
    as_json: AsJson = False,
) -> None:
    """The newest snapshot of each region, of all of them in two round trips.

    Exit status 1 when a region has none.

    Examples:

        regions latest

        regions latest mena europe --json
    """
    settings = Settings.load(redis_url=redis_url)
    wanted = regions or sorted(settings.allowed or REGIONS)
    unknown = [r for r in wanted if settings.allowed is not None and r not in settings.allowed]
    if unknown:
        known = ", ".join(sorted(settings.allowed or ()))
        fail(f"no such region: {', '.join(unknown)} (known: {known})", 2)
    found = run(_newest(settings, wanted))
    if as_json:
        rows = [
            {
                "region": one.region,
                "state": one.state,
                "snapshot_id": one.snapshot_id or None,
                "generated_at": one.generated_at,
                "snapshot": json.loads(one.raw) if one.raw else None,
            }
            for one in found
        ]
        typer.echo(json.dumps(rows, ensure_ascii=False))
    else:
        out.print(latest_table(found))
    raise typer.Exit(0 if all(one.state == "ok" for one in found) else 1)


async def _newest(settings: Settings, wanted: list[str]) -> list[Newest]:
    async with linked(settings) as link:
        return await newest(link, wanted)


app.command()(status)
app.command()(explain)
app.command()(tail)
app.command()(cycle)
app.command()(doctor)
app.command()(docs)
app.add_typer(dead)


def main() -> None:
    """The entry point: a user's mistake, or a server that is not there, is one line."""
    try:
        app(standalone_mode=True)
    except WrongSetting as error:
        say(str(error))
        sys.exit(2)
    except (RedisError, OSError) as error:
        say(str(error))
        if not getattr(error, "filename", None):  # no file of theirs: it is the server
            err.print("Is the server running? Set REDIS_URL or --redis-url.", highlight=False)
        sys.exit(1)


if __name__ == "__main__":
    main()
