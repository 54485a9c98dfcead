"""A collector that is slow, down or refusing costs telemetry, never an event; and it delays
neither a producer's end nor a consumer's beyond bounds."""

import asyncio

import pytest
import redis

from bench.measure import sink
from producers import samples
from tests.kit import STREAM, ConsumerProcess, regions, settled, until

MODES = ["slow", "down", "refusing"]
# Five seconds for its telemetry (otel/setup.py), and what a busy machine adds.
PATIENCE_S = 15


@pytest.mark.parametrize("mode", MODES)
async def test_a_consumer(mode: str, url: str, client: redis.Redis) -> None:
    with sink(mode) as collector:
        environment = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector,
            "OTEL_BSP_SCHEDULE_DELAY": "50",
            "OTEL_METRIC_EXPORT_INTERVAL": "200",
            # So small that it overflows: what does not fit is dropped, and nobody waits.
            "OTEL_BSP_MAX_QUEUE_SIZE": "512",
            "REGIONS_HTTP": "127.0.0.1:0",
        }
        with ConsumerProcess(url, **environment) as consumer:
            pipe = client.pipeline(transaction=False)
            ids = []
            for number in range(2000):
                document = samples.snapshot("mena", 1_700_000_000_000 + number * 900_000)
                ids.append(document["meta"]["snapshot_id"])
                pipe.xadd(STREAM, {"snapshot": samples.to_json(document)})
            pipe.execute()
            await until(lambda: settled(client), 60)
            assert all(client.exists(f"intelligence:snapshot-by-id:v1:{i}") for i in ids)
            assert await asyncio.to_thread(consumer.terminate, PATIENCE_S) == 0
            assert "Traceback" not in consumer.output
            told = [line for line in consumer.output.splitlines() if '"opentelemetry.' in line]
            assert len(told) <= 2, "it is told once a minute, not at each try"


@pytest.mark.parametrize("mode", MODES)
async def test_a_producer(mode: str, url: str, client: redis.Redis) -> None:
    lines = b"\n".join(map(samples.to_json, samples.cycle()))
    with sink(mode) as collector:
        done = await asyncio.to_thread(
            regions,
            "publish",
            "-",
            given=lines,
            REDIS_URL=url,
            OTEL_EXPORTER_OTLP_ENDPOINT=collector,
        )
    assert done.returncode == 0, done.stderr
    assert client.xlen(STREAM) == 8
    assert b"Traceback" not in done.stderr
