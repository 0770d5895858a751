"""The scanner for malware: a clamd of the site's operator, fed with one file after the other (INSTREAM).

A clamd passes in silence over what is larger than its own limits: so nothing larger than the site's own
limit is given to it, and whatever it says but OK is no pass.
"""

import asyncio
import contextlib
import re
import struct
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path

from crossport import errors
from crossport.model.failure import Failure
from crossport.units import size_text

__all__ = ["FILE_SIZE", "Clamd"]

FILE_SIZE = 25 << 20
"""Bytes of a file that a clamd scans as Debian sets it."""
CONNECT_S = 10.0
READY_S = 3.0
KEPT_S = 10.0
"""How long a clamd may take to say that it is ready, and how long that is believed: each dry run asks."""
ANSWER_S = 180.0
_MAX_ANSWER = 4096
_ANSWER = re.compile(r"stream: (?:(?P<found>\S.*) FOUND|OK)")
_LIMIT = "Heuristics.Limits.Exceeded"


class Clamd:
    """Implements `crossport.spi.inspect.Scanner` with the clamd at ``address``.

    That is a socket's path, or HOST:PORT. ``file_size`` is no more than its MaxFileSize, MaxScanSize and
    StreamMaxLength.
    """

    def __init__(self, address: str, file_size: int = FILE_SIZE, answer_s: float = ANSWER_S) -> None:
        self._address = address
        self._file_size = file_size
        self._answer_s = answer_s
        self._asking = asyncio.Lock()
        self._asked: float | None = None
        self._fault: Failure | None = None

    async def ready(self) -> None:
        """Ask whether it is there and takes files of ``file_size``; the answer is good for `KEPT_S`."""
        async with self._asking:
            now = asyncio.get_running_loop().time()
            if self._asked is None or now - self._asked > KEPT_S:
                self._fault = await self._asked_anew()
                self._asked = asyncio.get_running_loop().time()
        if self._fault is not None:
            raise self._fault.error()

    async def _asked_anew(self) -> Failure | None:
        try:
            async with asyncio.timeout(READY_S):
                await self._ping()
                await self._offer()
        except TimeoutError:
            return Failure.of(_away(self._address, f"it does not answer within {READY_S:.0f} s"))
        except errors.Error as error:
            return Failure.of(error)
        return None

    async def _ping(self) -> None:
        async with self._connected() as (reader, writer):
            writer.write(b"zPING\0")
            if (told := await self._answer(reader)) != "PONG":
                raise _away(self._address, f"it answers {told[:80]!r}")

    async def _offer(self) -> None:
        """Announce as much as it may get and send nothing of it: a clamd judges that word first."""
        async with self._connected() as (reader, writer):
            writer.write(b"zINSTREAM\0" + struct.pack(">I", self._file_size))
            writer.write_eof()
            with contextlib.suppress(ConnectionError):  # it hung up, and had nothing to say
                told = await reader.read(_MAX_ANSWER)
                if b"limit exceeded" in told:
                    raise _small(self._file_size)

    async def scan(self, path: str, size: int, pieces: AsyncIterator[bytes]) -> None:
        """Have it scan a file."""
        if size > self._file_size:
            raise _left(
                path, f"it has {size_text(size)}, and clamd_file_size is {size_text(self._file_size)}"
            )
        async with self._connected() as (reader, writer):
            writer.write(b"zINSTREAM\0")
            told = ""
            try:
                async for piece in pieces:
                    writer.write(struct.pack(">I", len(piece)) + piece)
                    await self._drained(writer)
                writer.write(bytes(4))
                await self._drained(writer)
            except ConnectionError:  # it said why before it hung up
                told = await self._answer(reader)
            self._judge(path, told or await self._answer(reader))

    def _judge(self, path: str, told: str) -> None:
        answer = _ANSWER.fullmatch(told)
        if answer is None and "limit exceeded" in told:
            raise _left(path, "it is larger than StreamMaxLength of that clamd")
        if answer is None:
            raise errors.Refused(
                "image.scan.failed",
                f"clamd did not scan {path} of the guest: it answers {told[:120]!r}.",
                field="clamd",
                remedy="Look into the log of that clamd; then migrate again.",
            )
        if (found := answer["found"]) and found.startswith(_LIMIT):
            raise _left(path, f"clamd stopped at a limit of its own ({found[:80]})")
        if found:
            raise errors.Refused(
                "image.malware",
                f"clamd finds {found[:120]} in {path} of the guest.",
                field="own_checks",
                remedy="Clean the guest at its source, then migrate again. If it is none, let that clamd "
                "ignore the signature.",
            )

    @contextlib.asynccontextmanager
    async def _connected(self) -> AsyncGenerator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        try:
            async with asyncio.timeout(CONNECT_S):
                reader, writer = await self._dialled()
        except (OSError, TimeoutError) as error:
            raise _away(self._address, str(error) or "it does not take the connection") from error
        try:
            yield reader, writer
        finally:
            writer.close()
            with contextlib.suppress(OSError):  # it hung up first: its answer was read, or is missed already
                await writer.wait_closed()

    async def _dialled(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if Path(self._address).is_absolute():
            return await asyncio.open_unix_connection(self._address, limit=_MAX_ANSWER)
        host, _, port = self._address.rpartition(":")
        return await asyncio.open_connection(host.strip("[]"), int(port), limit=_MAX_ANSWER)

    async def _drained(self, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(self._answer_s):
                await writer.drain()
        except TimeoutError as error:
            raise _away(self._address, "it takes nothing any more") from error

    async def _answer(self, reader: asyncio.StreamReader) -> str:
        try:
            async with asyncio.timeout(self._answer_s):
                told = await reader.readuntil(b"\0")
        except (OSError, TimeoutError, EOFError, asyncio.LimitOverrunError) as error:
            raise _away(self._address, "it gives no answer") from error
        text = told[:-1].decode("utf-8", "replace").strip()
        return "".join(one if one.isprintable() else "?" for one in text)


def _away(address: str, why: str) -> errors.Unavailable:
    return errors.Unavailable(
        "image.scan.away",
        f"The clamd at {address} cannot be asked: {why}.",
        field="clamd",
        remedy="Start it, or correct the setting clamd. No guest comes in unscanned meanwhile.",
    )


def _left(path: str, why: str) -> errors.Refused:
    return errors.Refused(
        "image.scan.left",
        f"{path} of the guest is not scanned: {why}.",
        field="clamd_file_size",
        remedy="Raise clamd_file_size, and StreamMaxLength, MaxFileSize and MaxScanSize in clamd.conf; or "
        "remove the file at the source.",
    )


def _small(file_size: int) -> errors.Refused:
    lines = ", ".join(f"{name} {file_size}" for name in ("StreamMaxLength", "MaxFileSize", "MaxScanSize"))
    return errors.Refused(
        "image.scan.limit",
        f"That clamd takes less than {size_text(file_size)} (clamd_file_size) at once: it would not scan "
        "what is larger.",
        field="clamd_file_size",
        remedy=f"Write these lines into its clamd.conf and start it again: {lines}. Or lower "
        "clamd_file_size, and guests with larger files stay out.",
    )
