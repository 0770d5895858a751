"""Over how many connections a copy goes: the longer the way, the more, as far as both ends allow."""

import itertools
import socket
import threading
from collections.abc import Callable

import pytest
from tests.unit.transfer.copying import Copy, root_of

from crossport.testing.conformance.block import noise
from crossport.transfer.channel import Channel
from crossport.transfer.lanes import Link
from crossport.transfer.manner import Manner, connections_over

CONTENT = noise(64 << 10)


class _Together:
    """An end whose connections after the first come about only when all are asked for."""

    def __init__(self, link: Link, others: int) -> None:
        self._link = link
        self._others = threading.Barrier(others)
        self._asked = itertools.count()

    def open(self, check: Callable[[], None]) -> Channel:
        if next(self._asked):
            self._others.wait(10)
        return self._link.open(check)


@pytest.mark.parametrize("sender_dials", [True, False])
def test_all_but_the_first_are_opened_side_by_side(sender_dials: bool) -> None:
    copy = Copy(CONTENT)
    copy.sender_dials = sender_dials
    copy.manner = Manner(connections=4)
    copy.wire.path = (0.2, False)
    near, far = copy.wire.near, copy.wire.far
    copy.wire.near = lambda meter: _Together(near(meter), 3)
    copy.wire.far = lambda meter: _Together(far(meter), 3)
    assert copy.run() == (root_of(CONTENT), root_of(CONTENT))
    assert copy.wire.made == 4


@pytest.mark.parametrize(
    ("round_trip_s", "by_rate", "count"),
    [(0.0, False, 2), (0.0, True, 2), (0.01, False, 8), (0.01, True, 4), (0.05, False, 16), (0.3, True, 8)],
)
def test_a_long_way_is_filled_by_more_connections(round_trip_s: float, by_rate: bool, count: int) -> None:
    copy = Copy(CONTENT)
    copy.manner = Manner()
    copy.wire.path = (round_trip_s, by_rate)
    assert copy.run() == (root_of(CONTENT), root_of(CONTENT))
    assert copy.wire.made == count


def test_no_more_than_the_ends_allow() -> None:
    copy = Copy(CONTENT)
    copy.manner = Manner(connections=3)
    copy.wire.path = (0.2, False)
    copy.run()
    assert copy.wire.made == 3


def test_a_longer_way_never_wants_fewer() -> None:
    for by_rate in (False, True):
        counts = [connections_over(ms / 1000, by_rate=by_rate) for ms in range(300)]
        assert counts == sorted(counts)


def test_the_kernel_tells_of_the_way_of_a_real_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        left = socket.create_connection(server.getsockname())
        right, _ = server.accept()
    with left, right:
        left.sendall(b"x")
        right.recv(1)
        congestion = left.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0")
        round_trip_s, by_rate = Channel(left).path()
    assert 0 < round_trip_s < 5
    assert by_rate == (congestion == b"bbr")


def test_a_connection_that_is_not_tcp_tells_of_no_way() -> None:
    left, right = socket.socketpair()
    with left, right:
        assert Channel(left).path() == (0.0, False)
