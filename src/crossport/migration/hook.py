"""Run what an operator registered around the phases: commands without a shell, and signed webhooks.

A plan or a tenant only names a hook; what the name does is set by the operator on the server. Both kinds
are told the run, the phase and the VM as JSON: a command on its standard input, a webhook as its body,
signed with HMAC-SHA-256 over ``timestamp.body`` so that the receiver can refuse forgeries and replays.
"""

import asyncio
import hashlib
import hmac
import os
import signal
from collections.abc import Awaitable, Callable, Mapping

from crossport import errors
from crossport.model import codec
from crossport.model.record import record
from crossport.model.run import Hook
from crossport.model.vm import VM
from crossport.spi.clock import Clock
from crossport.spi.secret import Secret

__all__ = ["Command", "Notice", "OperatorHooks", "Post", "Webhook", "signature"]

WEBHOOK_ATTEMPTS = 4
OUTPUT_TAIL = 500

Post = Callable[[str, bytes, Mapping[str, str], float], Awaitable[int]]
"""Send a body to a URL with headers within seconds; return the HTTP status, or raise Unavailable."""


@record()
class Command:
    """A program with its arguments, found on the server. It inherits nothing but ``PATH``."""

    argv: tuple[str, ...]
    timeout_s: float = 60.0


class Webhook:
    """A URL and the secret that signs what is sent there."""

    def __init__(self, url: str, secret: Secret, timeout_s: float = 10.0) -> None:
        self.url = url
        self.secret = secret
        self.timeout_s = timeout_s


@record()
class Notice:
    """What a hook is told."""

    run: str
    hook: str
    phase: str
    after: bool
    vm: str
    vm_id: str


def signature(secret: Secret, timestamp: str, body: bytes) -> str:
    """Return the value of the header ``Crossport-Signature``."""
    text = timestamp.encode() + b"." + body
    return "sha256=" + hmac.new(secret.reveal().encode(), text, hashlib.sha256).hexdigest()


class OperatorHooks:
    """The hooks of one site, by name."""

    def __init__(
        self, commands: Mapping[str, Command], webhooks: Mapping[str, Webhook], *, post: Post, clock: Clock
    ) -> None:
        self._commands = commands
        self._webhooks = webhooks
        self._post = post
        self._clock = clock

    def unknown(self, hooks: tuple[Hook, ...]) -> tuple[str, ...]:
        """Return the names that nobody registered."""
        known = {*self._commands, *self._webhooks}
        return tuple(sorted({hook.name for hook in hooks} - known))

    async def run(self, hook: Hook, run: str, vm: VM) -> None:
        """Run one hook; raise RolledBack ``hook.failed``."""
        notice = Notice(run=run, hook=hook.name, phase=hook.phase, after=hook.after, vm=vm.name, vm_id=vm.id)
        body = codec.encoded(notice).encode()
        if hook.name in self._commands:
            await self._command(hook.name, self._commands[hook.name], body)
        else:
            await self._webhook(hook.name, self._webhooks[hook.name], body)

    async def _command(self, name: str, command: Command, body: bytes) -> None:
        try:
            process = await asyncio.create_subprocess_exec(
                *command.argv,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
                start_new_session=True,
            )
        except OSError as error:
            raise _failed(name, f"it could not be started: {error.strerror}") from error
        try:
            async with asyncio.timeout(command.timeout_s):
                _, complaint = await process.communicate(body)
        except TimeoutError:
            raise _failed(name, f"it did not end within {command.timeout_s:.0f} s") from None
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)  # with whatever it has started
                await process.wait()
        if process.returncode:
            tail = complaint.decode(errors="replace")[-OUTPUT_TAIL:].strip()
            raise _failed(name, f"it ended with status {process.returncode}: {tail}")

    async def _webhook(self, name: str, webhook: Webhook, body: bytes) -> None:
        status, pause = 0, 0.5
        for attempt in range(WEBHOOK_ATTEMPTS):
            if attempt:
                await self._clock.sleep(pause)
                pause *= 2
            timestamp = str(int(self._clock.wall()))
            headers = {
                "Content-Type": "application/json",
                "Crossport-Timestamp": timestamp,
                "Crossport-Signature": signature(webhook.secret, timestamp, body),
            }
            try:
                status = await self._post(webhook.url, body, headers, webhook.timeout_s)
            except errors.Unavailable:
                continue
            if status < 300:
                return
            if status < 500:
                break
        raise _failed(name, f"its receiver answered {status or 'nothing'}")


def _failed(name: str, why: str) -> errors.RolledBack:
    return errors.RolledBack(
        "hook.failed", f"The hook {name} failed: {why}.", remedy="Ask the operator who registered it."
    )
