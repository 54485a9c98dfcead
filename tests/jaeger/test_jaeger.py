"""What an on-call engineer finds in a real Jaeger, asked as its UI asks: `make test-jaeger`.

One story, told once by real producers and a real consumer; each test asks something of it.
"""

import asyncio
import json
import os
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from bench.servers import Server, free_port
from consumer.letters import Letters
from consumer.link import Link
from otel.instruments import CONSUMER_SERVICE, PRODUCER_SERVICE
from otel.setup import tracing
from producers import samples
from producers.publisher import RegionPublisher
from tests.kit import DEAD, GROUP, STREAM, ConsumerProcess, settings_for, until

JAEGER = os.environ.get("JAEGER_BIN", "")
pytestmark = pytest.mark.skipif(not JAEGER, reason="no Jaeger: make test-jaeger brings one")

CONFIG = Path(__file__).parents[2] / "otel" / "jaeger.yaml"
FOREIGN_TRACE, FOREIGN_SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
HOUR_MS = 3_600_000
Trace = dict[str, Any]


class Jaeger(NamedTuple):
    otlp: str
    api: str

    def ask(self, path: str, **query: str) -> Any:
        url = f"{self.api}/api/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)["data"]

    def search(self, service: str = CONSUMER_SERVICE, **tags: str) -> list[Trace]:
        """As the search page does: by service and tags (their dots written as __)."""
        named = {name.replace("__", "."): value for name, value in tags.items()}
        found: list[Trace] = self.ask(
            "traces", service=service, tags=json.dumps(named), limit="100", lookback="1h",
            start=str(int((time.time() - 3600) * 1e6)), end=str(int((time.time() + 60) * 1e6)),
        )  # fmt: skip
        return found


class Story(NamedTuple):
    """Entry ids by what the entry is; found_s: from persisted to found in Jaeger."""

    jaeger: Jaeger
    ids: dict[str, str]
    cycle: list[dict[str, Any]]
    dead_id: str
    found_s: float


@pytest.fixture(scope="module")
def jaeger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jaeger]:
    http, grpc, otlp = (free_port() for _ in range(3))
    environment = {
        **os.environ,
        "JAEGER_DATA": str(tmp_path_factory.mktemp("badger")),
        "JAEGER_UI": str(CONFIG.with_name("jaeger-ui.json")),
        "JAEGER_HTTP_PORT": str(http),
        "JAEGER_GRPC_PORT": str(grpc),
        "JAEGER_OTLP_PORT": str(otlp),
    }
    process = subprocess.Popen([JAEGER, "--config", str(CONFIG)], env=environment)
    made = Jaeger(f"http://127.0.0.1:{otlp}", f"http://127.0.0.1:{http}")

    def up() -> bool:
        assert process.poll() is None, "Jaeger ended: see its words above"
        try:
            made.ask("services")
        except OSError:
            return False
        return True

    try:
        asyncio.run(until(up, 60, "Jaeger"))
        yield made
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture(scope="module")
def story(jaeger: Jaeger) -> Iterator[Story]:
    patch = pytest.MonkeyPatch()
    patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", jaeger.otlp)
    patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
    with Server() as server, server.client as client:
        ids = {"retried": abandoned(client)}
        watched = ConsumerProcess(
            server.url,
            OTEL_EXPORTER_OTLP_ENDPOINT=jaeger.otlp,
            OTEL_BSP_SCHEDULE_DELAY="200",
            REGIONS_CONSUMER="one",
            REGIONS_RETRY_S="0.1",
            REGIONS_IDLE_MS="300",
        )
        with watched:
            yield asyncio.run(tell(jaeger, client, server.url, ids))
        patch.undo()


def abandoned(client: Any) -> str:
    """An entry that somebody read and never settled."""
    client.xgroup_create(STREAM, GROUP, "0", mkstream=True)
    entry_id: bytes = client.xadd(STREAM, {"snapshot": samples.to_json(samples.snapshot("latam"))})
    client.xreadgroup(GROUP, "ghost", {STREAM: ">"})
    client.xclaim(STREAM, GROUP, "ghost", 0, [entry_id], idle=10**6, justid=True)
    return entry_id.decode()


async def tell(jaeger: Jaeger, client: Any, url: str, ids: dict[str, str]) -> Story:
    traced = tracing(PRODUCER_SERVICE)
    cycle = samples.cycle(time.time_ns() // 1_000_000)
    async with RegionPublisher(url, tracer_provider=traced.provider) as publisher:
        for one, entry_id in zip(cycle, await publisher.publish(cycle, cycle="six"), strict=True):
            ids[one["region_id"]] = entry_id
        newest = cycle[0]["meta"]["snapshot_id"]
        by_id = f"intelligence:snapshot-by-id:v1:{newest}"
        await until(lambda: client.exists(by_id))
        persisted = time.monotonic()
        await until(lambda: jaeger.search(snapshot__id=newest))
        found_s = time.monotonic() - persisted
        again = samples.snapshot(cycle[0]["region_id"], cycle[0]["generated_at"])
        late = samples.snapshot("europe", cycle[0]["generated_at"] - 3 * HOUR_MS)
        ids["duplicate"], ids["late"] = await publisher.publish([again, late], cycle="six")
    traced.shutdown()
    broken = samples.snapshot("south-asia")
    broken["balance"]["net_balance"] = 7
    fields = {
        "snapshot": samples.to_json(broken),
        "traceparent": f"00-{FOREIGN_TRACE}-{FOREIGN_SPAN}-01",
    }
    ids["broken"] = client.xadd(STREAM, fields).decode()
    plain = samples.snapshot("global", cycle[0]["generated_at"] - 9 * HOUR_MS)
    ids["untraced"] = client.xadd(STREAM, {"snapshot": samples.to_json(plain)}).decode()
    dead_id = (await until(lambda: client.xrange(DEAD)))[0][0].decode()
    link = Link(url)
    (replayed,) = await Letters(link, settings_for(url)).replay([dead_id])
    await link.close()
    assert isinstance(replayed, str)
    ids["replayed"] = replayed
    for entry_id in ids.values():
        await until(lambda entry_id=entry_id: jaeger.search(messaging__message__id=entry_id))
    return Story(jaeger, ids, cycle, dead_id, found_s)


def trace_of(story: Story, what: str) -> Trace:
    # A dead letter's id, in its own stream, may be the same as an entry's.
    wanted = story.ids[what]
    (found,) = [
        trace
        for trace in story.jaeger.search(messaging__message__id=wanted)
        if tags(span(trace, PROCESS))["messaging.message.id"] == wanted
    ]
    return found


def tags(span: dict[str, Any]) -> dict[str, Any]:
    return {tag["key"]: tag["value"] for tag in span["tags"]}


def span(trace: Trace, name: str) -> dict[str, Any]:
    (found,) = [s for s in trace["spans"] if s["operationName"] == name]
    return found


def parent(child: dict[str, Any]) -> str:
    return next((r["spanID"] for r in child["references"] if r["refType"] == "CHILD_OF"), "")


def linked(child: dict[str, Any]) -> set[tuple[str, str]]:
    return {(r["traceID"], r["spanID"]) for r in child["references"] if r["refType"] != "CHILD_OF"}


def service(trace: Trace, one: dict[str, Any]) -> str:
    return str(trace["processes"][one["processID"]]["serviceName"])


PROCESS, SEND = f"process {STREAM}", f"send {STREAM}"


def test_services_and_operations(story: Story) -> None:
    assert {CONSUMER_SERVICE, PRODUCER_SERVICE} <= set(story.jaeger.ask("services"))
    operations = set(story.jaeger.ask(f"services/{CONSUMER_SERVICE}/operations"))
    assert operations == {PROCESS, "persist", f"send {DEAD}"}


def test_a_trace_is_found_within_five_seconds_of_its_persist(story: Story) -> None:
    assert story.found_s < 5


def test_one_trace_for_each_region_with_its_tree_across_both_services(story: Story) -> None:
    seen = set()
    for one in story.cycle:
        (trace,) = story.jaeger.search(snapshot__id=one["meta"]["snapshot_id"])
        seen.add(trace["traceID"])
        send, process, persist = (span(trace, name) for name in (SEND, PROCESS, "persist"))
        assert len(trace["spans"]) == 3
        assert (parent(send), parent(process)) == ("", send["spanID"])
        assert parent(persist) == process["spanID"]
        assert service(trace, send) == PRODUCER_SERVICE
        assert {service(trace, process), service(trace, persist)} == {CONSUMER_SERVICE}
        kinds = [tags(s)["span.kind"] for s in (send, process, persist)]
        assert kinds == ["producer", "consumer", "client"]
        # Microseconds: persist lies within process, and nothing took a minute.
        assert process["startTime"] <= persist["startTime"]
        ends = [s["startTime"] + s["duration"] for s in (persist, process)]
        assert ends[0] <= ends[1] + 1
        assert 0 < process["duration"] < 60_000_000
        assert tags(process)["cycle.id"] == "six"
    assert len(seen) == len(story.cycle)


@pytest.mark.parametrize(
    ("what", "outcome"),
    [
        ("mena", "persisted"),
        ("duplicate", "duplicate"),
        ("late", "superseded"),
        ("broken", "dead_lettered"),
        ("retried", "persisted"),
        ("untraced", "superseded"),
    ],
)
def test_each_is_found_by_its_outcome(story: Story, what: str, outcome: str) -> None:
    trace_id = trace_of(story, what)["traceID"]
    found = {t["traceID"] for t in story.jaeger.search(region__outcome=outcome)}
    assert trace_id in found
    others = {t["traceID"] for t in story.jaeger.search(region__outcome="retry")}
    assert trace_id not in others


def test_a_region_is_found_by_its_name(story: Story) -> None:
    found = {t["traceID"] for t in story.jaeger.search(region__id="latam")}
    assert trace_of(story, "retried")["traceID"] in found
    assert trace_of(story, "mena")["traceID"] not in found


def test_only_failed_regions_are_errors_and_tell_the_reason(story: Story) -> None:
    found = {t["traceID"] for t in story.jaeger.search(error="true")}
    assert found == {trace_of(story, what)["traceID"] for what in ("broken", "replayed")}
    dead = span(trace_of(story, "broken"), f"send {DEAD}")
    assert tags(dead)["region.dead_letter.id"] == story.dead_id
    assert tags(dead)["region.dead_letter.reason"] == "invalid"


def test_a_foreign_producer_s_trace_goes_on(story: Story) -> None:
    trace = trace_of(story, "broken")
    assert trace["traceID"] == FOREIGN_TRACE
    assert parent(span(trace, PROCESS)) == FOREIGN_SPAN


def test_an_event_without_a_trace_starts_one(story: Story) -> None:
    assert parent(span(trace_of(story, "untraced"), PROCESS)) == ""


def test_a_redelivery_is_linked_to_the_delivery_before(story: Story) -> None:
    trace = trace_of(story, "retried")
    process = span(trace, PROCESS)
    assert tags(process)["region.delivery_attempt"] == 2
    ((trace_id, span_id),) = linked(process)
    assert trace_id == trace["traceID"]
    assert span_id != process["spanID"]


def test_a_replay_is_a_new_trace_linked_to_the_failed_one(story: Story) -> None:
    failed = trace_of(story, "broken")
    replay = trace_of(story, "replayed")
    assert replay["traceID"] != failed["traceID"]
    assert linked(span(replay, PROCESS)) == {(failed["traceID"], span(failed, PROCESS)["spanID"])}
