"""What the tests share: waiting for conditions, running consumers, looking at the server."""

import asyncio
import inspect
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import redis

from consumer.app import build
from consumer.decode import Entry
from consumer.link import Link
from consumer.outcome import Batch, Outcome
from consumer.pipeline import Pipeline
from consumer.settings import Settings
from consumer.store import Store
from producers import samples

STREAM, GROUP, DEAD = "region-events", "region-persisters", "region-events:dead"


async def until(
    condition: Callable[[], Awaitable[Any]] | Callable[[], Any],
    timeout_s: float = 20,
    what: str = "",
) -> Any:
    """Wait for a condition, never for time; returns what it answered."""
    deadline = time.monotonic() + timeout_s
    while True:
        answer = condition()
        if inspect.isawaitable(answer):
            answer = await answer
        if answer:
            return answer
        assert time.monotonic() < deadline, f"never: {what or condition}"
        await asyncio.sleep(0.02)


def settings_for(redis_url: str, **given: Any) -> Settings:
    given.setdefault("http", "off")
    return Settings.load(redis_url=redis_url, **given)


@asynccontextmanager
async def consuming(settings: Settings) -> AsyncIterator[None]:
    """The real FastStream app, in this process, against the real server."""
    app = build(settings)
    task = asyncio.create_task(app.run())
    client = redis.Redis.from_url(settings.redis_url)
    try:
        await until(lambda: task.done() or waiting(client), what="a first read")
        assert not task.done(), task.exception()
        yield
    finally:
        app.exit()
        await asyncio.wait_for(task, 30)
        client.close()


def alive(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False


def waiting(client: redis.Redis) -> int:
    """How many reads are blocked on the server at this moment: three for each consumer at rest."""
    return sum(
        c["cmd"] == "xreadgroup" and "b" in c["flags"] for c in client.client_list(_type="normal")
    )


def settled(client: redis.Redis, stream: str = STREAM, group: str = GROUP) -> bool:
    """Everything in the stream was delivered, and nothing is pending."""
    try:
        info = next(g for g in client.xinfo_groups(stream) if g["name"] == group.encode())
        last = client.xinfo_stream(stream)["last-generated-id"]
    except (redis.RedisError, StopIteration):
        return False
    return bool(info["pending"] == 0 and info["last-delivered-id"] == last)


def dead_letters(client: redis.Redis, dead: str = DEAD) -> list[dict[bytes, bytes]]:
    return [fields for _, fields in client.xrange(dead)]


def command_calls(client: redis.Redis) -> dict[str, int]:
    return {
        name.removeprefix("cmdstat_"): numbers["calls"]
        for name, numbers in client.info("commandstats").items()
    }


class Road:
    """The pipeline on a real group, a step at a time: publish, deliver, look."""

    def __init__(self, url: str, client: redis.Redis, **given: Any) -> None:
        self.settings = settings_for(**{"redis_url": url, **given})
        self.client = client
        self.batches: list[Batch] = []

    async def start(self) -> Self:
        self.link = Link(self.settings.redis_url)
        self.store = Store(self.link, self.settings)
        await self.store.load()
        await self.store.ensure_group()
        self.pipeline = Pipeline(self.store, self.settings, self.batches.append)
        return self

    def add(self, raw: bytes | dict[str, Any], **fields: str) -> str:
        raw = raw if isinstance(raw, bytes) else samples.to_json(raw)
        return self.client.xadd(STREAM, {"snapshot": raw, **fields}).decode()

    def deliver(self, count: int = 1000) -> list[Entry]:
        found = self.client.xreadgroup(GROUP, self.settings.consumer, {STREAM: ">"}, count)
        return [Entry(i.decode(), fields) for i, fields in (found[0][1] if found else [])]

    async def run(self) -> list[tuple[Outcome, str]]:
        settled = await self.pipeline.process(self.deliver())
        return [(one.outcome, one.other) for one in settled]


MakeRoad = Callable[..., Awaitable[Road]]


class ConsumerProcess:
    """`regions consume` as its user runs it; a context manager that ends it."""

    def __init__(self, url: str, *command: str, **environment: str) -> None:
        self.log = Path(tempfile.mkstemp(prefix="regions-consumer-", suffix=".log")[1])
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("REGIONS_", "OTEL_"))},
            "REDIS_URL": url,
            "REGIONS_HTTP": "off",
            **environment,
        }
        self.command = command or (sys.executable, "-m", "consumer.cli", "consume")
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                self.command,
                env=self.environment,
                stdout=log,
                stderr=log,
                cwd=tempfile.gettempdir(),
            )

    @property
    def output(self) -> str:
        return self.log.read_text()

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def terminate(self, timeout_s: float = 20) -> int:
        """SIGTERM; returns the exit status."""
        self.process.terminate()
        return self.process.wait(timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()
        self.log.unlink(missing_ok=True)


REGIONS_COMMAND = str(Path(sys.executable).parent / "regions")


def regions(*arguments: str, given: bytes = b"", **environment: str) -> Any:
    """`regions` as a script runs it; 80 columns, no colour."""
    return subprocess.run(
        [REGIONS_COMMAND, *arguments],
        input=given,
        capture_output=True,
        env={**os.environ, "NO_COLOR": "1", "COLUMNS": "80", **environment},
        timeout=60,
        check=False,
    )


def said(done: Any) -> Any:
    """What a command printed as JSON."""
    assert "Traceback" not in done.stderr.decode(), done.stderr.decode()
    return json.loads(done.stdout)
