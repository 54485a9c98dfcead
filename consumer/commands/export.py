"""`regions dead export` and `import`: letters as NDJSON, whole, so that they can be kept."""

import json
import sys
from base64 import b64decode
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer

from consumer.commands.show import text_of
from consumer.commands.terminal import RedisUrl, err, fail, linked, run
from consumer.letters import Letters, Wanted
from consumer.progress import in_parts
from consumer.settings import Settings


def export_letters(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="Default: standard output.")
    ] = None,
    region: Annotated[str, typer.Option(help="Of this region.")] = "",
    reason: Annotated[str, typer.Option(help="Dead for this reason.")] = "",
    redis_url: RedisUrl = None,
) -> None:
    """Write dead letters as NDJSON: {"id": …, "fields": {name: text, or {"base64": …}}}. They stay
    where they are.

    Example:  regions dead export letters.ndjson
    """
    settings = Settings.load(redis_url=redis_url)
    if file is None:
        count = run(_export(settings, sys.stdout.buffer, Wanted(region, reason)))
    else:
        with file.open("wb") as target:
            count = run(_export(settings, target, Wanted(region, reason)))
    err.print(f"{count} exported")


async def _export(settings: Settings, target: BinaryIO, wanted: Wanted) -> int:
    count = 0
    async with linked(settings) as link:
        letters = Letters(link, settings)
        ids = [letter.id async for letter in letters.scan(wanted.takes)]
        for part in in_parts(err, "exporting", ids):
            for dead_id, fields in zip(part, await letters.fields(part), strict=True):
                if fields is not None:
                    target.write(_line(dead_id, fields))
                    count += 1
    target.flush()
    return count


def import_letters(
    file: Annotated[Path, typer.Argument(metavar="FILE|-")], redis_url: RedisUrl = None
) -> None:
    """Put exported dead letters back. Those that are there already stay as they are.

    Example:  regions dead import letters.ndjson
    """
    settings = Settings.load(redis_url=redis_url)
    text = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    letters = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                letters.append(_letter(line))
            except (ValueError, KeyError, TypeError, AttributeError):
                fail(f"{file}:{number} is no exported dead letter; nothing was imported")
    new = run(_import(settings, letters))
    err.print(f"{new} imported, {len(letters) - new} were there")


async def _import(settings: Settings, letters: list[tuple[str, dict[bytes, bytes]]]) -> int:
    async with linked(settings) as link:
        parts = in_parts(err, "importing", letters)
        return sum([await Letters(link, settings).restore(part) for part in parts])


def _line(dead_id: str, fields: dict[bytes, bytes]) -> bytes:
    # A name that is not UTF-8 keeps its bytes by the surrogates that Python reads back.
    said = {k.decode("utf-8", "surrogateescape"): text_of(v) for k, v in fields.items()}
    return json.dumps({"id": dead_id, "fields": said}).encode() + b"\n"


def _letter(line: bytes) -> tuple[str, dict[bytes, bytes]]:
    said = json.loads(line)
    ms, _, sequence = said["id"].partition("-")
    int(ms), int(sequence)
    return said["id"], {
        name.encode("utf-8", "surrogateescape"): _bytes(value)
        for name, value in said["fields"].items()
    }


def _bytes(value: Any) -> bytes:
    return value.encode() if isinstance(value, str) else b64decode(value["base64"], validate=True)
