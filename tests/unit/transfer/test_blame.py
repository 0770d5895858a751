"""What a sending thread waited for: the network only while it was busy, the peer while that took nothing."""

import socket
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager

from crossport.transfer.channel import Channel
from crossport.transfer.meter import Meter

ENOUGH = bytes(16 << 20)


@contextmanager
def connected() -> Generator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        left = socket.create_connection(server.getsockname())
        right, _ = server.accept()
    with left, right:
        yield left, right


def drain(end: socket.socket) -> None:
    while end.recv(1 << 20):
        pass


def test_a_peer_that_takes_nothing_is_waited_for_and_not_the_link() -> None:
    meter = Meter()
    with connected() as (left, right):
        sending = threading.Thread(target=Channel(left, meter=meter).send, args=(ENOUGH,))
        sending.start()
        time.sleep(0.7)  # nobody reads
        draining = threading.Thread(target=drain, args=(right,))
        draining.start()
        sending.join()
        left.shutdown(socket.SHUT_RDWR)
        draining.join()
    assert meter.waited("peer") > 0.3
    assert meter.waited("link") < meter.waited("peer") / 2
