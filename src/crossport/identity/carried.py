"""What people carry from a site to another machine: a record as one line, with its version in front."""

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from crossport import errors
from crossport.model import codec

__all__ = ["Carried"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Carried(Generic[T]):
    """Lines of one kind, which begin with ``prefix`` and ``version``.

    ``unreadable`` is what is raised for a text that is none, with the reason; ``newer`` for one of a later
    version.
    """

    kind: type[T]
    prefix: str
    version: int
    unreadable: Callable[[str], errors.Error]
    newer: Callable[[int], errors.Error]

    def packed(self, value: T) -> str:
        """Return the record as one line."""
        text = codec.encoded(value).encode()
        return f"{self.prefix}{self.version}.{base64.urlsafe_b64encode(text).decode()}"

    def unpacked(self, text: str) -> T:
        """Read a line of `packed`."""
        head, _, body = text.strip().partition(".")
        version = head.removeprefix(self.prefix)
        if not head.startswith(self.prefix) or not version.isdecimal():
            raise self.unreadable("It does not begin as one.")
        if int(version) > self.version:
            raise self.newer(int(version))
        try:
            return codec.decoded(base64.urlsafe_b64decode(body), self.kind)
        except (binascii.Error, ValueError, errors.Invalid) as error:
            raise self.unreadable("It is damaged.") from error
