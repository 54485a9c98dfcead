"""The same work for every system: snapshots, the pre-filled stream, and proof that it was done."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import hiredis
import redis

from consumer import keys
from consumer.events import REGIONS
from consumer.snapshot import TRIGGER_REASONS
from producers import samples

STREAM, GROUP, DEAD = "region-events", "region-persisters", "region-events:dead"
# The same for the processes of one run: they make the same snapshots.
NOW_MS = int(os.environ.setdefault("REGIONS_BENCH_NOW", str(time.time_ns() // 1_000_000)))
REASONS = sorted(TRIGGER_REASONS)
BUCKETS = 8_000
TEMPLATES = 64
_AT, _ID, _REASON = b'"generated_at":%d' % NOW_MS, b"@@the-id@@", b"@@reason@@"


@dataclass
class Work:
    """`count` snapshots of about 8 KB, each with an id and (up to 320 000) a dedup bucket of its
    own. The JSON is patched, not generated anew: a million of them take seconds to make."""

    count: int
    templates: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        for n in range(TEMPLATES):
            document = samples.snapshot(REGIONS[n % 8], NOW_MS, seed=n, evidence=15)
            document["meta"]["snapshot_id"] = _ID.decode()
            document["meta"]["trigger_reason"] = _REASON.decode()
            self.templates.append(samples.to_json(document))

    def identity(self, n: int) -> tuple[str, int, str, str]:
        """(region, generated_at, trigger reason, snapshot id) of the n-th."""
        at = NOW_MS - (n // 40 % BUCKETS) * keys.BUCKET_MS
        return REGIONS[n % 8], at, REASONS[n // 8 % 5], f"{at:012x}-{n:012x}"

    @staticmethod
    def entry_id(n: int) -> str:
        """Of today: a retention that runs meanwhile leaves them alone."""
        return f"{NOW_MS}-{n + 1}"

    @property
    def last(self) -> str:
        return self.entry_id(self.count - 1)

    def raw(self, n: int) -> bytes:
        _, at, reason, snapshot_id = self.identity(n)
        return (
            self.templates[n % TEMPLATES]
            .replace(_AT, b'"generated_at":%d' % at)
            .replace(_ID, snapshot_id.encode())
            .replace(_REASON, reason.encode())
        )

    def raws(self) -> Iterator[bytes]:
        return map(self.raw, range(self.count))

    def fill(
        self,
        client: redis.Redis,
        *,
        reset: bool = True,
        start: int = 0,
        batch: int = 500,
        name: bytes = b"snapshot",
    ) -> None:
        """An empty server, a group, and the stream full of it (from the `start`-th on), in fields
        of that name."""
        if reset:
            client.flushall()
            client.xgroup_create(STREAM, GROUP, "0", mkstream=True)
        connection = client.connection_pool.get_connection()
        try:
            for first in range(start, self.count, batch):
                numbers = range(first, min(first + batch, self.count))
                commands = [
                    hiredis.pack_command(("XADD", STREAM, self.entry_id(n), name, self.raw(n)))
                    for n in numbers
                ]
                connection.send_packed_command(commands)
                for _ in numbers:
                    connection.read_response()
        finally:
            client.connection_pool.release(connection)

    def check(self, client: redis.Redis, count: int | None = None) -> None:
        """Every one is persisted, with all that belongs to it, and nothing is dead or pending."""
        count = count or self.count
        for start in range(0, count, 1000):
            numbers = range(start, min(start + 1000, count))
            names = [keys.by_id(self.identity(n)[3]) for n in numbers]
            assert client.exists(*names) == len(names), "a snapshot is missing"
        assert sum(client.zcard(keys.index(region)) for region in REGIONS) >= count
        assert client.xlen(DEAD) == 0, "something was dead-lettered"


def settled(client: redis.Redis, last: str) -> bool:
    """Everything up to `last` was delivered and nothing is pending."""
    group = client.xinfo_groups(STREAM)[0]
    return bool(group["pending"] == 0 and group["last-delivered-id"] == last.encode())
