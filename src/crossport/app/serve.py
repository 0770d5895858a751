"""The process of a control plane: own the state directory, run the site, listen, and leave in order.

It listens on a socket in the state directory (0600), and with ``listen`` on an address, there always with
TLS under a certificate of the site's own CA. Both ask for a token. An embedded server leaves when nobody
asked anything for a while and no run is under way.
"""

import asyncio
import contextlib
import os
import secrets
import signal
import socket
import ssl
from collections.abc import AsyncGenerator, Callable, Generator
from pathlib import Path
from typing import Any

import structlog
import uvicorn
from prometheus_client import CollectorRegistry

from crossport import errors
from crossport.api import Application, Limits, Tokens
from crossport.app.audit_watch import audit_watched
from crossport.app.certificate import Certificate, served_names
from crossport.app.compose import is_active, services_of, site_settings
from crossport.app.first_token import ensure_first_token
from crossport.app.gateway_doors import gateways_served
from crossport.app.grant_parts import grants_watched
from crossport.app.master_key import MasterSource
from crossport.app.partner_parts import partners_served
from crossport.app.sender_tls import sender_tls
from crossport.app.settings import Settings, host_and_port
from crossport.app.site import OpenSite, open_site
from crossport.client.state_dir import StateDir
from crossport.spi.clock import Clock

__all__ = ["serve"]

OWNER_PATIENCE_S = 20.0
"""How long an embedded server waits for its predecessor, which is just leaving."""
FIRST_S = 10.0
"""How long an embedded server waits at least for the first request: whoever started it may be slow."""
GRACE_S = 3
"""How long open streams may go on after the server was told to stop."""
LEAVING_S = 0.5
"""How long nobody can find the socket before an idle server leaves: what came before is still answered."""


async def serve(
    settings: Settings, clock: Clock, *, master: MasterSource, embedded: bool, told: Callable[[], None]
) -> None:
    """Serve until SIGTERM or SIGINT, or, embedded, until idle. Raise Conflict ``state.owned``.

    ``told`` is called when requests are answered.
    """
    served_names(settings)
    wanted = site_settings(settings, master)
    state = StateDir(settings.home)
    state.prepare()
    patience_s = OWNER_PATIENCE_S if embedded else 0.0
    async with (
        _owned(state, clock, patience_s),
        open_site(wanted, clock) as site,
        gateways_served(site, settings, state, clock, embedded=embedded),
        partners_served(site.partners, settings),
        audit_watched(site, clock),
        grants_watched(site.grant_watch, settings.grant_look_s),
    ):
        tokens = Tokens(site.engine.documents, clock, secrets.token_bytes)
        await ensure_first_token(tokens, state.token_file)
        limits = Limits(
            body_size=settings.body_size,
            upload_size=settings.upload_size,
            rate=settings.rate,
            burst=settings.burst,
        )
        registry = CollectorRegistry()
        registry.register(site.figures)
        application = Application(
            services_of(site, tokens, wanted.authorizer, audit_reads=settings.audit_reads),
            clock=clock,
            new_id=lambda: secrets.token_hex(8),
            limits=limits,
            registry=registry,
        )
        node = _Node(settings, state, application, site, clock)
        await node.run(told, idle_s=settings.idle_s if embedded else None)


class _Node:
    """The listeners of one process and what watches over them."""

    def __init__(
        self, settings: Settings, state: StateDir, application: Application, site: OpenSite, clock: Clock
    ) -> None:
        self._settings = settings
        self._state = state
        self._application = application
        self._site = site
        self._clock = clock
        self._log: Any = structlog.get_logger("crossport.serve")
        self._servers: list[_Server] = []

    async def run(self, told: Callable[[], None], idle_s: float | None) -> None:
        """Listen, call ``told``, and leave when told or idle."""
        with contextlib.ExitStack() as held:
            listeners = self._open(held)
            certificate = listeners[-1][1]
            authorities = self._settings.client_ca
            self._servers = [_Server(_config(self._application, each, authorities)) for _, each in listeners]
            async with asyncio.TaskGroup() as tasks:
                for server, (listener, _) in zip(self._servers, listeners, strict=True):
                    tasks.create_task(server.serve([listener]))
                watchers = [tasks.create_task(self._until_told())]
                if idle_s is not None:
                    watchers.append(tasks.create_task(self._until_idle(idle_s)))
                if certificate:
                    watchers.append(tasks.create_task(certificate.renew(self._servers[-1].config.ssl)))
                self._log.info(
                    "ready", pid=os.getpid(), socket=str(self._state.socket), listen=self._settings.listen
                )
                told()
                await asyncio.wait(watchers, return_when=asyncio.FIRST_COMPLETED)
                for server in self._servers:
                    server.should_exit = True
                for watcher in watchers:
                    watcher.cancel()
            self._log.info("stopped", pid=os.getpid())

    def _open(self, held: contextlib.ExitStack) -> list[tuple[socket.socket, Certificate | None]]:
        """Return the listeners, that with TLS last."""
        listeners: list[tuple[socket.socket, Certificate | None]] = []
        if self._settings.listen:
            listener = held.enter_context(_listener(self._settings.listen))
            listeners.append((listener, Certificate(self._settings, self._state, self._clock)))
        listeners.insert(0, (held.enter_context(_private_socket(self._state.socket)), None))
        return listeners

    async def _until_told(self) -> None:
        """Return at the first SIGTERM or SIGINT."""
        told = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, told.set)
        await told.wait()

    async def _until_idle(self, idle_s: float) -> None:
        """Return when nobody asked for ``idle_s``, no request is being answered, and no run is under way."""
        born = self._clock.monotonic()
        hidden = self._state.socket.with_name("socket.leaving")
        while True:
            await self._clock.sleep(min(1.0, idle_s / 4))
            seen = max(born, self._application.last_seen)
            patience_s = idle_s if seen > born else max(idle_s, FIRST_S)
            if self._clock.monotonic() - seen < patience_s or await self._busy():
                continue
            # Hide the socket, then look again: whoever had found it is still answered, and may start a run.
            self._state.socket.rename(hidden)
            await self._clock.sleep(LEAVING_S)
            if self._application.last_seen <= seen and not await self._busy():
                hidden.unlink()
                self._log.info("idle", seconds=round(self._clock.monotonic() - seen, 1))
                return
            hidden.rename(self._state.socket)

    async def _busy(self) -> bool:
        return self._application.in_flight > 0 or await is_active(self._site)


class _Server(uvicorn.Server):
    """A listener. Signals are the node's: it has several listeners to end."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Leave signals alone."""
        yield


def _config(application: Application, certificate: "Certificate | None", authorities: str) -> uvicorn.Config:
    config = uvicorn.Config(
        application.asgi,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=GRACE_S,
        ssl_certfile=str(certificate.certificate_file) if certificate else None,
        ssl_keyfile=str(certificate.key_file) if certificate else None,
        **(sender_tls(authorities) if certificate and authorities else {}),
    )
    try:
        config.load()
    except (OSError, ssl.SSLError) as error:
        raise errors.Invalid(
            "serve.client-ca.unreadable",
            f"{authorities} has no certificates that can be read: {error.strerror or error}.",
            field="client_ca",
            remedy="Name a file with the authorities of your senders' certificates, in PEM.",
        ) from error
    return config


@contextlib.asynccontextmanager
async def _owned(state: StateDir, clock: Clock, patience_s: float) -> AsyncGenerator[None]:
    """Own the state directory, waiting for an owner that is about to leave."""
    deadline = clock.monotonic() + patience_s
    with contextlib.ExitStack() as held:
        while True:
            try:
                held.enter_context(state.owned())
                break
            except errors.Conflict:
                if clock.monotonic() >= deadline:
                    raise
                await clock.sleep(0.05)
        yield


@contextlib.contextmanager
def _private_socket(path: Path) -> Generator[socket.socket]:
    """Listen on a socket at ``path`` that only its owner may open. What lies there is a dead server's."""
    fresh = path.with_name("socket.new")
    fresh.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        before = os.umask(0o177)
        try:
            listener.bind(os.fspath(fresh))
        finally:
            os.umask(before)
        listener.listen(128)
        fresh.rename(path)
        try:
            yield listener
        finally:
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def _listener(address: str) -> Generator[socket.socket]:
    """Listen on ``host:port``; raise Invalid for another form, Unavailable when it is taken."""
    host, port = host_and_port(address)
    if not host:
        raise errors.Invalid(
            "serve.listen.form",
            f"{address!r} is not HOST:PORT.",
            field="listen",
            remedy="Write 127.0.0.1:8443.",
        )
    bare = host.strip("[]")
    try:
        listener = socket.create_server(
            (bare, port), family=socket.AF_INET6 if ":" in bare else socket.AF_INET, backlog=128
        )
    except OSError as error:
        raise errors.Unavailable(
            "serve.listen.taken",
            f"{address} cannot be listened on: {error}.",
            field="listen",
            remedy="Choose another port, or stop what listens there.",
        ) from error
    with listener:
        yield listener
