"""The control connection between a gateway and its site: JSON objects, one a line, over mutual TLS 1.3.

Both ends know versions: the gateway says all it speaks, the site picks the highest it speaks too. Within a
version, fields and kinds of messages that an end does not know are left alone, so that a release more or less
on one side does no harm.
"""

import asyncio
import contextlib
import json
import ssl
from typing import Any, cast

from crossport import errors

__all__ = ["MAX_LINE", "PIECE", "SPOKEN", "Line", "agreed", "integer", "table", "text", "texts", "word"]

SPOKEN = (1,)
"""The versions of the control connection that this release speaks."""
MAX_LINE = 512 << 10
"""Bytes of a message at most: a worker's line of 256 KiB fits, with every letter of it escaped once."""
PIECE = 64 << 10
"""What is read at once; a stream that nobody reads keeps about twice as much."""
STALLED_S = 10.0
"""How long the other end may take no byte before it is given up: others must not wait for it."""
_CLOSE_S = 2.0


class Line:
    """One connection. It is no longer usable once a call raised Unavailable."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._read = bytearray()

    @property
    def tls(self) -> ssl.SSLObject | None:
        """The TLS session, for asking who the peer is."""
        return self._writer.get_extra_info("ssl_object")

    async def send(self, message: dict[str, Any]) -> None:
        """Send a message; raise Unavailable (``gateway.line.cut``) when the connection is gone.

        So it is (``gateway.line.stalled``) when the other end takes nothing for `STALLED_S`.
        Refused (``gateway.certificate.refused``) when the other end says that it does not trust this one.
        """
        data = json.dumps(message, separators=(",", ":")).encode() + b"\n"
        if len(data) > MAX_LINE:
            raise errors.Broken(
                "gateway.message.large", f"A message has {len(data)} bytes.", remedy=errors.SAME_RELEASE
            )
        try:
            self._writer.write(data)
            async with asyncio.timeout(STALLED_S):
                await self._writer.drain()
        except TimeoutError as error:
            self._writer.transport.abort()
            raise errors.Unavailable(
                "gateway.line.stalled", "The other end takes nothing.", remedy=errors.TRIED_AGAIN
            ) from error
        except OSError as error:
            raise _cut(error) from error

    async def receive(self, most: int = MAX_LINE) -> dict[str, Any]:
        """Return the next message, which has ``most`` bytes.

        Raise Unavailable (``gateway.line.cut``) when the connection ended, Refused
        (``gateway.certificate.refused``) when it ended for that, Broken for what is no message.
        """
        try:
            message = json.loads(await self._line(most))
        except (ValueError, RecursionError) as error:
            raise errors.Broken(
                "gateway.message.malformed", "The other end did not speak JSON.", remedy=errors.SAME_RELEASE
            ) from error
        if not isinstance(message, dict):
            raise errors.Broken(
                "gateway.message.malformed", "The other end sent no message.", remedy=errors.SAME_RELEASE
            )
        return message  # pyright: ignore[reportUnknownVariableType]

    async def _line(self, most: int) -> bytes:
        """Return what comes up to the next newline; what came behind it is kept."""
        searched = 0
        while (end := self._read.find(b"\n", searched)) < 0 and len(self._read) <= most:
            searched = len(self._read)
            try:
                piece = await self._reader.read(PIECE)
            except OSError as error:
                raise _cut(error) from error
            if not piece:
                raise _cut(None)
            self._read += piece
        if end < 0 or end > most:
            raise errors.Broken(
                "gateway.message.large", f"A message has over {most} bytes.", remedy=errors.SAME_RELEASE
            )
        line = bytes(self._read[:end])
        del self._read[: end + 1]
        return line

    async def close(self) -> None:
        """End the connection. May be called again."""
        self._writer.close()
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(_CLOSE_S):
                await self._writer.wait_closed()
        self._writer.transport.abort()


def agreed(spoken: object) -> int:
    """Return the highest version that both ends speak; raise Refused (``gateway.version.unknown``)."""
    offered = cast("list[Any]", spoken) if isinstance(spoken, list) else []
    common = [version for version in SPOKEN if version in offered]
    if not common:
        ours = " and ".join(map(str, SPOKEN))
        raise errors.Refused(
            "gateway.version.unknown",
            f"The gateway speaks the control connection in versions {offered}, the site in {ours}.",
            remedy="Update the older of the two: releases that follow one another understand each other.",
        )
    return max(common)


def text(message: dict[str, Any], name: str, *, most: int = MAX_LINE) -> str:
    """Return a text of a message; raise Broken where there is none, or one longer than ``most``."""
    value = message.get(name)
    if not isinstance(value, str) or len(value) > most:
        raise errors.Broken(
            "gateway.message.malformed", f"A message has no sound {name}.", remedy=errors.SAME_RELEASE
        )
    return value


def word(message: dict[str, Any], name: str, *, most: int) -> str:
    """Return a text that people are shown: it has nothing in it that moves a terminal's cursor."""
    value = text(message, name, most=most)
    if not value.isprintable():
        raise errors.Broken(
            "gateway.message.malformed", f"A message has no sound {name}.", remedy=errors.SAME_RELEASE
        )
    return value


def table(message: dict[str, Any], name: str) -> dict[str, Any]:
    """Return a table of a message, empty where it is not named; raise Broken for what is none."""
    value = message.get(name, {})
    if not isinstance(value, dict):
        raise errors.Broken(
            "gateway.message.malformed", f"A message has no sound {name}.", remedy=errors.SAME_RELEASE
        )
    return cast("dict[str, Any]", value)


def texts(message: dict[str, Any], name: str) -> tuple[str, ...]:
    """Return a list of texts of a message, empty where it is not named; raise Broken for what is none."""
    value = message.get(name, ())
    listed: list[Any] = list(cast("list[Any]", value)) if isinstance(value, list | tuple) else [None]
    if not all(isinstance(one, str) for one in listed):
        raise errors.Broken(
            "gateway.message.malformed", f"A message has no sound {name}.", remedy=errors.SAME_RELEASE
        )
    return tuple(listed)


def integer(message: dict[str, Any], name: str) -> int:
    """Return a count of a message; raise Broken where there is none."""
    value = message.get(name)
    if type(value) is not int or not 0 <= value < 1 << 53:
        raise errors.Broken(
            "gateway.message.malformed", f"A message has no sound {name}.", remedy=errors.SAME_RELEASE
        )
    return value


def _cut(error: OSError | None) -> errors.Error:
    if isinstance(error, ssl.SSLError) and "ALERT" in (error.reason or ""):
        return errors.Refused(
            "gateway.certificate.refused",
            f"The other end does not accept this end's certificate ({error.reason}).",
            remedy="It expired, or is of another site. Enroll the gateway again.",
        )
    said = error.strerror if error is not None and error.strerror else "it ended"
    return errors.Unavailable(
        "gateway.line.cut", f"The control connection is gone: {said}.", remedy=errors.TRIED_AGAIN
    )
