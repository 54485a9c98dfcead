"""The contract as documents: AsyncAPI (FastStream's), and the snapshot's JSON Schema."""

import json
from importlib.metadata import version
from typing import Any

from faststream.redis import RedisBroker, StreamSub
from faststream.specification.asyncapi import AsyncAPI
from pydantic import TypeAdapter
from typing_extensions import TypedDict

from consumer.settings import Settings
from consumer.snapshot import Snapshot

# The entry's other fields, as AsyncAPI calls them.
FIELDS = {
    "type": "object",
    "properties": {
        "traceparent": {"type": "string", "description": "W3C Trace Context"},
        "tracestate": {"type": "string", "description": "W3C Trace Context"},
        "cycle": {"type": "string", "description": "The producer's run, at most 256 characters"},
    },
}


class DeadLetter(TypedDict):
    """docs/dead-letters.md explains the fields; the entry's own follow as `event.*`."""

    reason: str
    stage: str
    error_type: str
    error_message: str
    error_paths: str
    failed_at: str
    first_seen_at: str
    deliveries: str
    redrives: str
    consumer: str
    source_stream: str
    source_group: str
    source_id: str
    region: str
    snapshot_id: str
    fingerprint: str
    traceparent: str
    version: str


def asyncapi(settings: Settings) -> dict[str, Any]:
    """AsyncAPI 3.0: what is received and what is sent. It names no server of yours."""
    # Beside the consumer's broker, whose handlers take raw batches: here the message is the point.
    broker = RedisBroker("redis://localhost:6379/0")

    @broker.subscriber(
        stream=StreamSub(settings.stream, group=settings.group, consumer="consumer"),
        title="RegionEvents",
        description="One stream entry per region: the field `snapshot` holds this document as "
        "UTF-8 JSON; the headers are further fields, all of them optional.",
    )
    async def persist(snapshot: Snapshot) -> None: ...

    broker.publisher(
        stream=settings.dead_stream,
        title="DeadLetters",
        description="What cannot be persisted, and why; the entry's own fields as `event.*`.",
        schema=DeadLetter,
    )
    made = AsyncAPI(
        broker,
        title="region-stream",
        version=version("region-stream"),
        description="Regional snapshots as events.",
    )
    document: dict[str, Any] = json.loads(made.to_specification().to_json())
    for name, of in (
        ("RegionEvents:SubscribeMessage", "Snapshot"),
        ("DeadLetters:Message", "DeadLetter"),
    ):
        message = document["components"]["messages"][name]
        # FastStream takes the first of a nested schema's definitions for the whole.
        message["payload"] = {"$ref": f"#/components/schemas/{of}"}
        # Its default, a header of its own envelope: our entries are correlated by their trace.
        message["correlationId"] = {"location": "$message.header#/traceparent"}
    document["components"]["messages"]["RegionEvents:SubscribeMessage"]["headers"] = FIELDS
    return document


def snapshot_schema() -> dict[str, Any]:
    """JSON Schema 2020-12 of a snapshot. What it cannot say is in docs/publishing.md: times not a
    day ahead, probabilities that add up."""
    schema = TypeAdapter(Snapshot).json_schema()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Snapshot",
        **schema,
    }
