"""One server for each worker, empty for each test; nothing of the caller's environment."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
import redis

from bench.servers import Server
from consumer.link import Link
from tests.kit import Road

for name in list(os.environ):
    if name.startswith(("OTEL_", "REGIONS_")) and name != "REGIONS_TEST_SERVER":
        del os.environ[name]
os.environ.pop("REDIS_URL", None)


@pytest.fixture(scope="session")
def shared_server() -> Iterator[Server]:
    with Server() as server:
        yield server


@pytest.fixture
def server(shared_server: Server) -> Server:
    """Shared by this worker's tests, and empty."""
    with shared_server.client as client:
        client.flushall()
        client.config_resetstat()
    return shared_server


@pytest.fixture
def url(server: Server) -> str:
    return server.url


@pytest.fixture
def client(server: Server) -> Iterator[redis.Redis]:
    with server.client as client:
        yield client


@pytest.fixture
async def link(url: str) -> AsyncIterator[Link]:
    link = Link(url)
    yield link
    await link.close()


@pytest.fixture
async def make_road(url: str, client: redis.Redis) -> AsyncIterator[Callable[..., Awaitable[Road]]]:
    """The pipeline on a real group, without FastStream: a step at a time."""
    made: list[Road] = []

    async def make(**given: Any) -> Road:
        made.append(await Road(url, client, **given).start())
        return made[-1]

    yield make
    for road in made:
        await road.link.close()
