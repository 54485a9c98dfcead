"""What publishing may raise."""

from consumer.events import Fault


class InvalidSnapshots(ValueError):
    """Nothing was sent. `faults`: (position in the iterable, what is wrong) of each bad one."""

    def __init__(self, faults: list[tuple[int, Fault]]) -> None:
        self.faults = faults
        position, fault = faults[0]
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        super().__init__(f"snapshot {position}: {fault.message}{more}")


class PublishFailed(RuntimeError):
    """The server did not take the snapshots within the retry budget. `sent` were taken before."""

    def __init__(self, message: str, sent: list[str]) -> None:
        self.sent = sent
        super().__init__(message)


class NotDurable(PublishFailed):
    """The server took the snapshots but cannot confirm that they are on its disk."""
