"""Metrics of a real consumer: the page that Prometheus reads, and OTLP."""

import asyncio
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from prometheus_client.parser import text_string_to_metric_families

from bench.proxy import Proxy
from bench.servers import Server, free_port
from consumer.events import REGIONS
from otel.inbox import Inbox
from producers import samples
from tests.kit import DEAD, GROUP, STREAM, ConsumerProcess, settled, until

QUICK = {"REGIONS_IDLE_MS": "1500", "REGIONS_RETRY_S": "1"}


class Page:
    """/metrics of one consumer."""

    def __init__(self, port: int) -> None:
        self.port = port

    def samples(self) -> Iterator[Any]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics") as answer:
                text = answer.read().decode()
        except OSError:
            return
        for family in text_string_to_metric_families(text):
            yield from family.samples

    def __call__(self, name: str, **labels: str) -> float | None:
        """The sum of all series with these labels; None without any."""
        found = [
            s.value for s in self.samples() if s.name == name and labels.items() <= s.labels.items()
        ]
        return sum(found) if found else None

    async def ask(self, name: str, **labels: str) -> float | None:
        return await asyncio.to_thread(self, name, **labels)

    async def becomes(self, value: float, name: str, **labels: str) -> None:
        async def same() -> bool:
            return await self.ask(name, **labels) == value

        await until(same, 30, f"{name} {labels} = {value}")


async def test_every_outcome_is_counted(url: str, client: redis.Redis) -> None:
    page = Page(free_port())
    documents = samples.cycle()
    with ConsumerProcess(url, REGIONS_HTTP=f"127.0.0.1:{page.port}") as consumer:
        await until(lambda: client.exists(STREAM))
        assert await page.ask("region_events_total", region_id="mena") == 0, "a flat line at first"
        for document in documents:
            client.xadd(STREAM, {"snapshot": samples.to_json(document)})
        await until(lambda: settled(client))
        client.xadd(STREAM, {"snapshot": samples.to_json(documents[0])})
        stranger = samples.snapshot("mena") | {"region_id": "atlantis"}
        client.xadd(STREAM, {"snapshot": samples.to_json(stranger)})
        client.xadd(STREAM, {"snapshot": b"{"})
        new = samples.snapshot("latam", documents[0]["generated_at"] + 1_000_000)
        new["regime"]["label"] = "a_new_regime"
        client.xadd(STREAM, {"snapshot": samples.to_json(new)})
        await until(lambda: settled(client))
        await page.becomes(9, "region_events_total", region_outcome="persisted")
        assert (
            await page.ask("region_events_total", region_id="mena", region_outcome="redelivered")
            == 1
        )
        assert await page.ask("region_events_total", region_id="other") == 2
        reason = "region_dead_letter_reason"
        assert await page.ask("region_dead_letters_total", **{reason: "undecodable"}) == 1
        assert await page.ask("region_dead_letters_total", **{reason: "invalid"}) == 1
        assert await page.ask("region_time_in_stream_seconds_count") == 12
        assert await page.ask("region_batch_size_sum") == 12
        assert (await page.ask("messaging_process_duration_seconds_count") or 0) >= 2
        assert await page.ask("region_new_words_total", region_word_path="regime.label") == 1

        await page.becomes(2, "region_dead_letters_open")
        await page.becomes(8, "region_snapshot_present")
        await page.becomes(0, "region_backlog")
        assert await page.ask("region_stream_length") == 12
        assert await page.ask("region_group_present") == 1
        assert await page.ask("region_consumers") == 1
        assert await page.ask("region_oldest_unprocessed_age_seconds") == 0
        assert (await page.ask("region_dead_letters_oldest_age_seconds") or 0) > 0
        ages = [s for s in await asyncio.to_thread(lambda: list(page.samples()))
                if s.name == "region_snapshot_age_seconds"]  # fmt: skip
        assert {s.labels["region_id"] for s in ages} == set(REGIONS)
        client.delete(DEAD)
        await page.becomes(0, "region_dead_letters_open")
        assert consumer.terminate() == 0


async def test_trouble_is_counted(server: Server, client: redis.Redis) -> None:
    page = Page(free_port())
    client.xgroup_create(STREAM, GROUP, "0", mkstream=True)
    gone = client.xadd(STREAM, {"snapshot": samples.to_json(samples.snapshot("mena"))})
    client.xadd(STREAM, {"snapshot": samples.to_json(samples.snapshot("latam"))})
    client.xreadgroup(GROUP, "dead", {STREAM: ">"})
    client.xdel(STREAM, gone)
    with (
        Proxy(server.port) as proxy,
        ConsumerProcess(proxy.url, REGIONS_HTTP=f"127.0.0.1:{page.port}", **QUICK),
    ):
        await page.becomes(1, "region_reclaimed_total")
        await page.becomes(1, "region_stream_vanished_total")
        await page.becomes(0, "region_reconnects_total")
        proxy.cut()
        await page.becomes(1, "region_reconnects_total")
        client.config_set("maxmemory", "1")
        client.config_set("maxmemory-policy", "noeviction")
        try:
            client.delete(*client.keys("*snapshot*"))
            client.xgroup_setid(STREAM, GROUP, "0")  # read again, and no room to write it
            await until(lambda: page.ask("region_retries_total", error_type="OOM"))
        finally:
            client.config_set("maxmemory", "0")
        await until(lambda: settled(client))


async def test_gauges_of_a_server_that_is_away_are_gone(
    server: Server, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    from consumer.link import Link
    from consumer.store import Store
    from consumer.watch import Watch
    from tests.kit import settings_for

    with Proxy(server.port) as proxy:
        link = Link(proxy.url)
        watch = Watch(Store(link, settings_for(proxy.url)))
        assert watch.latest() is None
        await watch.look()
        assert watch.latest() is not None
        proxy.refusing = True
        proxy.cut()
        with pytest.raises(redis.RedisError):
            await watch.look()
        assert watch.latest() is not None, "a moment ago is true enough"
        monkeypatch.setattr("consumer.watch.STALE_S", 0)
        assert watch.latest() is None
        await link.close()


async def test_by_otlp_with_an_exemplar_and_its_own_name(url: str, client: redis.Redis) -> None:
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    with Inbox() as inbox:
        consumer = ConsumerProcess(
            url, OTEL_EXPORTER_OTLP_ENDPOINT=inbox.url, OTEL_METRIC_EXPORT_INTERVAL="200",
            REGIONS_CONSUMER="consumer-1",
        )  # fmt: skip
        with consumer:
            raw = samples.to_json(samples.snapshot("mena"))
            client.xadd(
                STREAM, {"snapshot": raw, "traceparent": f"00-{trace_id}-b7ad6b7169203331-01"}
            )
            await until(lambda: settled(client))
            await until(lambda: any(exemplars(inbox)))
            assert consumer.terminate() == 0
        assert exemplars(inbox)[0].trace_id.hex() == trace_id
        (resource,) = inbox.metrics[-1].resource_metrics
        about = {a.key: a.value.string_value for a in resource.resource.attributes}
        assert about["service.instance.id"] == "consumer-1"
        assert about["service.name"] == "region-consumer"


def exemplars(inbox: Inbox) -> list[Any]:
    return [
        exemplar
        for request in inbox.metrics
        for resource in request.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == "region.time_in_stream"
        for point in metric.histogram.data_points
        for exemplar in point.exemplars
    ]


async def test_none_wanted_none_made(url: str, client: redis.Redis) -> None:
    page = Page(free_port())
    with ConsumerProcess(url, REGIONS_HTTP=f"127.0.0.1:{page.port}", OTEL_SDK_DISABLED="true"):
        await until(lambda: client.exists(STREAM))
        client.xadd(STREAM, {"snapshot": samples.to_json(samples.snapshot("mena"))})
        await until(lambda: settled(client))
        assert list(await asyncio.to_thread(lambda: list(page.samples()))) == []
        assert not client.exists(f"{STREAM}:survey:{GROUP}"), "nobody looks, nobody asks"
