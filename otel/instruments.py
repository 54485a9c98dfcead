"""Every span and attribute name, once. docs/tracing.md explains them to the on-call engineer.

Names of OpenTelemetry's own follow its semantic conventions for messaging and databases; a test
compares them with the conventions package. Names of ours begin with `region.`, `snapshot.` or
`cycle.`.
"""

SCOPE = "region-stream"
PRODUCER_SERVICE = "region-producer"
CONSUMER_SERVICE = "region-consumer"


def send_span(stream: str) -> str:
    return f"send {stream}"


def process_span(stream: str) -> str:
    return f"process {stream}"


PERSIST_SPAN = "persist"

# OpenTelemetry's
SYSTEM = "messaging.system"
DESTINATION = "messaging.destination.name"
OPERATION_NAME = "messaging.operation.name"
OPERATION_TYPE = "messaging.operation.type"
MESSAGE_ID = "messaging.message.id"
BODY_SIZE = "messaging.message.body.size"
GROUP = "messaging.consumer.group.name"
CLIENT_ID = "messaging.client.id"
BATCH_COUNT = "messaging.batch.message_count"
DB_SYSTEM = "db.system.name"
DB_OPERATION = "db.operation.name"
DB_PROCEDURE = "db.stored_procedure.name"
DB_BATCH_SIZE = "db.operation.batch.size"
ERROR_TYPE = "error.type"

# Ours
REGION = "region.id"
SNAPSHOT = "snapshot.id"
GENERATED_AT = "snapshot.generated_at"
OUTCOME = "region.outcome"
OTHER = "region.other"
ATTEMPT = "region.delivery_attempt"
NEW_WORDS = "region.new_words"
CYCLE = "cycle.id"
REASON = "region.dead_letter.reason"
STAGE = "region.dead_letter.stage"
PATHS = "region.dead_letter.paths"
DEAD_ID = "region.dead_letter.id"
RETRY_EVENT = "retry"
LINK_KIND = "region.link"

REDIS = "redis"
