"""/livez and /readyz: never ready with a dead reader, and what is wrong in JSON."""

import asyncio
import json
import signal
import urllib.error
import urllib.request
from typing import Any

import pytest
import redis

from bench.proxy import Proxy
from bench.servers import Server, free_port
from consumer.app import assemble, wrong
from tests.kit import GROUP, STREAM, ConsumerProcess, settings_for, until

QUICK = {"REGIONS_IDLE_MS": "1500", "REGIONS_RETRY_S": "1"}


def get(port: int, path: str) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=3) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read()) if path != "/nothing" else None
    except OSError:
        return 0, None


async def ready(port: int) -> bool:
    return (await asyncio.to_thread(get, port, "/readyz"))[0] == 200


async def unready(port: int, part: str) -> str:
    """What /readyz says of a part, once it is not ready for that."""
    status, body = await asyncio.to_thread(get, port, "/readyz")
    if status != 503:
        return ""
    assert body["ready"] is False
    return str(body["wrong"].get(part, ""))


async def test_ready_when_it_reads_and_only_then(server: Server, client: redis.Redis) -> None:
    port = free_port()
    with (
        Proxy(server.port) as proxy,
        ConsumerProcess(proxy.url, REGIONS_HTTP=f"127.0.0.1:{port}", **QUICK) as consumer,
    ):
        await until(lambda: ready(port), 30)
        assert get(port, "/livez") == (200, {"alive": True})
        assert get(port, "/nothing")[0] == 404

        proxy.refusing = True
        proxy.cut()
        assert await until(lambda: unready(port, "reading")) == "ConnectionError"
        assert get(port, "/livez")[0] == 200, "it is alive: a restart would not help"
        proxy.refusing = False
        await until(lambda: ready(port), 20)

        proxy.silent = True
        assert await until(lambda: unready(port, "reading")) == "TimeoutError"
        proxy.silent = False
        proxy.cut()
        await until(lambda: ready(port), 20)

        client.delete(STREAM)
        client.set(STREAM, "in the way: no group can be made here")
        assert await until(lambda: unready(port, "reading")) in {
            "NOGROUP",
            "WRONGTYPE",
            "UNBLOCKED",
        }
        client.delete(STREAM)
        await until(lambda: ready(port), 20)
        assert client.xinfo_groups(STREAM)[0]["name"] == GROUP.encode()

        consumer.send(signal.SIGTERM)
        assert await asyncio.to_thread(consumer.process.wait, 20) == 0


async def test_it_answers_while_it_waits_for_the_server() -> None:
    port, nobody = free_port(), free_port()
    with ConsumerProcess(f"redis://127.0.0.1:{nobody}/0", REGIONS_HTTP=f"127.0.0.1:{port}"):
        assert await until(lambda: unready(port, "broker")) == "not running"
        assert get(port, "/livez")[0] == 200


async def test_an_address_that_is_taken(server: Server, url: str) -> None:
    with ConsumerProcess(url, REGIONS_HTTP=f"127.0.0.1:{server.port}") as consumer:
        assert await asyncio.to_thread(consumer.process.wait, 20) == 1
        assert "cannot serve HTTP" in consumer.output
        assert "Traceback" not in consumer.output


async def test_a_reader_that_ended_is_noticed(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever ends it: FastStream's flags may say `running`, the last read tells the truth."""
    monkeypatch.setattr("consumer.app.STALE_S", 3.0)
    parts = assemble(settings_for(url))
    await parts.store.load()
    await parts.store.ensure_group()
    await parts.broker.start()
    parts.recovery.start()
    await until(lambda: not wrong(parts))
    for subscriber in parts.broker.subscribers:
        for task in subscriber.tasks:
            task.cancel()
    assert "last read" in await until(lambda: wrong(parts).get("reading"))
    await parts.recovery.stop(5)
    await until(lambda: wrong(parts).get("recovery") == "not running")
    await parts.broker.stop()
    await parts.link.close()
