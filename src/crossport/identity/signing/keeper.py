"""The control plane's side of the signer: it starts the process, confined, asks it, and starts it again.

The process is a user of its own where the control plane is root, has no network, and sees Python, this
package and its own directory. The control plane reads nothing there; it holds the socket, so that a question
that comes while the process is started anew waits there.
"""

import asyncio
import base64
import contextlib
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeAlias

from crossport import errors
from crossport.hypervisor import confine, unix_socket
from crossport.hypervisor.own_program import own_program
from crossport.identity.signing.desk import Authority, Start
from crossport.identity.signing.placed import SealPlace, admitting
from crossport.identity.signing.question import (
    HEAD,
    Answer,
    AskConversion,
    AskHead,
    AskKeys,
    AskRevoke,
    AskRotate,
    AskSeal,
    AskStatement,
    Question,
    framed,
    size_in,
)
from crossport.model import codec

__all__ = ["Ask", "Asked", "Keeper", "SIGNER"]

Ask: TypeAlias = AskKeys | AskRotate | AskRevoke | AskSeal | AskConversion | AskStatement | AskHead
SIGNER = confine.NOBODY + 1
"""The signer's uid: no worker has it, so that none can read its files."""
PATIENCE_S = 60.0
_LIMITS = confine.Limits(address_space=1 << 30, cpu_s=None, file_size=64 << 20, open_files=64)


class Asked(Protocol):
    """Who answers as the signer does."""

    async def ask(self, ask: Ask) -> bytes:
        """Return the answer; raise what the signer refuses with."""
        ...


class Keeper:
    """One signer, started at the first question. `close` ends it. ``authority`` is what it measures by."""

    def __init__(
        self, directory: Path, authority: Callable[[], Authority], seal: SealPlace | None = None
    ) -> None:
        """Let the signer keep what it has in ``directory``; its socket lies beside it.

        The key of seals lies at ``seal``, else there, too.
        """
        self._seal = seal
        self._directory = directory
        self._socket = directory.with_name(f"{directory.name}.socket")
        self.authority = authority
        self._listener: socket.socket | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._asking = asyncio.Lock()

    @property
    def pid(self) -> int | None:
        """The process that confines the signer, None when there is none."""
        return self._process.pid if self._process and self._process.returncode is None else None

    async def ask(self, ask: Ask) -> bytes:
        """Return the answer. Raise what the signer refuses with, and Unavailable when it is gone or hangs.

        What was asked when it died may have been done; it goes on from there at the next question.
        """
        async with self._asking:
            process = await self._running()
            ended = asyncio.create_task(process.wait())
            answering = asyncio.create_task(self._answer(Question(ask=ask)))
            try:
                await asyncio.wait(
                    (ended, answering), timeout=PATIENCE_S, return_when=asyncio.FIRST_COMPLETED
                )
                if not answering.done():
                    raise await self._gone(hangs=not ended.done())
                return await answering
            finally:
                for task in (ended, answering):
                    task.cancel()
                await asyncio.gather(ended, answering, return_exceptions=True)

    async def close(self) -> None:
        """End the signer. May be called again."""
        await self._end()
        if self._listener:
            self._listener.close()
            self._listener = None
            self._socket.unlink(missing_ok=True)

    async def _running(self) -> asyncio.subprocess.Process:
        if self._process is None or self._process.returncode is not None:
            self._process = await self._started()
        return self._process

    async def _started(self) -> asyncio.subprocess.Process:
        as_root = os.geteuid() == 0
        await asyncio.to_thread(self._prepare, as_root=as_root)
        if self._listener is None:
            self._listener = unix_socket.listening(self._socket)
        number = self._listener.fileno()
        confinement = confine.Confinement(
            read=own_program(), write=(self._directory,), limits=_LIMITS, uid=SIGNER, gid=SIGNER
        )
        if self._seal:
            confinement = admitting(confinement, self._seal)
        argv = [sys.executable, "-IB", "-m", "crossport.app.signer", str(number), str(self._directory)]
        try:
            process = await asyncio.create_subprocess_exec(
                *confine.command(argv, confinement, as_root=as_root),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.DEVNULL,
                pass_fds=(number,),
            )
        except FileNotFoundError as error:
            raise errors.Unavailable(
                "hypervisor.tool.missing",
                "bubblewrap is not installed.",
                remedy="Install the package bubblewrap.",
            ) from error
        if process.stdin:
            start = Start(authority=self.authority(), seal=self._seal)
            process.stdin.write(codec.encoded(start).encode() + b"\n")
        return process

    def _prepare(self, *, as_root: bool) -> None:
        self._directory.mkdir(mode=0o700, exist_ok=True)
        if as_root:
            os.chown(self._directory, SIGNER, SIGNER)

    async def _answer(self, question: Question) -> bytes:
        reader, writer = await asyncio.open_unix_connection(sock=self._connected())
        try:
            writer.write(framed(question))
            size = size_in(await reader.readexactly(HEAD))
            answer = codec.decoded(await reader.readexactly(size), Answer)
        except (OSError, EOFError) as error:
            raise await self._gone(hangs=False) from error
        finally:
            writer.close()
        if answer.failure:
            raise answer.failure.error()
        return base64.b64decode(answer.value)

    def _connected(self) -> socket.socket:
        connection = unix_socket.connected(self._socket, timeout_s=PATIENCE_S)
        connection.setblocking(False)
        return connection

    async def _gone(self, *, hangs: bool) -> errors.Unavailable:
        """End what is left of the signer; return what is said of it."""
        await self._end()
        return errors.Unavailable(
            "signer.process.gone",
            "The signer " + ("does not answer." if hangs else "died."),
            remedy="Try again: it is started anew. If it lasts, look at the server's log.",
        )

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.returncode is None:
            confine.kill(process.pid)
        if process.stdin:
            process.stdin.close()
            with contextlib.suppress(ConnectionError):
                await process.stdin.wait_closed()
        await process.wait()
