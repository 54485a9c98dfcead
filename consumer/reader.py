"""The client that FastStream reads with: it never gives up and never spins.

FastStream stops for good when the group is gone, restarts a refused read without a pause, and
sleeps five seconds after a lost link. So it gets a client whose read answers "nothing new" while
the server is away, tells the log once, and makes the group anew when somebody removed it.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, cast

from faststream.redis import RedisBroker
from faststream.redis.configs.state import RedisConnectionState
from redis.asyncio import Redis
from redis.asyncio.connection import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import FullJitterBackoff, NoBackoff
from redis.exceptions import RedisError

from consumer.link import code_of

BLOCK_MS = 500
SAY_AGAIN_S = 30.0

logger = logging.getLogger("regions.reader")


class Reading:
    """How reading goes: shared by all subscribers of a process, looked at by /readyz."""

    def __init__(self, ensure_group: Callable[[], Awaitable[bool]]) -> None:
        self._ensure_group = ensure_group
        self._backoff = FullJitterBackoff(cap=1.0, base=0.05)
        self._said_at = 0.0
        self._idle = asyncio.Event()
        self._idle.set()
        self._under_way = 0
        self.draining = False
        self.failures = 0
        self.resumed = 0
        """How often it went on after failures: the link's reconnects, as a reader sees them."""
        self.trouble = ""
        self.read_at = 0.0
        """time.monotonic() of the last read that the server answered."""

    async def read(self, fetch: Callable[[], Awaitable[Any]]) -> Any:
        """One XREADGROUP, or nothing after a pause when it failed or the consumer is leaving."""
        if self.draining:
            await asyncio.sleep(BLOCK_MS / 1000)
            return []
        self._under_way += 1
        self._idle.clear()
        try:
            found = await fetch()
        except (RedisError, OSError) as error:
            await self._failed(error)
            return []
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._idle.set()
        self._succeeded()
        return found

    async def drain(self, timeout_s: float) -> None:
        """No new reads; returns when the last one under way has come back with what it brought."""
        self.draining = True
        try:
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        except TimeoutError:
            logger.warning("a read was still under way when the grace period ended")

    def _succeeded(self) -> None:
        if self.failures:
            self.resumed += 1
            logger.warning("reading again after %d failures", self.failures)
        self.failures, self.trouble = 0, ""
        self.read_at = time.monotonic()

    async def _failed(self, error: Exception) -> None:
        code = code_of(error)
        self.failures += 1
        if code != self.trouble or time.monotonic() - self._said_at > SAY_AGAIN_S:
            self._said_at = time.monotonic()
            logger.warning("cannot read: %s: %s; trying again", code, error)
        self.trouble = code
        if code == "NOGROUP":
            await self._regroup()
        await asyncio.sleep(self._backoff.compute(min(self.failures, 10)))

    async def _regroup(self) -> None:
        try:
            if await self._ensure_group():
                logger.warning("the consumer group was gone: made anew, reading from the start")
        except (RedisError, OSError) as error:
            logger.warning("cannot make the group anew: %s", error)


class PatientRedis(Redis):
    """redis-py's client, with the three calls that FastStream's subscriber makes, patient."""

    reading: Reading

    async def xreadgroup(self, *args: Any, **kwargs: Any) -> Any:
        fetch = super().xreadgroup
        return await self.reading.read(lambda: fetch(*args, **kwargs))

    async def xgroup_create(self, *_: Any, **__: Any) -> bool:
        """The group is ours to make (at 0, where FastStream would take `$`): app.py does."""
        return True

    async def ping(self, **_: Any) -> bool:
        """FastStream asks to know whether it may begin. It may: reads wait for the server."""
        return True


class _PatientState(RedisConnectionState):
    def __init__(self, options: dict[str, Any] | None, reading: Reading) -> None:
        super().__init__(options)
        self._reading = reading

    async def connect(self) -> PatientRedis:
        client = cast("PatientRedis", PatientRedis.from_pool(ConnectionPool(**self._options)))
        client.reading = self._reading
        self._client = client
        self._connected = True
        return client


class PatientBroker(RedisBroker):
    """FastStream's broker over PatientRedis. `_make_connection_state` is the hook by which
    FastStream makes its own Sentinel and Cluster brokers; a contract test watches it."""

    def __init__(self, url: str, reading: Reading, **kwargs: Any) -> None:
        self._reading = reading
        # apply_types: FastStream's injection would send each batch through a thread of its pool.
        super().__init__(
            url,
            apply_types=False,
            retry=Retry(NoBackoff(), 0),
            socket_connect_timeout=5,
            socket_timeout=5,
            **kwargs,
        )

    def _make_connection_state(
        self, connection_options: dict[str, Any], kwargs: dict[str, Any]
    ) -> _PatientState:
        return _PatientState(connection_options, self._reading)
