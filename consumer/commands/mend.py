"""`regions dead edit`: mend one payload by hand, and send it again."""

import os
import shlex
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer
from pydantic_core import from_json, to_json

from consumer.commands.terminal import RedisUrl, err, fail, linked, run
from consumer.decode import payload
from consumer.events import Fault, check
from consumer.letters import Letters, entry_of
from consumer.link import ResponseError
from consumer.settings import Settings


def edit(dead_id: Annotated[str, typer.Argument(metavar="ID")], redis_url: RedisUrl = None) -> None:
    """Open a dead letter's payload in $EDITOR; what comes out valid is replayed in its place.

    Invalid, it may be edited again, or left: then nothing has changed.

    Example:  EDITOR=nano regions dead edit 1795383064912-0
    """
    settings = Settings.load(redis_url=redis_url)
    fields = run(_fetch(settings, dead_id))
    if fields is None:
        fail(f"there is no dead letter {dead_id}: regions dead list")
    raw = payload(entry_of(dead_id, fields).fields) or b""
    mended = _edited(raw, settings)
    new_id = run(_replay(settings, dead_id, mended))
    err.print(f"mended, and back on {settings.stream} as {new_id}")


async def _fetch(settings: Settings, dead_id: str) -> dict[bytes, bytes] | None:
    async with linked(settings) as link:
        return (await Letters(link, settings).fields([dead_id]))[0]


async def _replay(settings: Settings, dead_id: str, mended: bytes) -> str:
    async with linked(settings) as link:
        (answer,) = await Letters(link, settings).replay([dead_id], mended)
    if isinstance(answer, ResponseError):
        fail(f"not sent: {answer}")
    if not answer:
        fail("not sent: somebody else has taken this dead letter away meanwhile")
    return answer


def _edited(raw: bytes, settings: Settings) -> bytes:
    editor = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi")
    with tempfile.TemporaryDirectory() as folder:  # mode 0700: payloads are nobody else's
        file = Path(folder) / "snapshot.json"
        file.write_bytes(shown := _indented(raw))
        while True:
            try:
                subprocess.run([*editor, str(file)], check=True)  # noqa: S603 (their own editor)
            except (OSError, subprocess.CalledProcessError) as error:
                fail(f"the editor did not end well, and nothing was sent: {error}")
            text = file.read_bytes()
            if text == shown:
                fail("nothing was changed, and nothing was sent (regions dead replay sends it)")
            verdict = check(text, settings.rules, time.time_ns() // 1_000_000)
            if not isinstance(verdict, Fault):
                return to_json(from_json(text, allow_inf_nan=False))
            err.print(f"not valid: {verdict.message}", highlight=False, soft_wrap=True)
            if not typer.confirm("Edit it again?", default=True):
                fail("left as it was; nothing was sent")


def _indented(raw: bytes) -> bytes:
    try:
        return to_json(from_json(raw), indent=2) + b"\n"
    except ValueError:
        return raw
