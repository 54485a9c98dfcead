"""What an operator sets, from the environment or a `.env` file; frozen once read."""

import os
import secrets
import socket
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from redis.asyncio.connection import parse_url

from consumer.events import REGIONS, Rules


def _own_name() -> str:
    """Unique in the group: two consumers of one name would take each other's entries."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"


class WrongSetting(ValueError):
    """One line that says which variable is wrong and what it should be."""


class Settings(BaseSettings):
    """Read `Settings.load()`. Units are in the names: `_s`, `_ms`, `_bytes`, `_days`."""

    model_config = SettingsConfigDict(
        env_prefix="REGIONS_",
        env_file=".env",
        extra="ignore",
        frozen=True,
        populate_by_name=True,
    )

    redis_url: str = Field("redis://localhost:6379/0", validation_alias="REDIS_URL", repr=False)
    stream: str = Field("region-events", min_length=1)
    group: str = Field("region-persisters", min_length=1)
    dead_stream: str = Field("region-events:dead", min_length=1)
    allowed: Annotated[frozenset[str] | None, NoDecode] = frozenset(REGIONS)
    consumer: str = Field(default_factory=_own_name, max_length=256)
    batch: int = Field(256, ge=1, le=10_000)
    # Three: one reads, one checks, one waits for its writes (docs/decisions/0009).
    subscribers: int = Field(3, ge=1, le=32)
    max_bytes: int = Field(1_048_576, ge=1_024, le=256 * 1_048_576)
    dedup_window_s: int = Field(900, ge=1)
    keep_days: int = Field(90, ge=1)
    retry_s: float = Field(30, ge=0)
    idle_ms: int = Field(60_000, ge=100)
    # 1 is the first read, 2 the takeover with its batch, 3 alone: below that, a message that
    # kills its consumer would take its batch along into the dead letters.
    max_deliveries: int = Field(5, ge=3)
    retain_s: int = Field(86_400, ge=0)
    transaction: int = Field(500, ge=1)
    jaeger_url: str = ""
    http: str = "127.0.0.1:0"
    grace_s: float = Field(15, gt=0)
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @field_validator("redis_url")
    @classmethod
    def _known_scheme(cls, url: str) -> str:
        if urlsplit(url).scheme not in {"redis", "rediss", "unix"}:
            raise ValueError("must begin with redis://, rediss:// or unix://")
        try:
            parse_url(url)
        except ValueError:
            raise ValueError("cannot be read: redis://[user:password@]host[:port][/db]") from None
        return url

    @field_validator("allowed", mode="before")
    @classmethod
    def _split_regions(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        if value.strip() == "*":
            return None
        return frozenset(filter(None, (part.strip() for part in value.split(","))))

    @field_validator("consumer")
    @classmethod
    def _unique_consumer(cls, name: str) -> str:
        return name or _own_name()

    @field_validator("http")
    @classmethod
    def _host_and_port(cls, value: str) -> str:
        host, _, port = value.rpartition(":")
        if value != "off" and not (host and port.isdecimal() and int(port) < 65_536):
            raise ValueError("must be HOST:PORT (port 0 takes a free one), or off")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.idle_ms <= self.retry_s * 1000:
            raise ValueError(
                f"REGIONS_IDLE_MS ({self.idle_ms}) must exceed the retry budget REGIONS_RETRY_S "
                f"({self.retry_s:g} s): a slower consumer would be taken for a dead one"
            )
        if self.dead_stream == self.stream:
            raise ValueError("REGIONS_DEAD_STREAM must differ from REGIONS_STREAM")
        return self

    @property
    def rules(self) -> Rules:
        return Rules(self.allowed, self.max_bytes)

    @property
    def shown_regions(self) -> tuple[str, ...]:
        """Those that are counted and shown one by one: the allowed ones, in the usual order."""
        if self.allowed is None:
            return REGIONS
        ours = [region for region in REGIONS if region in self.allowed]
        return (*ours, *sorted(self.allowed.difference(REGIONS)))

    @classmethod
    def load(cls, **given: object) -> "Settings":
        """The settings of this process; what is given (not None) wins over the environment.

        Raises WrongSetting with one line; it never shows the value of REDIS_URL.
        """
        try:
            known = {name: value for name, value in given.items() if value is not None}
            return cls(**known)  # type: ignore[arg-type]
        except ValidationError as error:
            raise WrongSetting(_one_line(error)) from None


def _one_line(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=True, include_context=False)[0]
    text = first["msg"].removeprefix("Value error, ")
    if not first["loc"]:
        return text
    name = str(first["loc"][0]).upper()
    if name == "REDIS_URL":
        return f"REDIS_URL {text[0].lower()}{text[1:]}"
    return f"REGIONS_{name} is {str(first['input'])[:60]!r}: {text[0].lower()}{text[1:]}"
