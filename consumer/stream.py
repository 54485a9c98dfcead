"""FastStream glue: subscribers that hand whole batches of raw entries to the pipeline."""

from typing import Any

from faststream import AckPolicy
from faststream.redis import StreamSub
from faststream.redis.message import FAKE_CONSUMER, RedisBatchStreamMessage

from consumer.decode import Entry
from consumer.pipeline import Pipeline
from consumer.reader import BLOCK_MS, PatientBroker
from consumer.settings import Settings


async def raw_batch(message: Any) -> RedisBatchStreamMessage:
    """Our parser: FastStream's own would parse and dump every JSON (a quarter of the speed)."""
    return RedisBatchStreamMessage(
        raw_message=message, body=b"", consumer=FAKE_CONSUMER, group=None
    )


async def entries_of(message: RedisBatchStreamMessage) -> list[Entry]:
    """Our decoder: what the handler is given."""
    raw = message.raw_message
    return [
        Entry(identifier.decode(), fields)
        for identifier, fields in zip(raw["message_ids"], raw["data"], strict=True)
    ]


def subscribe(broker: PatientBroker, pipeline: Pipeline, settings: Settings) -> None:
    """Several subscribers: while one writes its batch, the next one fetches."""

    async def handle(entries: list[Entry]) -> None:
        await pipeline.process(entries)

    for number in range(1, settings.subscribers + 1):
        subscriber = broker.subscriber(
            stream=StreamSub(
                settings.stream,
                group=settings.group,
                consumer=settings.consumer,
                batch=True,
                max_records=settings.batch,
                polling_interval=BLOCK_MS,
            ),
            parser=raw_batch,
            decoder=entries_of,
            ack_policy=AckPolicy.MANUAL,
            title=f"{settings.stream}:{settings.group}:{number}",
        )
        subscriber(handle)
