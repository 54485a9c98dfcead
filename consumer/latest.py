"""The newest snapshots, of all regions in two round trips."""

from collections.abc import Sequence
from typing import NamedTuple

from pydantic_core import from_json

from consumer import keys
from consumer.link import Link


class Newest(NamedTuple):
    """A region's newest snapshot. state: `ok`, `none` (nothing was ever persisted, or its pointer
    has expired), `missing` (there is a pointer, and the snapshot behind it is gone)."""

    region: str
    state: str
    snapshot_id: str = ""
    raw: bytes = b""

    @property
    def generated_at(self) -> int | None:
        """ms since the epoch."""
        return int(from_json(self.raw)["generated_at"]) if self.raw else None


async def newest(link: Link, regions: Sequence[str]) -> list[Newest]:
    """The newest snapshot of each region, in order: one MGET of the pointers, one of the JSON.

    Raises redis.RedisError when the server cannot be reached or refuses.
    """
    if not regions:
        return []
    pointers = await link.one("MGET", *map(keys.latest, regions))
    named = [pointer.decode() for pointer in pointers if pointer]
    documents = iter(await link.one("MGET", *map(keys.by_id, named)) if named else [])
    found = []
    for region, pointer in zip(regions, pointers, strict=True):
        if pointer is None:
            found.append(Newest(region, "none"))
        else:
            raw = next(documents)
            found.append(Newest(region, "ok" if raw else "missing", pointer.decode(), raw or b""))
    return found
