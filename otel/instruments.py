"""Every span, attribute and metric name, once. docs/tracing.md and docs/metrics.md explain them
to the on-call engineer.

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

# Metrics. What one consumer did:
EVENTS_METRIC = "region.events"
TIME_IN_STREAM_METRIC = "region.time_in_stream"
PROCESS_METRIC = "messaging.process.duration"
BATCH_METRIC = "region.batch.size"
RETRIES_METRIC = "region.retries"
RECLAIMED_METRIC = "region.reclaimed"
DEAD_LETTERS_METRIC = "region.dead_letters"
NEW_WORDS_METRIC = "region.new_words"
RECONNECTS_METRIC = "region.reconnects"
TRIMMED_METRIC = "region.stream.trimmed"
VANISHED_METRIC = "region.stream.vanished"
# How the whole group stands, the same from every consumer:
GROUP_METRIC = "region.group.present"
LENGTH_METRIC = "region.stream.length"
BACKLOG_METRIC = "region.backlog"
OLDEST_METRIC = "region.oldest_unprocessed.age"
PENDING_METRIC = "region.pending"
DELIVERIES_METRIC = "region.delivery_count.highest"
CONSUMERS_METRIC = "region.consumers"
LOST_METRIC = "region.stream.lost"
OPEN_LETTERS_METRIC = "region.dead_letters.open"
OLDEST_LETTER_METRIC = "region.dead_letters.oldest.age"
SNAPSHOT_AGE_METRIC = "region.snapshot.age"
SNAPSHOT_PRESENT_METRIC = "region.snapshot.present"
# Attributes of metrics alone
WORD_PATH = "region.word.path"
