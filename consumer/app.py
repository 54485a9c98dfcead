"""The composition root: settings → link → pipeline → broker → app.

`faststream run consumer.app:app` and `regions consume` both run the `app` made here. The order
of leaving is the guarantee of a clean stop: no new reads, finish what is in hand, hand back what
is not, and only then let go of the name.
"""

import asyncio
import logging
import sys
from collections.abc import Callable
from typing import NamedTuple

from faststream import FastStream
from redis.backoff import FullJitterBackoff
from redis.exceptions import RedisError

from consumer.health import HealthServer, http_app, stale
from consumer.link import Link
from consumer.outcome import Batch
from consumer.pipeline import Pipeline
from consumer.reader import PatientBroker, Reading
from consumer.recovery import Recovery
from consumer.scribe import Scribe
from consumer.settings import Settings, WrongSetting
from consumer.store import Store
from consumer.stream import subscribe
from consumer.watch import Watch
from otel.instruments import CONSUMER_SERVICE
from otel.logs import LogWriter, configure
from otel.metrics import Counts, MetricWriter, observe
from otel.setup import Metering, Tracing, metering, tracing
from otel.spans import SpanWriter

# A read blocks half a second at most; a claim follows the one before it within a second.
STALE_S = 10.0

logger = logging.getLogger("regions.app")


class Parts(NamedTuple):
    settings: Settings
    link: Link
    store: Store
    pipeline: Pipeline
    scribe: Scribe
    reading: Reading
    recovery: Recovery
    broker: PatientBroker
    watch: Watch
    tracing: Tracing
    metering: Metering


def assemble(settings: Settings) -> Parts:
    link = Link(settings.redis_url)
    store = Store(link, settings)
    traced = tracing(CONSUMER_SERVICE, settings.consumer)
    metered = metering(CONSUMER_SERVICE, settings.consumer, served=settings.http != "off")
    scribe = Scribe(link, settings)
    pipeline = Pipeline(store, settings, _watchers(settings, scribe, traced, metered))
    reading = Reading(store.ensure_group)
    recovery = Recovery(store, pipeline, settings)
    watch = Watch(store)
    if metered.meter:
        observe(
            metered.meter,
            watch.latest,
            lambda: Counts(reading.resumed, recovery.trimmed, recovery.vanished),
        )
    broker = PatientBroker(
        settings.redis_url,
        reading,
        graceful_timeout=settings.grace_s,
        logger=logging.getLogger("regions.faststream"),
        log_level=logging.DEBUG,
    )
    subscribe(broker, pipeline, settings)
    return Parts(
        settings, link, store, pipeline, scribe, reading, recovery, broker, watch, traced, metered
    )


def build(settings: Settings) -> FastStream:
    """The consumer as a FastStream app, not started yet."""
    parts = assemble(settings)
    health: list[HealthServer] = []

    async def start() -> None:
        configure(settings.log_level)
        if settings.http != "off":
            page = parts.metering.page
            routes = {"/metrics": page} if page else {}
            server = HealthServer(http_app(lambda: wrong(parts), routes), settings.http)
            url = await server.start_beside()
            health.append(server)
            logger.info("health on %s/readyz", url)
        await connect(parts.store)
        logger.info(
            "consuming", extra={"stream": settings.stream, "group": settings.group,
                                "consumer": settings.consumer},
        )  # fmt: skip

    async def started() -> None:
        parts.recovery.start()
        if parts.metering.meter:
            parts.watch.start()

    async def leave() -> None:
        parts.pipeline.hurry()
        await parts.reading.drain(settings.grace_s / 3)
        await parts.recovery.stop(settings.grace_s / 3)

    async def left() -> None:
        await parts.watch.stop()
        await hand_back(parts.store)
        await parts.scribe.finish(settings.grace_s / 6)
        await asyncio.gather(
            asyncio.to_thread(parts.tracing.shutdown), asyncio.to_thread(parts.metering.shutdown)
        )
        for server in health:
            await server.stop()
        await parts.link.close()

    return FastStream(
        parts.broker,
        logger=logging.getLogger("regions.faststream"),
        on_startup=[start],
        after_startup=[started],
        on_shutdown=[leave],
        after_shutdown=[left],
    )


async def connect(store: Store) -> None:
    """Wait for the server, however long it takes: scripts loaded, group there (at 0)."""
    backoff, failures, said = FullJitterBackoff(cap=1.0, base=0.05), 0, ""
    while True:
        try:
            await store.load()
            if await store.ensure_group():
                logger.info("made the consumer group, reading from the start")
            return
        except (RedisError, OSError) as error:
            failures += 1
            if str(error) != said:
                said = str(error)
                logger.warning("waiting for the server: %s", said)
            await asyncio.sleep(backoff.compute(min(failures, 10)))


async def hand_back(store: Store) -> None:
    try:
        released = await store.release()
        if released:
            logger.info("released %d pending entries to the others", released)
    except (RedisError, OSError) as error:
        logger.warning("could not release what is pending, it waits for the idle limit: %s", error)


def wrong(parts: Parts) -> dict[str, str]:
    """What keeps this consumer from being ready, by part; empty when nothing does."""
    subscribers = parts.broker.subscribers
    checks = {
        "broker": "" if parts.broker.running else "not running",
        "subscribers": "" if all(s.running for s in subscribers) else "one is not running",
        "reading": parts.reading.trouble or stale(parts.reading.read_at, "read", STALE_S),
        "recovery": (
            stale(parts.recovery.alive_at, "claim", 2 * STALE_S)
            if parts.recovery.running
            else "not running"
        ),
        "stopping": "leaving" if parts.reading.draining else "",
    }
    return {part: text for part, text in checks.items() if text}


def _watchers(
    settings: Settings, scribe: Scribe, traced: Tracing, metered: Metering
) -> Callable[[Batch], None]:
    stream, group = settings.stream, settings.group
    writers: list[Callable[[Batch], None]] = [scribe, LogWriter(stream=stream, group=group)]
    if metered.meter:
        writers.append(
            MetricWriter(metered.meter, settings.shown_regions, stream=stream, group=group)
        )
    if traced.provider and traced.processor:
        writers.append(
            SpanWriter(
                traced.processor,
                traced.sampler,
                traced.provider.resource,
                stream=stream,
                dead_stream=settings.dead_stream,
                group=group,
                consumer=settings.consumer,
            )
        )

    def watch(batch: Batch) -> None:
        for write in writers:
            write(batch)

    return watch


def __getattr__(name: str) -> FastStream:
    """`app`, made when it is asked for: importing this module reads no settings."""
    if name != "app":
        raise AttributeError(name)
    try:
        made = build(Settings.load())
    except WrongSetting as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(2) from None
    globals()["app"] = made
    return made
