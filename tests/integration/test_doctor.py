"""`regions doctor` against servers that are set up wrongly, each in its own way."""

import asyncio
from typing import Any

import pytest
import redis

from bench.servers import Server, free_port
from consumer.checkup import clocks, transport
from producers import samples
from tests.kit import DEAD, GROUP, STREAM, ConsumerProcess, regions, said, settled, until


def findings(url: str, *arguments: str, **environment: str) -> dict[str, dict[str, Any]]:
    done = regions("doctor", "--json", *arguments, REDIS_URL=url, **environment)
    found = said(done)
    failed = any(finding["level"] == "fail" for finding in found)
    assert done.returncode == int(failed), found
    return {finding["check"]: finding for finding in found}


def test_a_server_set_up_well(tmp_path: object) -> None:
    with Server(appendonly="yes", appendfsync="always") as server:
        found = findings(server.url)
        assert {f["level"] for f in found.values()} == {"ok"}, found
        assert {"tls", "collector", "clock", "version", "aof", "appendfsync", "memory", "scripts", "group",
                "rights"} <= found.keys()  # fmt: skip
        done = regions("doctor", REDIS_URL=server.url)
        assert done.returncode == 0
        assert max(map(len, done.stdout.decode().splitlines())) <= 80


WRONG = [
    ({"appendonly": "no"}, "aof", "fail", "appendonly yes"),
    ({"appendonly": "yes", "appendfsync": "no"}, "appendfsync", "fail", "everysec or always"),
    ({"appendonly": "yes", "appendfsync": "everysec"}, "appendfsync", "ok", "last second"),
    (
        {"maxmemory": "100mb", "maxmemory-policy": "allkeys-lru"},
        "eviction",
        "fail",
        "throws snapshots",
    ),
    ({"maxmemory-policy": "volatile-ttl"}, "eviction", "fail", "noeviction"),
    ({"cluster-enabled": "yes", "cluster-port": "free"}, "cluster", "fail", "one primary"),
    ({"rename-command": "SCRIPT ''"}, "scripts", "fail", "works by scripts"),
    ({"rename-command": "INFO ''"}, "version", "warn", "+info"),
]


@pytest.mark.parametrize(("options", "check", "level", "advice"), WRONG)
def test_a_wrong_setting(options: dict[str, str], check: str, level: str, advice: str) -> None:
    options = {
        name: str(free_port()) if value == "free" else value for name, value in options.items()
    }
    with Server(**options) as server:
        finding = findings(server.url)[check]
        assert finding["level"] == level, finding
        assert advice in finding["advice"]


def test_a_replica(server: Server) -> None:
    with Server(replicaof=f"127.0.0.1 {server.port}") as replica:
        finding = findings(replica.url)["role"]
        assert finding["level"] == "fail"
        assert "primary" in finding["advice"]


def test_a_server_that_is_nearly_full() -> None:
    with Server() as server, server.client as client:
        used = client.info("memory")["used_memory"]
        client.config_set("maxmemory", int(used * 1.1))
        assert findings(server.url)["memory"]["level"] in {"warn", "fail"}
        client.config_set("maxmemory", int(used * 10))
        assert findings(server.url)["memory"]["level"] == "ok"


def test_rights_that_are_missing(server: Server, client: redis.Redis) -> None:
    client.acl_setuser("poor", enabled=True, passwords=["+x"], keys=["*"], categories=["+@all"],
                       commands=["-xack", "-xgroup|create"])  # fmt: skip
    try:
        url = f"redis://poor:x@127.0.0.1:{server.port}/0"
        finding = findings(url)["rights"]
        assert finding["level"] == "fail"
        assert "XACK" in finding["said"]
        assert "XGROUP CREATE" in finding["said"]
        assert findings(url, "--role", "reader")["rights"]["level"] == "ok"
        client.acl_setuser("poor", enabled=True, commands=["+xack", "+xgroup", "-acl"])
        assert findings(url)["rights"]["level"] == "warn", "it cannot ask"
        assert findings(url.replace(":x@", ":y@"))["server"]["level"] == "fail"
    finally:
        client.acl_deluser("poor")


def test_a_group_that_skips_what_was_there(server: Server, client: redis.Redis) -> None:
    client.xadd(STREAM, {"snapshot": b"early"})
    client.xgroup_create(STREAM, GROUP, "$")
    finding = findings(server.url)["group"]
    assert finding["level"] == "fail"
    assert f"XGROUP SETID {STREAM} {GROUP} 0" in finding["advice"]
    client.xgroup_setid(STREAM, GROUP, "0")
    assert findings(server.url)["group"]["level"] == "ok"


async def test_a_group_that_works_is_well(url: str, client: redis.Redis) -> None:
    with ConsumerProcess(url):
        client.xadd(STREAM, {"snapshot": samples.to_json(samples.snapshot("mena"))})
        await until(lambda: settled(client))
        assert (await asyncio.to_thread(findings, url))["group"]["level"] == "ok"


@pytest.mark.parametrize("name", [STREAM, DEAD])
def test_another_type_in_the_way(name: str, url: str, client: redis.Redis) -> None:
    client.set(name, "in the way")
    found = findings(url)
    finding = found["stream" if name == STREAM else "dead letters"]
    assert finding["level"] == "fail"
    assert name in finding["advice"]


def test_no_server() -> None:
    finding = findings(f"redis://127.0.0.1:{free_port()}/0")["server"]
    assert finding["level"] == "fail"
    assert "REDIS_URL" in finding["advice"]


def test_a_collector(url: str, server: Server) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    finding = findings(url, OTEL_EXPORTER_OTLP_ENDPOINT=nobody)["collector"]
    assert finding["level"] == "warn"
    somebody = f"http://127.0.0.1:{server.port}"
    assert findings(url, OTEL_EXPORTER_OTLP_ENDPOINT=somebody)["collector"]["level"] == "ok"


@pytest.mark.parametrize(
    ("url", "level"),
    [
        ("redis://localhost:6379/0", "ok"),
        ("redis://127.0.0.1:6379/0", "ok"),
        ("unix:///run/valkey.sock", "ok"),
        ("rediss://valkey.example:6379/0?ssl_ca_certs=/ca.crt", "ok"),
        ("rediss://valkey.example:6379/0?ssl_cert_reqs=none", "warn"),
        ("redis://valkey.example:6379/0", "warn"),
    ],
)
def test_transport(url: str, level: str) -> None:
    assert transport(url).level == level


@pytest.mark.parametrize(
    ("server_s", "level"),
    [
        (1000.0, "ok"),
        (1000.4, "ok"),
        (994.0, "warn"),
        (1008.0, "warn"),
        (1400.0, "fail"),
        (10.0, "fail"),
    ],
)
def test_clocks(server_s: float, level: str) -> None:
    """We asked between 1000.0 and 1000.5."""
    assert clocks(server_s, 1000.0, 1000.5).level == level
