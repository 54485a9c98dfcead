"""The measurements, one function each. All of them run the systems as processes of their own."""

import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import psutil
import redis

from bench.proxy import long_link
from bench.servers import Server, free_port
from bench.work import DEAD, GROUP, NOW_MS, STREAM, Work, settled
from consumer.events import REGIONS
from consumer.latest import newest
from consumer.link import Link
from producers import samples
from producers.publisher import RegionPublisher

# How much of the work a system is given: the slow ones would take minutes.
SHARE = {"sequential": 10, "faststream": 10}
OURS = {"untraced": {}, "1 % sampled": {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": "0.01"}, "every region traced": {}}  # fmt: skip
SUBSCRIBERS = 3
SELDOM_S = 0.005
WARM, WINDOWS = 512, 5
Say = Callable[[str], None]


@contextlib.contextmanager
def sink(mode: str = "ok") -> Iterator[str]:
    """A collector's endpoint; mode: as in bench.sink, or `down` (nobody listens)."""
    if mode == "down":
        yield f"http://127.0.0.1:{free_port()}"
        return
    process = subprocess.Popen([sys.executable, "-m", "bench.sink", mode], stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{process.stdout.readline().decode().strip()}"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def _run(*arguments: str, **environment: str) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        env={**os.environ, **environment}, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _server_cpu(client: redis.Redis) -> float:
    cpu = client.info("cpu")
    return float(cpu["used_cpu_user"] + cpu["used_cpu_sys"])


def throughput(client: redis.Redis, url: str, count: int, rounds: int, say: Say) -> dict[str, Any]:
    """Events a second of each system, interleaved; server CPU and commands for each event."""
    names = ["sequential", "faststream", "bare", "ceiling", *OURS]
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    with sink() as collector:
        for number in range(rounds):
            for name in names:
                say(f"round {number + 1} of {rounds}: {name}")
                rows[name].append(_one(client, url, name, count, collector))
    return {name: _summary(found) for name, found in rows.items()}


def failing(client: redis.Redis, url: str, count: int, rounds: int, say: Say) -> dict[str, Any]:
    """Every region traced, metrics too, with a collector that fails in each way, interleaved."""
    modes = ["ok", "slow", "down", "refusing"]
    rows: dict[str, list[dict[str, float]]] = {mode: [] for mode in modes}
    for number in range(rounds):
        for mode in modes:
            say(f"round {number + 1} of {rounds}: a collector that is {mode}")
            with sink(mode) as collector:
                rows[mode].append(_one(client, url, "every region traced", count, collector))
    return {mode: _summary(found) for mode, found in rows.items()}


def _one(client: redis.Redis, url: str, name: str, count: int, collector: str) -> dict[str, float]:
    work = Work(max(count // SHARE.get(name, 1), 1))
    work.fill(client, name=b"__data__" if name == "faststream" else b"snapshot")
    client.config_resetstat()
    before = _server_cpu(client)
    if name in OURS:
        traced = {} if name == "untraced" else {"OTEL_EXPORTER_OTLP_ENDPOINT": collector}
        found = _run("bench.ours", url, str(work.count), **traced, **OURS[name])
    else:
        found = _run("bench.systems", name, url, str(work.count))
    calls = client.info("commandstats")
    work.check(client)
    return {
        "rate": work.count / found["seconds"],
        "rss_mb": found["rss_mb"],
        "server_us": (_server_cpu(client) - before) / work.count * 1e6,
        # What a client sends; the script's own commands are counted beside it.
        "commands": sum(v["calls"] for k, v in calls.items() if _sent(k, name)) / work.count,
        "script_us": calls.get("cmdstat_evalsha", {}).get("usec_per_call", 0.0),
    }


def _sent(command: str, name: str) -> bool:
    inside = {"set", "get", "del", "exists", "zadd", "zremrangebyscore", "zrevrange", "time",
              "xack", "xpending"}  # fmt: skip
    scripted = name not in SHARE
    return not (scripted and command.removeprefix("cmdstat_") in inside)


def _summary(rows: list[dict[str, float]]) -> dict[str, float]:
    rates = sorted(row["rate"] for row in rows)
    return {
        "rate": statistics.median(rates),
        "low": rates[0],
        "high": rates[-1],
        **{k: statistics.median(row[k] for row in rows) for k in rows[0] if k != "rate"},
    }


@contextlib.contextmanager
def consumers(url: str, number: int, **environment: str) -> Iterator[list[subprocess.Popen[bytes]]]:
    """So many `regions consume`, reading."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "consumer.cli", "consume"],
            env={**os.environ, "REDIS_URL": url, "REGIONS_HTTP": "off",
                 "REGIONS_LOG_LEVEL": "ERROR", **environment},
        )
        for _ in range(number)
    ]  # fmt: skip
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _reading(client: redis.Redis) -> int:
    return sum(c["cmd"] == "xreadgroup" for c in client.client_list(_type="normal"))


def _until(condition: Callable[[], Any], timeout_s: float = 120, every_s: float = 0.0005) -> None:
    """every_s: as precise as needed and no more, asking costs the two cores that are measured."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "the benchmark does not get on"
        time.sleep(every_s)


def round_trips(client: redis.Redis, server: Server, rtt_s: float, repeat: int) -> dict[str, float]:
    """A cycle of eight, from publishing to the last confirmed write, and reading them: in RTTs."""
    client.flushall()
    publish, read = [], []
    with long_link(server.port, rtt_s / 2) as url, consumers(url, 1):
        _until(lambda: _reading(client) >= SUBSCRIBERS)

        async def run() -> None:
            async with RegionPublisher(url) as publisher:
                await publisher.publish(samples.cycle(seed=0, evidence=15))
                link = Link(url)
                # The unit is what a round trip through this proxy really takes.
                pings = [await _timed(link.one("PING")) for _ in range(7)]
                rtt = statistics.median(pings[1:])
                for n in range(repeat):
                    cycle = samples.cycle(time.time_ns() // 1_000_000 - n * 900_000, evidence=15)
                    # Twice the wait for a read: both reads are blocked again.
                    await asyncio.sleep(4 * rtt_s + 0.05)
                    started = time.perf_counter()
                    sending = asyncio.create_task(publisher.publish(cycle))
                    await asyncio.to_thread(_until, lambda due=8 * (n + 2): _acked(client, due))
                    # The server has written; the consumer hears of it half a round trip later.
                    publish.append((time.perf_counter() - started + rtt / 2) / rtt)
                    await sending
                    read.append(await _timed(newest(link, REGIONS)) / rtt)
                await link.close()

        asyncio.run(run())
    return {
        "publish": statistics.median(publish),
        "low": min(publish),
        "high": max(publish),
        "read": statistics.median(read),
    }


async def _timed(work: Awaitable[Any]) -> float:
    started = time.perf_counter()
    answer = await work
    assert answer
    return time.perf_counter() - started


def _acked(client: redis.Redis, count: int) -> bool:
    group = client.xinfo_groups(STREAM)[0]
    return bool(group["pending"] == 0 and group["entries-read"] >= count)


def scaling(
    client: redis.Redis, server: Server, rtts_ms: list[int], numbers: list[int], each: int, say: Say
) -> dict[str, dict[str, float]]:
    """Events a second, by round-trip time and by the number of consumers.

    Batches of 32, so that what is in flight is the limit and not this machine's two cores.
    """
    table: dict[str, dict[str, float]] = {}
    for rtt_ms in rtts_ms:
        for number in numbers:
            say(f"{number} consumers at {rtt_ms} ms")
            row = table.setdefault(str(rtt_ms), {})
            row[str(number)] = _scaled(client, server, rtt_ms, number, each * number)
    return table


def _scaled(client: redis.Redis, server: Server, rtt_ms: int, number: int, count: int) -> float:
    work = Work(count)
    work.fill(client)
    # A full stream that nobody sees: the group stands behind its end until it is set to 0.
    client.xgroup_setid(STREAM, GROUP, f"{NOW_MS + 1_000_000}-0")
    with (
        long_link(server.port, rtt_ms / 2000) as url,
        consumers(url, number, REGIONS_BATCH="32"),
    ):
        _until(lambda: _reading(client) >= SUBSCRIBERS * number)
        client.xgroup_setid(STREAM, GROUP, "0")
        _until(lambda: client.xinfo_groups(STREAM)[0]["last-delivered-id"] != b"0-0")
        started = time.perf_counter()
        _until(lambda: settled(client, work.last), 300, SELDOM_S)
        return count / (time.perf_counter() - started)


def latency(client: redis.Redis, url: str, rate: float, seconds: float) -> dict[str, Any]:
    """From XADD to settled, at a steady rate (events a second): percentiles in milliseconds.

    An entry's id is the server's clock at its XADD; the end is the consumer's, from its log.
    """
    client.flushall()
    environment = {"OTEL_SDK_DISABLED": "true"}
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.latency_consumer", url],
        env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        _until(lambda: _reading(client) >= SUBSCRIBERS)
        count, sent, size = int(rate * seconds), 0, 8
        work = Work(count)
        commands = [[("XADD", STREAM, "*", "snapshot", work.raw(n + i)) for i in range(size)]
                    for n in range(0, count - size, size)]  # fmt: skip

        async def load() -> None:
            nonlocal sent
            link = Link(url)
            started = time.perf_counter()
            for n, group in enumerate(commands):
                ahead = n * size / rate - (time.perf_counter() - started)
                if ahead > 0:
                    await asyncio.sleep(ahead)
                await link.call([("MULTI",), *group, ("EXEC",)])
                sent += len(group)
            await link.close()

        asyncio.run(load())
        _until(lambda: client.xpending(STREAM, GROUP)["pending"] == 0)
        process.terminate()
        found = sorted(json.loads(process.stdout.readlines()[-1]))
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    # The first tenth is the warm-up of a new process.
    return {
        "rate": rate,
        "events": len(found),
        "p50": found[len(found) // 2],
        "p99": found[int(len(found) * 0.99)],
        "max": found[-1],
        "histogram": _histogram(found),
    }


def _histogram(values: list[float]) -> dict[str, int]:
    edges = [1, 2, 3, 5, 8, 12, 18, 25, 50, 100, 1e9]
    counts = dict.fromkeys((f"≤ {e:g}" if e < 1e9 else "more" for e in edges), 0)
    for value in values:
        counts[next(f"≤ {e:g}" if e < 1e9 else "more" for e in edges if value <= e)] += 1
    return counts


def growth(
    client: redis.Redis, url: str, sizes: list[int], count: int, indexed: int, say: Say
) -> dict[str, Any]:
    """Events a second for the first `count`, with so many entries in the stream; and with so many
    snapshots in every region's index. Resident memory of the consumer with each backlog."""
    table: dict[str, dict[str, float]] = {}
    say("touching the memory")
    _touch(client, max(sizes) + 3 * count * WINDOWS)  # what is consumed is written twice
    for size in sizes:
        say(f"{size} entries in the stream")
        table[f"{size:,} entries"] = _windows(client, url, size, count, 0)
    say(f"{indexed} snapshots in each index")
    table[f"{indexed:,} in each index"] = _windows(client, url, count * WINDOWS, count, indexed)
    return table


def _touch(client: redis.Redis, size: int) -> None:
    """A virtual machine's memory is slow when it is touched for the first time: the first backlog
    of a million cost the server 83 µs an event, the second one 48."""
    Work(size).fill(client)
    client.flushall()


def _windows(
    client: redis.Redis, url: str, size: int, count: int, indexed: int
) -> dict[str, float]:
    """The median rate of some windows of `count` events, by a consumer that is warm, while so many
    lie behind: one run where they fit into the backlog, one run for each where they do not."""
    rates: list[float] = []
    part, rss = min(size, count), 0.0
    while len(rates) < WINDOWS:
        work = Work(WARM + size)
        Work(WARM).fill(client)
        _old_members(client, work, indexed)
        with consumers(url, 1) as (process,):
            _until(lambda: settled(client, Work.entry_id(WARM - 1)))
            # More entries that nobody sees: the group stands behind their end until it is set back.
            client.xgroup_setid(STREAM, GROUP, f"{NOW_MS + 1_000_000}-0")
            work.fill(client, reset=False, start=WARM)
            client.config_resetstat()
            client.xgroup_setid(STREAM, GROUP, Work.entry_id(WARM - 1))
            _until(lambda: _written(client) > 0)
            begun, at = _written(client), time.perf_counter()
            for _ in range(min(WINDOWS, size // part)):
                # Short of the end: a look comes up to SELDOM_S late, and the work must go on.
                due = min(begun + part, int(size * 0.85) if size <= part else size)
                _until(lambda due=due: _written(client) >= due, 120, SELDOM_S)
                done, now = _written(client), time.perf_counter()
                rates.append((done - begun) / (now - at))
                begun, at = done, now
            rss = max(rss, psutil.Process(process.pid).memory_info().rss / 1e6)
    rates.sort()
    return {"rate": statistics.median(rates), "low": rates[0], "high": rates[-1], "rss_mb": rss}


def _old_members(client: redis.Redis, work: Work, indexed: int) -> None:
    for region in REGIONS:
        for start in range(0, indexed, 5000):
            members = {
                f"old-{n}": work.identity(n)[1] - 1
                for n in range(start, min(start + 5000, indexed))
            }
            client.zadd(f"intelligence:snapshot-index:v1:{region}", members)


def _written(client: redis.Redis) -> int:
    calls = client.info("commandstats").get("cmdstat_xack", {"calls": 0})
    return int(calls["calls"])


def recovery(client: redis.Redis, url: str, count: int) -> dict[str, float]:
    """Abandoned entries a second, taken over and settled by one consumer."""
    Work(count).fill(client)
    while client.xreadgroup(GROUP, "ghost", {STREAM: ">"}, count=1000):
        pass
    pending = [p["message_id"] for p in client.xpending_range(STREAM, GROUP, "-", "+", count)]
    for start in range(0, count, 1000):
        client.xclaim(
            STREAM, GROUP, "ghost", 0, pending[start : start + 1000], idle=10**7, justid=True
        )
    with consumers(url, 1):
        client.config_resetstat()
        _until(lambda: _written(client) > 0)
        started = time.perf_counter()
        _until(lambda: client.xpending(STREAM, GROUP)["pending"] == 0, 120, SELDOM_S)
        return {"rate": count / (time.perf_counter() - started)}


def publishing(client: redis.Redis, url: str, count: int) -> dict[str, float]:
    """Snapshots a second through RegionPublisher, validated, without telemetry; and the memory of
    `regions publish` over a file."""
    raws = list(Work(count).raws())
    client.flushall()

    async def run() -> float:
        async with RegionPublisher(url) as publisher:
            await publisher.publish(raws[:8])
            started = time.perf_counter()
            for start in range(0, count, 500):
                await publisher.publish(raws[start : start + 500])
            return count / (time.perf_counter() - started)

    return {"rate": asyncio.run(run())}


def publish_memory(client: redis.Redis, url: str, path: str, megabytes: int) -> dict[str, float]:
    """Peak resident memory of `regions publish` over a file of so many megabytes."""
    client.flushall()
    work = Work(megabytes * 1_000_000 // len(Work(1).raw(0)))
    with open(path, "wb") as file:
        file.writelines(raw + b"\n" for raw in work.raws())
    process = subprocess.Popen(
        [sys.executable, "-m", "consumer.cli", "publish", path],
        env={**os.environ, "REDIS_URL": url}, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    peak, watched = 0, psutil.Process(process.pid)
    while process.poll() is None:
        with contextlib.suppress(psutil.Error):
            peak = max(peak, watched.memory_info().rss)
        time.sleep(0.02)
    assert process.returncode == 0
    assert client.xlen(STREAM) == work.count
    assert client.xlen(DEAD) == 0
    os.unlink(path)
    return {"megabytes": megabytes, "rss_mb": peak / 1e6}


def profile(count: int) -> dict[str, float]:
    """Where a consumer's time goes, in microseconds for each event, one part at a time."""
    import hiredis
    from pydantic_core import from_json

    from bench.systems import facts_of, persist_command
    from consumer.decode import Entry, decode
    from consumer.events import Rules
    from consumer.snapshot import strict

    raws = list(Work(count).raws())
    now_ms = time.time_ns() // 1_000_000
    facts = [facts_of(raw) for raw in raws]
    commands = [persist_command("1-0", raw, fact) for raw, fact in zip(raws, facts, strict=True)]
    entries = [Entry("1-0", {b"snapshot": raw}) for raw in raws]

    def spent(work: Callable[[Any], Any], items: list[Any]) -> float:
        best = []
        for _ in range(3):
            started = time.perf_counter()
            for item in items:
                work(item)
            best.append((time.perf_counter() - started) / len(items) * 1e6)
        return min(best)

    parse = spent(from_json, raws)
    validate = spent(lambda raw: strict.validate_json(raw, strict=True), raws)
    decoded = spent(lambda entry: decode(entry, Rules(), now_ms), entries)
    return {
        "parse the JSON": parse,
        "validate it": validate - parse,
        "the other rules, and the event": decoded - validate,
        "pack the command": spent(hiredis.pack_command, commands),
        "make its spans (only when traced)": _spans_us(raws, kept=True),
        "find out that it is not sampled (only at 1 %)": _spans_us(raws, kept=False),
    }


def _spans_us(raws: list[bytes], *, kept: bool) -> float:
    """The span writer alone, over batches of 256; encoding and sending are the exporter's."""
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON

    from consumer.decode import Entry, decode
    from consumer.events import Rules
    from consumer.outcome import Batch, Outcome, Settled
    from otel.spans import SpanWriter

    writer = SpanWriter(
        SpanProcessor(), ALWAYS_ON if kept else ALWAYS_OFF, Resource.create({}),
        stream=STREAM, dead_stream=DEAD, group=GROUP, consumer="c",
    )  # fmt: skip
    now = time.time_ns()
    found = [decode(Entry(f"{n}-0", {b"snapshot": raw}), Rules(), now // 1_000_000)
             for n, raw in enumerate(raws[:256])]  # fmt: skip
    settled_ones = [Settled(event, Outcome.PERSISTED, "x") for event in found]
    batch = Batch(settled_ones, now, now, (now, now), None, [], False)
    best = []
    for _ in range(5):
        started = time.perf_counter()
        writer(batch)
        best.append((time.perf_counter() - started) / len(found) * 1e6)
    return min(best)
