"""What all commands share: options, the two consoles, how a mistake is told."""

import asyncio
import datetime as dt
import re
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Annotated, Any, NoReturn, TypeVar

import typer
from rich.console import Console
from rich.markup import escape

from consumer.link import Link
from consumer.settings import Settings

T = TypeVar("T")

out = Console()
err = Console(stderr=True)

RedisUrl = Annotated[
    str | None,
    typer.Option("--redis-url", help="Default: REDIS_URL, or redis://localhost:6379/0."),
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on standard output, for scripts.")]


def say(message: str) -> None:
    err.print(f"[bold red]error:[/] {escape(message)}", highlight=False, soft_wrap=True)


def fail(message: str, status: int = 1) -> NoReturn:
    say(message)
    raise typer.Exit(status)


@asynccontextmanager
async def linked(settings: Settings) -> AsyncIterator[Link]:
    link = Link(settings.redis_url)
    try:
        yield link
    finally:
        await link.close()


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run it; Ctrl-C is an end like another."""
    try:
        return asyncio.run(work)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


@contextmanager
def searching(what: str) -> Iterator[None]:
    """A sign of life on a terminal: a long stream takes some seconds to look through."""
    if not err.is_terminal:
        yield
        return
    with err.status(f"looking for {escape(what)} …"):
        yield


_LENGTH = re.compile(r"^(\d+(?:\.\d+)?)(s|m|min|h|d)$")
_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400}


def length(text: str) -> float:
    """Seconds of a length of time: 90s, 15m, 2h, 7d."""
    found = _LENGTH.match(text.strip())
    if not found:
        fail(f"{text!r} is no length of time: 90s, 15m, 2h or 7d", 2)
    return float(found[1]) * _SECONDS[found[2]]


def moment_ms(text: str | None, now_ms: int) -> int:
    """ms since the epoch of `2h` (ago) or of an ISO time; 0 for nothing."""
    if not text:
        return 0
    if _LENGTH.match(text.strip()):
        return now_ms - int(length(text) * 1000)
    try:
        at = dt.datetime.fromisoformat(text)
    except ValueError:
        fail(f"{text!r} is no time: 2h, 7d, or 2026-11-22T06:00Z", 2)
    return int((at if at.tzinfo else at.replace(tzinfo=dt.UTC)).timestamp() * 1000)


def clock(at_ms: int) -> str:
    """2026-11-22 06:00:01Z; the day says which six o'clock it was."""
    return dt.datetime.fromtimestamp(at_ms / 1000, dt.UTC).strftime("%Y-%m-%d %H:%M:%SZ")
