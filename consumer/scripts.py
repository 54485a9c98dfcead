"""Lua scripts, run by their hash; a server that forgot one is told again in the same breath."""

from collections.abc import Sequence
from hashlib import sha1
from importlib.resources import files
from typing import Any, NamedTuple

from consumer.link import Command, Link, Reply, ResponseError, code_of


class Script(NamedTuple):
    text: str
    sha: str


def script(name: str) -> Script:
    """`consumer/<name>.lua`."""
    text = files("consumer").joinpath(f"{name}.lua").read_text()
    return Script(text, sha1(text.encode(), usedforsecurity=False).hexdigest())


async def load(link: Link, scripts: Sequence[Script]) -> None:
    """Connect and load, so that the first event finds a warm way."""
    for reply in await link.call([("SCRIPT", "LOAD", one.text) for one in scripts]):
        if isinstance(reply, ResponseError):
            raise reply


async def run(
    link: Link, one: Script, arguments: Sequence[tuple[Any, ...]], *, read_only: bool = False
) -> list[Reply]:
    """Run the script once for each, all in one round trip; each reply or error its own.

    arguments: number of keys, keys, values. read_only: a user who may only read its keys may run
    it then. Raises redis.RedisError when the link fails.
    """
    verb = "EVALSHA_RO" if read_only else "EVALSHA"
    commands: list[Command] = [(verb, one.sha, *args) for args in arguments]
    replies = await link.call(commands)
    missing = [i for i, reply in enumerate(replies) if _forgotten(reply)]
    if missing:
        load: Command = ("SCRIPT", "LOAD", one.text)
        again = await link.call([load, *(commands[i] for i in missing)])
        for index, reply in zip(missing, again[1:], strict=True):
            replies[index] = reply
    return replies


async def single(link: Link, one: Script, *arguments: Any, read_only: bool = False) -> Reply:
    """Run the script once; raises what the server refuses."""
    reply = (await run(link, one, [arguments], read_only=read_only))[0]
    if isinstance(reply, ResponseError):
        raise reply
    return reply


def _forgotten(reply: Reply) -> bool:
    return isinstance(reply, ResponseError) and code_of(reply) == "NOSCRIPT"
