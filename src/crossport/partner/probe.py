"""How good the link to a partner is: measured over itself, before trust, by clock and kernel."""

import asyncio
import socket
import statistics
import struct
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import TypeVar

from crossport import errors
from crossport.model.partner import LinkFigures, Partner
from crossport.partner.lines import TlsLines
from crossport.partner.link import HttpsLink
from crossport.spi.clock import Clock
from crossport.spi.partner import Lines

__all__ = ["PROBE", "PROBED", "Standards", "echoed", "probed", "require_fit"]

T = TypeVar("T")
PROBE = "probe"
ROUNDS = 8
PIECES = 32
"""What is sent each way: 2 MiB, or as much as goes in `ENOUGH_S`."""
ENOUGH_S = 3.0
PATIENCE_S = 8.0
DRAINED_S = 60.0
"""How long it may take until what was sent in `ENOUGH_S` has arrived."""
_PIECE = b"x" * (64 << 10)
PROBED = PIECES * len(_PIECE)
"""Bytes that go each way at most."""
_MARK, _SEND = b"?", b"send "
_IP_MTU_DISCOVER, _IP_PMTUDISC_DO = 10, 2
_PMTU, _RESENT, _SENT = 60, 100, 136
"""Offsets in the kernel's struct tcp_info: path MTU, segments sent again, segments sent."""


@dataclass(frozen=True, slots=True)
class Standards:
    """What a link has at least: IPv6's smallest MTU, and enough for statements to arrive in time."""

    mtu: int = 1280
    round_trip_s: float = 2.0
    loss: float = 0.2
    rate: float = 64 * 1024.0


async def echoed(partner: Partner, opening: bytes, lines: Lines) -> None:
    """Answer a probe: a mark comes back, pieces are swallowed, and as many are sent as are asked for."""
    del partner, opening
    while (line := await lines.receive()) is not None:
        if len(line) == 1:
            await lines.send(line)
        elif line.startswith(_SEND):
            for _ in range(min(int(line.removeprefix(_SEND)), PIECES)):
                await lines.send(_PIECE)


async def probed(link: HttpsLink, partner: Partner, clock: Clock) -> LinkFigures:
    """Return what a probe finds; raise Refused (``partner.link.stuck``) where long packets do not pass."""
    async with link.converse(partner, PROBE, b"") as lines:
        _whole_packets(lines.connection)
        trips = [await _within(PATIENCE_S, _trip(lines, clock), _silent(partner.name)) for _ in range(ROUNDS)]
        await _within(PATIENCE_S, _long(lines), _stuck(partner.name))
        rate_out = await _within(DRAINED_S, _sent(lines, clock), _stuck(partner.name))
        count = max(1, min(PIECES, int(rate_out * ENOUGH_S / len(_PIECE))))
        rate_in = await _within(DRAINED_S, _received(lines, clock, count), _stuck(partner.name))
        info = lines.connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    resent, sent = (struct.unpack_from("=I", info, at)[0] for at in (_RESENT, _SENT))
    return LinkFigures(
        mtu=struct.unpack_from("=I", info, _PMTU)[0],
        round_trip_s=round(statistics.median(trips), 6),
        loss=round(resent / max(sent, 1), 4),
        rate_out=round(rate_out),
        rate_in=round(rate_in),
        measured=clock.wall(),
    )


def require_fit(partner: str, figures: LinkFigures, standards: Standards) -> None:
    """Raise Refused naming the first thing that is not good enough, and what to do about it."""
    if figures.mtu < standards.mtu:
        raise _unfit(
            partner,
            "partner.link.narrow",
            f"carries packets of {figures.mtu} bytes, not {standards.mtu}",
            "Raise the MTU of the tunnel or network between both sites.",
        )
    if figures.loss > standards.loss:
        raise _unfit(
            partner,
            "partner.link.lossy",
            f"had {figures.loss:.1%} of the segments sent again, over {standards.loss:.0%}",
            "Look for a line that is overloaded or broken between both sites.",
        )
    if figures.round_trip_s > standards.round_trip_s:
        raise _unfit(
            partner,
            "partner.link.far",
            f"takes {figures.round_trip_s:.2f} s there and back, over {standards.round_trip_s:.0f} s",
            "Look for a queue that is full between both sites.",
        )
    slower = min(figures.rate_in, figures.rate_out)
    if slower < standards.rate:
        raise _unfit(
            partner,
            "partner.link.slow",
            f"carries {slower / 1024:.0f} KiB/s, under {standards.rate / 1024:.0f}",
            "Give it more room, or look for what else fills it.",
        )


def _whole_packets(connection: socket.socket) -> None:
    """Forbid that packets are cut on their way, so that the path says how long they may be."""
    if connection.family == socket.AF_INET:
        connection.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_DO)


async def _within(patience_s: float, doing: Coroutine[None, None, T], otherwise: errors.Error) -> T:
    try:
        async with asyncio.timeout(patience_s):
            return await doing
    except TimeoutError as error:
        raise otherwise from error


async def _trip(lines: TlsLines, clock: Clock) -> float:
    began = clock.monotonic()
    await lines.send(_MARK)
    await lines.receive()
    return clock.monotonic() - began


async def _long(lines: TlsLines) -> None:
    """Let some packets of the greatest length go each way."""
    await lines.send(_PIECE)
    await lines.send(_SEND + b"1")
    await lines.receive()


async def _sent(lines: TlsLines, clock: Clock) -> float:
    """Return the rate at which the other end takes bytes; it says so when all have come."""
    began, pieces = clock.monotonic(), 0
    while pieces < PIECES and clock.monotonic() - began < ENOUGH_S:
        await lines.send(_PIECE)
        pieces += 1
    await lines.send(_MARK)
    await lines.receive()
    return pieces * len(_PIECE) / max(clock.monotonic() - began, 1e-6)


async def _received(lines: TlsLines, clock: Clock, pieces: int) -> float:
    began = clock.monotonic()
    await lines.send(_SEND + b"%d" % pieces)
    for _ in range(pieces):
        await lines.receive()
    return pieces * len(_PIECE) / max(clock.monotonic() - began, 1e-6)


def _silent(partner: str) -> errors.Unavailable:
    return errors.Unavailable(
        "partner.away", f"{partner} does not answer a probe.", field="partner", remedy=errors.TRIED_AGAIN
    )


def _stuck(partner: str) -> errors.Refused:
    return _unfit(
        partner,
        "partner.link.stuck",
        "lets short messages pass and long ones get stuck",
        "Most often a tunnel on the way is narrower than it says, and its ICMP messages are filtered: lower "
        "the MTU of the interface, or let `fragmentation needed` pass.",
    )


def _unfit(partner: str, code: str, text: str, remedy: str) -> errors.Refused:
    return errors.Refused(code, f"The link to {partner} {text}.", field="partner", remedy=remedy)
