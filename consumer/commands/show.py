"""`regions dead show`: one dead letter, and where in its payload the fault is."""

import json
from base64 import b64encode
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from consumer.commands.terminal import AsJson, RedisUrl, clock, fail, linked, out, run
from consumer.decode import payload
from consumer.latest import Newest, newest
from consumer.letters import PREFIX, Letters, entry_of
from consumer.pointing import differences, pointed
from consumer.settings import Settings

MOST_DIFFERENCES = 20


def show(
    dead_id: Annotated[str, typer.Argument(metavar="ID")],
    redis_url: RedisUrl = None,
    as_json: AsJson = False,
) -> None:
    """One dead letter: its record, the field at fault, and how it differs from the region's last
    good snapshot.

    Example:  regions dead show 1795383064912-0
    """
    settings = Settings.load(redis_url=redis_url)
    fields, good = run(_fetch(settings, dead_id))
    if fields is None:
        fail(f"there is no dead letter {dead_id}: regions dead list")
    about = {k.decode("utf-8", "replace"): v for k, v in fields.items()}
    if as_json:
        typer.echo(json.dumps({"id": dead_id, **{k: text_of(v) for k, v in about.items()}}))
        return
    out.print(_record(dead_id, about))
    raw = payload(entry_of(dead_id, fields).fields)
    if raw is None:
        return
    paths = [path for path in about["error_paths"].decode().split(",") if path]
    out.print("\n[bold]The payload[/]")
    for at_fault, line in pointed(raw, paths):
        out.print(Text(f"{'>' if at_fault else ' '} {line}", style="red" if at_fault else "dim"))
    if good is None:
        return
    shape = differences(raw, good.raw)
    out.print(f"\n[bold]Beside {good.snapshot_id}[/], the region's last good one", highlight=False)
    for line in shape[:MOST_DIFFERENCES] or ["the same shape"]:
        out.print(Text(f"  {line}"))
    if len(shape) > MOST_DIFFERENCES:
        out.print(f"  … and {len(shape) - MOST_DIFFERENCES} more")


async def _fetch(
    settings: Settings, dead_id: str
) -> tuple[dict[bytes, bytes] | None, Newest | None]:
    async with linked(settings) as link:
        (fields,) = await Letters(link, settings).fields([dead_id])
        region = (fields or {}).get(b"region", b"").decode()
        found = await newest(link, [region]) if region else []
        return fields, found[0] if found and found[0].raw else None


def text_of(value: bytes) -> Any:
    """UTF-8 as text, anything else as {"base64": …}."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": b64encode(value).decode()}


def _record(dead_id: str, about: dict[str, bytes]) -> Table:
    rows = Table.grid(padding=(0, 2))
    rows.add_row("[bold]id[/]", dead_id)
    for name, value in about.items():
        if name.startswith(PREFIX) or name == "event_fields_base64":
            said = f"{len(value)} bytes" if len(value) > 80 else value.decode("utf-8", "replace")
        else:
            said = value.decode("utf-8", "replace")
            if name in {"failed_at", "first_seen_at"} and said.isdecimal():
                said = f"{said} ({clock(int(said))})"
        rows.add_row(Text(name, style="bold"), Text(said or "–"))
    return rows
