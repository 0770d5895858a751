"""A stock that is open to a process: what its host hands to a worker."""

from dataclasses import dataclass, field

__all__ = ["Access"]


@dataclass(frozen=True, slots=True)
class Access:
    """Descriptors of the two files of a stock, the size of the first in bytes, and the key."""

    chunks: int
    table: int
    size: int
    key: bytes = field(repr=False)
