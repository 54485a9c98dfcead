"""One trace per region, through the real exporters, to a receiver of our own."""

import asyncio
import json
from collections import defaultdict

import pytest
import redis
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from bench.servers import free_port
from consumer import keys
from consumer.events import REGIONS
from otel import instruments as names
from otel.inbox import Inbox, Seen
from otel.setup import Tracing, tracing
from producers import samples
from producers.publisher import RegionPublisher
from tests.kit import DEAD, GROUP, STREAM, ConsumerProcess, dead_letters, settled, until

ALWAYS = {
    names.REGION, names.SNAPSHOT, names.OUTCOME, names.MESSAGE_ID, names.DESTINATION, names.GROUP,
    names.CLIENT_ID, names.ATTEMPT, names.CYCLE,
}  # fmt: skip


@pytest.fixture
def producer(monkeypatch: pytest.MonkeyPatch, inbox: Inbox) -> Tracing:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", inbox.url)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    return tracing(names.PRODUCER_SERVICE)


@pytest.fixture
def inbox():  # type: ignore[no-untyped-def]
    with Inbox() as inbox:
        yield inbox


def consumer(url: str, inbox: Inbox, **more: str) -> ConsumerProcess:
    return ConsumerProcess(
        url,
        OTEL_EXPORTER_OTLP_ENDPOINT=inbox.url,
        OTEL_BSP_SCHEDULE_DELAY="50",
        REGIONS_CONSUMER="watched",
        **more,
    )


def by_trace(spans: list[Seen]) -> dict[str, dict[str, Seen]]:
    traces: dict[str, dict[str, Seen]] = defaultdict(dict)
    for span in spans:
        traces[span.trace_id][span.name] = span
    return traces


async def arrived(inbox: Inbox, count: int) -> list[Seen]:
    return await asyncio.to_thread(inbox.wait, lambda spans: len(spans) >= count)


async def test_the_tree_of_every_region(
    url: str, client: redis.Redis, inbox: Inbox, producer: Tracing
) -> None:
    with consumer(url, inbox):
        async with RegionPublisher(url, tracer_provider=producer.provider) as publisher:
            # The caller's own span is linked to, not continued: a trace is one region's.
            tracer = trace.get_tracer("a platform", tracer_provider=producer.provider)
            with tracer.start_as_current_span("compute the cycle") as outer:
                cycle = samples.cycle()
                ids = await publisher.publish(cycle, cycle="06:00")
        spans = await arrived(inbox, 3 * 8 + 1)
    producer.shutdown()
    traces = by_trace([s for s in spans if s.name != "compute the cycle"])
    assert len(traces) == 8
    context = outer.get_span_context()
    seen_regions = set()
    for spans_of_one in traces.values():
        send, process, persist = (
            spans_of_one[n] for n in (f"send {STREAM}", f"process {STREAM}", "persist")
        )
        assert (send.service, process.service) == ("region-producer", "region-consumer")
        assert [s.kind for s in (send, process, persist)] == ["PRODUCER", "CONSUMER", "CLIENT"]
        assert send.parent_id == ""
        assert process.parent_id == send.span_id
        assert persist.parent_id == process.span_id
        assert {s.status for s in spans_of_one.values()} == {"UNSET"}
        assert send.start_ns <= process.start_ns <= persist.start_ns
        assert persist.end_ns <= process.end_ns
        assert send.links == [(f"{context.trace_id:032x}", f"{context.span_id:016x}")]
        said = process.attributes
        assert said.keys() >= ALWAYS
        assert said[names.OUTCOME] == "persisted"
        assert said[names.CYCLE] == "06:00" == send.attributes[names.CYCLE]
        assert said[names.CLIENT_ID] == "watched"
        assert said[names.GROUP] == GROUP
        assert said[names.ATTEMPT] == 1
        n = REGIONS.index(said[names.REGION])
        assert said[names.MESSAGE_ID] == ids[n] == send.attributes[names.MESSAGE_ID]
        assert said[names.SNAPSHOT] == cycle[n]["meta"]["snapshot_id"]
        assert persist.attributes[names.DB_SYSTEM] == "redis"
        seen_regions.add(said[names.REGION])
    assert seen_regions == set(REGIONS)


async def test_a_dead_letter_has_its_branch(url: str, client: redis.Redis, inbox: Inbox) -> None:
    parent = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    client.set(keys.index("latam"), "in the way")
    with consumer(url, inbox):
        client.xadd(STREAM, {"snapshot": '{"not": "a snapshot"}', "traceparent": parent})
        client.xadd(STREAM, {"snapshot": samples.to_json(samples.snapshot("latam"))})
        spans = await arrived(inbox, 5)
    first = {s.name: s for s in spans if s.trace_id == "a" * 32}
    process, send = first[f"process {STREAM}"], first[f"send {DEAD}"]
    assert process.parent_id == "b" * 16
    assert send.parent_id == process.span_id
    assert (process.status, send.kind) == ("ERROR", "PRODUCER")
    assert process.attributes[names.ERROR_TYPE] == "missing"
    assert process.attributes[names.REASON] == "invalid"
    assert "region_id" in process.attributes[names.PATHS]
    letters = {letter[b"reason"]: letter for letter in dead_letters(client)}
    letter = letters[b"invalid"]
    assert letter[b"traceparent"].decode() == f"00-{process.trace_id}-{process.span_id}-01"
    assert letter[b"event.traceparent"].decode() == parent
    # The other one got as far as the write, and says so there.
    refused = {s.name: s for s in spans if s.trace_id != "a" * 32}
    assert refused["persist"].status == "ERROR"
    assert refused["persist"].attributes[names.ERROR_TYPE] == "WRONGTYPE"
    assert refused[f"process {STREAM}"].parent_id == ""


async def test_what_failed_is_kept_when_one_in_a_hundred_is_sampled(
    url: str, client: redis.Redis, inbox: Inbox
) -> None:
    """The producer has left all of these out of its sample, and two of the regions fail."""
    ratio = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.01"}
    with consumer(url, inbox, **ratio) as watched:
        for n, raw in enumerate(
            [*map(samples.to_json, samples.cycle()), b'{"cut', b'{"not": "a snapshot"}'], 1
        ):
            left_out = f"00-{n:032x}-{n:016x}-00"
            client.xadd(STREAM, {"snapshot": raw, "traceparent": left_out})
        await until(lambda: settled(client))
        await until(lambda: len(dead_letters(client)) == 2)
        # A clean stop sends what is queued, so all that would come has come.
        assert await asyncio.to_thread(watched.terminate) == 0
    failed = {f"{n:032x}" for n in (len(REGIONS) + 1, len(REGIONS) + 2)}
    assert {span.trace_id for span in inbox.spans} == failed
    assert {s.name for s in inbox.spans} == {f"process {STREAM}", f"send {DEAD}"}


async def test_a_dead_collector_costs_nothing(url: str, client: redis.Redis) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    with ConsumerProcess(
        url, OTEL_EXPORTER_OTLP_ENDPOINT=nobody, OTEL_BSP_SCHEDULE_DELAY="20"
    ) as process:
        async with RegionPublisher(url) as publisher:
            for _ in range(20):
                await publisher.publish([samples.snapshot("mena", evidence=1)] * 8)
        await until(lambda: settled(client))
        assert await asyncio.to_thread(process.terminate) == 0
        lines = [json.loads(line) for line in process.output.splitlines()]
    complaints = [line for line in lines if line["logger"].startswith("opentelemetry")]
    assert len(complaints) == 1, complaints
    assert client.xlen(STREAM) == 160


async def test_log_lines_are_structured_and_carry_the_trace(url: str, client: redis.Redis) -> None:
    parent = "00-" + "c" * 32 + "-" + "d" * 16 + "-01"
    document = samples.snapshot("mena")
    with ConsumerProcess(url, REGIONS_LOG_LEVEL="DEBUG") as process:
        client.xadd(STREAM, {"snapshot": samples.to_json(document), "traceparent": parent})
        client.xadd(STREAM, {"snapshot": "broken"})
        await until(lambda: settled(client))
        await asyncio.to_thread(process.terminate)
        lines = [json.loads(line) for line in process.output.splitlines()]
    events = [line for line in lines if line["message"] == "event settled"]
    assert len(events) == 2
    good = next(line for line in events if line["outcome"] == "persisted")
    assert good["trace_id"] == "c" * 32
    assert good["region"] == "mena"
    assert good["message_id"]
    assert good["span_id"]
    summaries = [line for line in lines if "settled" in line["message"] and "outcomes" in line]
    assert sum(sum(line["outcomes"].values()) for line in summaries) == 2
    assert any(line["level"] == "WARNING" for line in summaries), "a failed region is a warning"


def test_without_an_endpoint_nothing_is_exported(monkeypatch: pytest.MonkeyPatch) -> None:
    traced = tracing("a service")
    assert isinstance(traced.provider, TracerProvider)
    assert traced.processor is None
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert tracing("a service") == Tracing(None, None)
