"""Type one command at the root shell on a guest's serial console, and read what it answers.

The text goes into the guest's serial line and nowhere else: no program of this machine ever sees it as a
command. It is typed only when the console shows a prompt, because a boot loader reads what is typed too. A
mark that nobody can foresee stands before and behind the output, so that neither the echo of the line nor
what else is printed is taken for the answer. QEMU talks to one visitor at a time; the next one waits.
"""

import asyncio
import contextlib
import re
from pathlib import Path

from crossport.hypervisor import unix_socket
from crossport.model.record import record

__all__ = ["TYPING_S", "Silence", "Typed", "typed"]

TYPING_S = 10.0
"""How long prompt, command and answer may take together."""

_LARGEST_ANSWER = 256 * 1024
_CONTROL_SEQUENCE = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]")
_INTERRUPT = b"\x03"


class Silence(Exception):
    """Nobody answered; the text says what was waited for."""


@record()
class Typed:
    """What a command printed, and its exit status."""

    status: int
    output: str


async def typed(console: Path, command: str, *, nonce: str) -> Typed:
    """Type ``command`` at the socket ``console``; return what followed. ``nonce`` is fresh random text.

    Raise Silence when there is no prompt or no answer within `TYPING_S`, OSError when nobody can type there.
    A command that takes longer is interrupted, as Ctrl-C does.
    """
    link = unix_socket.connected(console, timeout_s=TYPING_S)
    link.setblocking(False)
    reader, writer = await asyncio.open_unix_connection(sock=link)
    try:
        return await _answered(reader, writer, command, nonce)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _answered(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, command: str, nonce: str
) -> Typed:
    waited_for = "a prompt of a root shell"
    try:
        async with asyncio.timeout(TYPING_S):
            writer.write(b"\n")
            await _until(reader, re.compile(rb"#\s*\Z"))
            waited_for = "the end of the command"
            # The quotes keep the echo of this line from looking like the mark itself.
            line = f"echo CROSSPORT-''{nonce}; {command}; echo CROSSPORT-$?-{nonce}\n"
            writer.write(line.encode("ascii"))
            begin = re.compile(rb"CROSSPORT-%b\r*\n" % nonce.encode())
            end = re.compile(rb"CROSSPORT-(\d{1,3})-%b" % nonce.encode())
            # One after the other: a guest that prints beginnings without end would make one pattern for both
            # compare each of them with all that follows.
            first = await _until(reader, begin)
            found = await _until(reader, end, first.string[first.end() :])
    except TimeoutError as error:
        if waited_for.startswith("the end"):
            # What hangs, or is an unfinished line, must not swallow the next command.
            writer.write(_INTERRUPT)
        raise Silence(f"{waited_for} within {TYPING_S:.0f} s") from error
    output = found.string[: found.start()].decode(errors="replace").replace("\r", "")
    return Typed(status=int(found[1]), output=output)


async def _until(
    reader: asyncio.StreamReader, wanted: re.Pattern[bytes], seen: bytes = b""
) -> re.Match[bytes]:
    """Read until ``wanted`` is found in ``seen`` and the last part of what is printed from now on."""
    while not (found := wanted.search(_CONTROL_SEQUENCE.sub(b"", seen))):
        piece = await reader.read(65536)
        if not piece:
            raise ConnectionResetError("the console closed")
        seen = (seen + piece)[-_LARGEST_ANSWER:]
    return found
