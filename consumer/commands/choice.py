"""Which dead letters: by id, by filter, or all of them."""

import time
from typing import Annotated

import typer

from consumer.commands.terminal import fail, linked, moment_ms
from consumer.letters import Letter, Letters, Wanted
from consumer.settings import Settings

Region = Annotated[str, typer.Option("--region", help="Of this region.")]
Reason = Annotated[str, typer.Option("--reason", help="Dead for this reason.")]
Fingerprint = Annotated[str, typer.Option("--fingerprint", help="Of this kind of fault.")]
Since = Annotated[str | None, typer.Option("--since", help="Failed since: 2h, 7d, an ISO time.")]
Ids = Annotated[list[str] | None, typer.Argument(metavar="[ID…]")]
All = Annotated[bool, typer.Option("--all", help="All of them.")]


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def wanted_by(region: str, reason: str, fingerprint: str, since: str | None) -> Wanted:
    """The filter that the options make."""
    return Wanted(region, reason, fingerprint, moment_ms(since, now_ms()))


async def scan(settings: Settings, wanted: Wanted) -> list[Letter]:
    async with linked(settings) as link:
        return [letter async for letter in Letters(link, settings).scan(wanted.takes)]


async def chosen(
    settings: Settings, ids: list[str] | None, wanted: Wanted, everything: bool
) -> list[str]:
    if ids:
        return list(dict.fromkeys(ids))
    if wanted == Wanted() and not everything:
        fail(
            "which ones? Name ids, a filter (--region, --reason, --fingerprint, --since), or --all",
            2,
        )
    return [letter.id for letter in await scan(settings, wanted)]
