"""The gateway's end: dial every node of the site, stay connected, and do what it says about workers."""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import structlog

from crossport import __version__, errors
from crossport.gateway import trust
from crossport.gateway.claims import GatewayClaims
from crossport.gateway.identity import Kept, Membership
from crossport.gateway.jobs import Jobs
from crossport.gateway.join import Invitation, Nodes
from crossport.gateway.seat import Seat
from crossport.gateway.wire import PIECE, SPOKEN, Line, table, text
from crossport.spi.clock import Clock
from crossport.transfer.job import failure_from

__all__ = ["Agent", "Chance", "Means", "answered", "dialled", "join"]

DIAL_S = 10.0
SHELVES_MAX = 4096
"""How many shelves with journals are told at once; of more the rest is told the next time."""
SILENCE_S = 30.0
"""A site that says nothing for so long is gone: it asks every ten seconds."""
NODES_MAX = 64
"""Nodes, and addresses of each, that a site can have."""
BACKOFF_S = (0.2, 15.0)
"""How long to wait before dialling again: at first, and at most; doubled each time, and spread by chance."""
_LASTING_S = 5.0  # a connection that held for so long was a good one

Chance = Callable[[], float]
"""Returns a number from 0 to 1 that nobody can foresee."""


async def join(invitation: Invitation, kept: Kept) -> None:
    """Make a key, have the site certify it, and keep both. Raise Refused, or Unavailable.

    The key is made here and does not leave this machine.
    """
    key = trust.new_key()
    kept.new_key(key)
    line = await _any_dialled(invitation)
    try:
        await line.send(
            {
                "do": "join",
                "versions": list(SPOKEN),
                "release": __version__,
                "gateway": invitation.gateway,
                "token": invitation.token,
                "request": trust.request_for(key),
            }
        )
        answer = await answered(line, "joined")
    finally:
        await line.close()
    kept.belong(invitation, _nodes(answer) or invitation.nodes)
    kept.certify(text(answer, "certificate", most=1 << 14))


async def dialled(address: str, context: ssl.SSLContext, site: str) -> Line:
    """Return a connection to a node of ``site``; raise Unavailable, or Refused when it is not that."""
    try:
        async with asyncio.timeout(DIAL_S):
            if address.startswith("unix:"):
                path = address.removeprefix("unix:")
                reader, writer = await asyncio.open_unix_connection(
                    path, ssl=context, server_hostname="", limit=PIECE
                )
            else:
                host, _, port = address.rpartition(":")
                reader, writer = await asyncio.open_connection(
                    host.strip("[]"), int(port), ssl=context, server_hostname="", limit=PIECE
                )
    except ssl.SSLCertVerificationError as error:
        raise errors.Refused(
            "gateway.site.untrusted",
            f"What answers at {address} has no certificate of site {site}: {error.verify_message}.",
            remedy="Another site, or somebody else, answers there. Enroll again if the CA was replaced.",
        ) from error
    except (OSError, TimeoutError, ValueError) as error:
        raise errors.Unavailable(
            "gateway.site.unreachable",
            f"Nothing answers at {address} ({error or type(error).__name__}).",
            remedy="Check the network to the site; the gateway keeps trying.",
        ) from error
    line = Line(reader, writer)
    try:
        trust.check_site(line.tls, site)
    except errors.Error:
        await line.close()
        raise
    return line


@dataclass(frozen=True, slots=True)
class Means:
    """What an agent works with. ``boot`` names this process, ``chance`` spreads what many do at once."""

    clock: Clock
    chance: Chance
    boot: str


class Agent:
    """One gateway that joined its site."""

    def __init__(self, kept: Kept, jobs: Jobs, means: Means) -> None:
        self._kept = kept
        self._jobs = jobs
        self._means = means
        self._membership: Membership = kept.membership()
        jobs.claimant = GatewayClaims(self._membership.site, kept.certificate, kept.key)
        self._dialling: dict[str, asyncio.Task[None]] = {}
        self._renewal_asked = -1e9
        self._removed = asyncio.Event()
        self._log: Any = structlog.get_logger("crossport.gateway")

    async def run(self) -> None:
        """Serve until cancelled; raise Refused (``gateway.removed``) when the site trusts it no longer."""
        try:
            self._dial(self._membership.nodes)
            await self._removed.wait()
        finally:
            for task in self._dialling.values():
                task.cancel()
            await asyncio.gather(*self._dialling.values(), return_exceptions=True)
            await self._jobs.close()
        raise errors.Refused(
            "gateway.removed",
            f"Gateway {self._membership.gateway} was removed from site {self._membership.site}.",
            remedy="Enroll it again if it should be.",
        )

    def _dial(self, nodes: Nodes) -> None:
        """Keep a connection to each of these nodes from now on."""
        if nodes:
            self._kept.reached(nodes)
            self._membership = self._kept.membership()
        for node in self._membership.nodes:
            if node not in self._dialling:
                self._dialling[node] = asyncio.create_task(self._keep(node))

    async def _keep(self, node: str) -> None:
        """Be connected to ``node``, for as long as it is one of the site's."""
        failures = 0
        while addresses := self._membership.nodes.get(node):
            began = self._means.clock.monotonic()
            address = addresses[failures % len(addresses)]
            try:
                await self._connected(address)
            except errors.Error as error:
                level = self._log.info if isinstance(error, errors.Unavailable) else self._log.error
                level("not connected", node=node, address=address, code=error.code, text=str(error))
                if error.code == "gateway.removed":
                    self._removed.set()
                    return
            lasted = self._means.clock.monotonic() - began > _LASTING_S
            failures = 0 if lasted else failures + 1
            wait = min(BACKOFF_S[0] * 2 ** min(failures, 10), BACKOFF_S[1])
            await self._means.clock.sleep(wait * (0.5 + self._means.chance() / 2))
        del self._dialling[node]

    async def _connected(self, address: str) -> None:
        """Connect once, and serve until that ends; raise what ended it."""
        context = trust.gateway_context(
            self._membership.authority, self._kept.certificate(), self._kept.key()
        )
        line = await dialled(address, context, self._membership.site)
        try:
            await line.send(
                {
                    "do": "hello",
                    "versions": list(SPOKEN),
                    "release": __version__,
                    "boot": self._means.boot,
                    "claims": True,
                    "jobs": self._jobs.heard(),
                    "shelves": self._jobs.shelves()[:SHELVES_MAX],
                }
            )
            welcome = await answered(line, "welcome")
            await self._serve(line, welcome)
        finally:
            await line.close()

    async def _serve(self, line: Line, welcome: dict[str, Any]) -> None:
        node, owner = text(welcome, "node", most=256), text(welcome, "boot", most=64)
        seat, known = table(welcome, "seat"), table(welcome, "jobs")
        self._jobs.seat = Seat(text(seat, "tenant"), text(seat, "cloud"), text(seat, "subnet"))
        self._jobs.draining = welcome.get("draining") is True
        self._dial(_nodes(welcome))
        self._log.info("connected", node=node, version=welcome.get("version"))
        try:
            await self._jobs.connected(node, owner, line, known)
            while True:
                async with asyncio.timeout(SILENCE_S):
                    message = await line.receive()
                await self._take(line, owner, message)
        except TimeoutError as error:
            raise errors.Unavailable(
                "gateway.line.silent", f"Node {node} is silent.", remedy=errors.TRIED_AGAIN
            ) from error
        finally:
            self._jobs.gone(owner, line)

    async def _take(self, line: Line, owner: str, message: dict[str, Any]) -> None:
        match message.get("do"):
            case "ping":
                self._dial(_nodes(message))
                await line.send({"do": "pong", "jobs": self._jobs.running, "ask": message.get("ask", 0)})
                await self._renew(line)
            case "certificate":
                self._kept.certify(text(message, "certificate", most=1 << 14))
                self._log.info("certificate renewed", expires=self._kept.validity()[1])
            case "drain":
                self._jobs.draining = True
            case "removed":
                self._removed.set()
            case "forget":
                await self._jobs.forget(line, message)
            case "start" | "give" | "end" | "heard":
                await self._jobs.take(owner, message)
            case _:
                return  # of a newer release

    async def _renew(self, line: Line) -> None:
        """Ask for a new certificate when half the life of this one is over."""
        begins, ends = self._kept.validity()
        now = self._means.clock.monotonic()
        if self._means.clock.wall() > (begins + ends) / 2 and now - self._renewal_asked > 60:
            self._renewal_asked = now
            await line.send({"do": "renew", "request": trust.request_for(self._kept.key())})


async def _any_dialled(invitation: Invitation) -> Line:
    """Return a connection to any node, by the first address that answers."""
    context = trust.gateway_context(invitation.authority)
    refused: errors.Error | None = None
    for address in (address for addresses in invitation.nodes.values() for address in addresses):
        try:
            return await dialled(address, context, invitation.site)
        except errors.Error as error:
            refused = error if refused is None or isinstance(error, errors.Refused) else refused
    raise refused or errors.Invalid(
        "gateway.join.unreadable", "It names no address of the site.", field="join", remedy="Enroll again."
    )


async def answered(line: Line, wanted: str) -> dict[str, Any]:
    """Return the site's answer of the kind ``wanted``; raise what it says, or its silence means, instead."""
    try:
        async with asyncio.timeout(SILENCE_S):
            answer = await line.receive()
    except TimeoutError as error:
        raise errors.Unavailable(
            "gateway.line.silent", "The site does not answer.", remedy=errors.TRIED_AGAIN
        ) from error
    except errors.Unavailable as error:
        # A server's TLS ends so, without an alert, where it does not accept a certificate.
        raise errors.Unavailable(
            "gateway.line.refused",
            "The site ended the connection without a word.",
            remedy="It is being stopped, or does not accept this gateway's certificate: enroll again then.",
        ) from error
    if answer.get("do") == "refused":
        raise failure_from(answer)
    if answer.get("do") != wanted:
        raise errors.Broken(
            "gateway.message.malformed", f"The site did not say {wanted}.", remedy=errors.SAME_RELEASE
        )
    return answer


def _nodes(message: dict[str, Any]) -> Nodes:
    """Return the site's nodes as a message tells them; raise Broken for what are none."""
    found: Nodes = {}
    told = table(message, "nodes")
    if len(told) > NODES_MAX:
        raise errors.Broken(
            "gateway.message.malformed", f"The site told of {len(told)} nodes.", remedy=errors.SAME_RELEASE
        )
    for node, addresses in told.items():
        texts: list[Any] = cast("list[Any]", addresses) if isinstance(addresses, list) else [None]
        if len(texts) > NODES_MAX or not all(isinstance(one, str) for one in texts):
            raise errors.Broken(
                "gateway.message.malformed", "The site told no sound nodes.", remedy=errors.SAME_RELEASE
            )
        found[node] = tuple(texts)
    return found
