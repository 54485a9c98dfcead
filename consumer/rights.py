"""What each kind of user needs on the server, and nothing else: the source of the ACL file.

`deploy/users.acl` is written from this, `regions doctor` asks the server for it, and tests prove
that each user can do its work with it.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from consumer import keys
from consumer.journal import journal_of
from consumer.settings import Settings


class Role(NamedTuple):
    """commands: ACL rules; reads and writes: key patterns."""

    commands: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]


# What redis-py says on a new connection.
_HELLO = "+hello +auth +ping +select"
_SCRIPTS = "+evalsha +evalsha_ro +script|load"
_LOOK = (
    f"{_SCRIPTS} +time +exists +get +mget +ttl +type +xlen +xrange +xrevrange +xread +xinfo "
    "+xpending +zrevrange +zscore +zrangebyscore"
)


def roles(settings: Settings) -> dict[str, Role]:
    """By name: producer, consumer, reader, operator."""
    stream, dead = settings.stream, settings.dead_stream
    journal, survey = journal_of(stream), keys.survey(stream, settings.group)
    audit, snapshots = keys.audit(dead), keys.patterns()
    everything = (stream, dead, journal, survey, audit, *snapshots)
    return {
        # XADD, in a transaction, and the journal, for --wait. Publishing with durable=True needs
        # `+waitaof +info +command|info` as well; Redis 7.0 does not know the first of them.
        "producer": Role(
            "+xadd +multi +exec +xread",
            (journal,),
            (stream,),
        ),
        "consumer": Role(
            f"{_SCRIPTS} +xreadgroup +xgroup|create +xgroup|delconsumer +xack +xadd +xpending "
            "+xautoclaim +xclaim +xinfo +xtrim +xlen +xrange +zadd +zremrangebyscore +zrevrange "
            "+set +get +del +exists +time",
            everything,
            (stream, dead, journal, survey, *snapshots),
        ),
        "reader": Role(_LOOK, everything, ()),
        # Dead letters: back on the stream, away, and back again; and a look at the server.
        "operator": Role(
            f"{_LOOK} +xadd +xdel +info +config|get +acl|whoami +acl|dryrun +command|info",
            everything,
            (stream, dead, audit),
        ),
    }


def rule(name: str, role: Role, password_sha256: str) -> str:
    """One line of an ACL file. Nothing but `user` lines may stand in it, no comment either."""
    both = sorted(set(role.reads) & set(role.writes))
    only_read = sorted(set(role.reads) - set(role.writes))
    only_write = sorted(set(role.writes) - set(role.reads))
    patterns = [
        *(f"~{pattern}" for pattern in both),
        *(f"%R~{pattern}" for pattern in only_read),
        *(f"%W~{pattern}" for pattern in only_write),
    ]
    keyed = " ".join(patterns)
    return f"user {name} on #{password_sha256} resetchannels {keyed} -@all {_HELLO} {role.commands}"


def acl_file(settings: Settings, passwords: Mapping[str, str]) -> str:
    """A whole ACL file; passwords: sha256, in hex, by role. Unknown clients may say PING."""
    lines = ["user default on nopass resetchannels -@all +ping"]
    lines += [rule(name, role, passwords[name]) for name, role in roles(settings).items()]
    return "\n".join(lines) + "\n"


def needed(settings: Settings, role: str) -> Sequence[tuple[str, ...]]:
    """Commands to ask ACL DRYRUN about: each that the role runs, on each kind of key."""
    stream, group, dead = settings.stream, settings.group, settings.dead_stream
    region = settings.shown_regions[0]
    key = {
        "STREAM": stream, "GROUP": group, "DEAD": dead, "JOURNAL": journal_of(stream),
        "SURVEY": keys.survey(stream, group), "AUDIT": keys.audit(dead),
        "INDEX": keys.index(region), "BY_ID": keys.by_id("x"), "LATEST": keys.latest(region),
        "DEDUP": keys.dedup(region, "x", 0), "LIVE": keys.live(region), "SHA": "0" * 40,
    }  # fmt: skip
    return [tuple(line.split()) for line in _NEEDED[role].format(**key).strip().splitlines()]


_NEEDED = {
    "producer": """
        XADD {STREAM} * f v
        MULTI
        EXEC
        XREAD STREAMS {JOURNAL} 0""",
    "consumer": """
        EVALSHA {SHA} 1 {STREAM}
        SCRIPT LOAD return
        XREADGROUP GROUP {GROUP} c STREAMS {STREAM} >
        XGROUP CREATE {STREAM} {GROUP} 0
        XGROUP DELCONSUMER {STREAM} {GROUP} c
        XACK {STREAM} {GROUP} 0-1
        XADD {DEAD} * f v
        XADD {JOURNAL} * f v
        XPENDING {STREAM} {GROUP}
        XAUTOCLAIM {STREAM} {GROUP} c 1 0
        XCLAIM {STREAM} {GROUP} c 1 0-1
        XINFO STREAM {STREAM}
        XTRIM {STREAM} MINID 0
        XRANGE {STREAM} - +
        XLEN {DEAD}
        ZADD {INDEX} 1 m
        ZREMRANGEBYSCORE {INDEX} 0 1
        ZREVRANGE {INDEX} 0 0
        EXISTS {BY_ID}
        GET {DEDUP}
        SET {BY_ID} v
        SET {LATEST} v
        SET {DEDUP} v
        SET {SURVEY} v
        DEL {LIVE}
        TIME""",
    "reader": """
        EVALSHA_RO {SHA} 1 {STREAM}
        MGET {LATEST} {BY_ID}
        XINFO GROUPS {STREAM}
        XRANGE {DEAD} - +
        XREAD STREAMS {JOURNAL} 0
        ZREVRANGE {INDEX} 0 0""",
    "operator": """
        EVALSHA {SHA} 1 {DEAD}
        EVALSHA_RO {SHA} 1 {STREAM}
        XADD {STREAM} * f v
        XADD {DEAD} * f v
        XADD {AUDIT} * f v
        XDEL {DEAD} 0-1
        XRANGE {DEAD} - +
        INFO
        CONFIG GET appendfsync""",
}
