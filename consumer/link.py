"""The way to the server: many commands, one write, one wait, each reply or error its own.

redis-py keeps the connections (URL, TLS, authentication, pool). The packing is hiredis' and
the replies are read without a timer each: together that halves the client's cost of a batch
(docs/decisions/0006-link.md).
"""

import asyncio
from collections.abc import Sequence
from typing import Any

import hiredis
from redis.asyncio.connection import Connection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as LinkError
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as LinkTimeout

Command = tuple[Any, ...]  # str, bytes, int or float each
# A reply is what RESP2 can say; an error that the server answers is returned, not raised.
Reply = Any

TIMEOUT_S = 5.0


class Link:
    """A server, and connections to it that stay open.

    `timeout_s` bounds one `call` as a whole: connecting, writing, every reply.
    """

    def __init__(self, url: str, *, timeout_s: float = TIMEOUT_S) -> None:
        self.timeout_s = timeout_s
        # No retry in here: who calls knows what may be sent again, and how long to insist.
        # RESP2 and no CLIENT SETINFO: a new connection is ready one round trip earlier.
        self._pool: ConnectionPool = ConnectionPool.from_url(
            url,
            protocol=2,
            driver_info=None,
            socket_timeout=None,
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), 0),
        )

    async def call(
        self, commands: Sequence[Command], *, timeout_s: float | None = None
    ) -> list[Reply]:
        """Send all commands in one write; returns one reply for each, in order.

        What the server refuses is a `ResponseError` in its place. Raises redis.ConnectionError
        or redis.TimeoutError when the link fails: then it is unknown which commands ran.
        """
        if not commands:
            return []
        packed = b"".join([hiredis.pack_command(command) for command in commands])
        try:
            async with asyncio.timeout(timeout_s or self.timeout_s):
                return await self._exchange(packed, len(commands))
        except TimeoutError:
            raise LinkTimeout("the server did not answer in time") from None
        except OSError as error:
            raise LinkError(str(error)) from error

    async def one(self, *command: str | bytes | int | float) -> Reply:
        """Send one command; raises what the server refuses."""
        reply = (await self.call([command]))[0]
        if isinstance(reply, ResponseError):
            raise reply
        return reply

    async def _exchange(self, packed: bytes, count: int) -> list[Reply]:
        connection = await self._pool.get_connection()  # type: ignore[no-untyped-call]
        try:
            await connection.send_packed_command(packed)
            return [await _reply(connection) for _ in range(count)]
        except BaseException:
            # Replies may still be under way: this connection must not serve anybody again.
            await connection.disconnect(nowait=True)
            raise
        finally:
            await self._pool.release(connection)

    async def close(self) -> None:
        await self._pool.aclose()


def pairs(flat: Sequence[Any]) -> dict[Any, Any]:
    """What the server tells as name, value, name, value, …"""
    return dict(zip(flat[::2], flat[1::2], strict=True))


def code_of(error: Exception) -> str:
    """The first word of the server's answer (redis-py keeps it apart for those it knows), or, of
    what is no answer of the server, the name of the error's class."""
    if not isinstance(error, ResponseError):
        return type(error).__name__
    if error.status_code:
        return str(error.status_code)
    first = str(error).split(" ", 1)[0]
    return first if first.isupper() and first.isalpha() else "ERR"


async def _reply(connection: Connection) -> Reply:
    try:
        return await connection.read_response(disconnect_on_error=False)
    except ResponseError as refused:
        return refused


__all__ = [
    "TIMEOUT_S",
    "Command",
    "Link",
    "LinkError",
    "LinkTimeout",
    "RedisError",
    "Reply",
    "ResponseError",
    "code_of",
    "pairs",
]
