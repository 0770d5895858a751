"""Two workers started by hand, so that a test can forge their jobs and sit on the wire between them."""

import contextlib
import itertools
import json
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.lab.transfer.transfer_lab import Lab

from crossport.testing.conformance.block import noise
from crossport.transfer import credential
from crossport.transfer.frame import VERSION, Hello
from crossport.transfer.job import Credential, End, Job
from crossport.transfer.manner import Manner

SIZE = 4 << 20


class Pair:
    """A sending and a receiving worker, unconfined; ``run`` returns the last event of each."""

    def __init__(self, lab: Lab) -> None:
        self.target = lab.file(size=SIZE)
        read, write = lab.tickets(lab.file(noise(SIZE)), self.target)
        hello = Hello(VERSION, "acme", "run-1", "disk-0", 1, SIZE, 1 << 18)
        self.own = {"send": credential.made(), "receive": credential.made()}
        manner = Manner(connections=2, patience_s=1)
        self.sends = Job(read, hello, _end(self.own["receive"]), manner, 5, 5)
        self.receives = Job(write, hello, _end(self.own["send"]), manner, 5, 5)
        self.journal = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the pair
        self.workers = list[subprocess.Popen[bytes]]()

    def run(self, between: Callable[[int], int] = lambda port: port) -> tuple[dict[str, Any], dict[str, Any]]:
        receiver = self.started("receive", self.receives)
        first = _last_event(receiver, "listening")
        if first["event"] == "failed":
            return first, first
        port = between(first["port"])
        sender = self.started("send", replace(self.sends, end=replace(self.sends.end, port=port)))
        sent = _last_event(sender)
        if sent["event"] == "failed":
            self.close(receiver)  # or it would listen for the right peer for a while
            return sent, sent
        return sent, _last_event(receiver)

    def started(self, way: str, job: Job) -> subprocess.Popen[bytes]:
        argv = [sys.executable, "-IB", "-m", "crossport.transfer.worker", way]
        argv.append(str(self.journal.fileno()))
        worker = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=[self.journal.fileno()]
        )
        self.workers.append(worker)
        assert worker.stdin is not None
        worker.stdin.write(self.own[way].line() + job.line())
        worker.stdin.flush()
        return worker

    def close(self, *workers: subprocess.Popen[bytes]) -> None:
        for worker in workers or self.workers:
            worker.kill()
            worker.wait()
            for pipe in (worker.stdin, worker.stdout):
                if pipe is not None:
                    pipe.close()

    def target_is_empty(self) -> bool:
        return not any(Path(self.target.locator).read_bytes())


def _end(peer: Credential) -> End:
    return End(peer.certificate, "127.0.0.1", 0)


def _last_event(worker: subprocess.Popen[bytes], until: str = "done") -> dict[str, Any]:
    assert worker.stdout is not None
    for line in worker.stdout:
        said = json.loads(line)
        if said["event"] in {until, "failed"}:
            return said
    raise AssertionError("it died without a word")


@pytest.fixture
def pair(lab: Lab) -> Generator[Pair]:
    pair = Pair(lab)
    yield pair
    pair.close()
    pair.journal.close()


def test_the_pair_copies_when_nobody_interferes(pair: Pair) -> None:
    sent, received = pair.run()
    assert sent["root"] == received["root"]
    assert Path(pair.target.locator).read_bytes() == noise(SIZE)


@pytest.mark.parametrize("liar", ["send", "receive"])
def test_an_end_with_another_certificate_is_refused(pair: Pair, liar: str) -> None:
    pair.own[liar] = credential.made()
    sent, _ = pair.run()
    assert (sent["kind"], sent["code"]) == ("Refused", "transfer.peer.certificate")
    assert pair.target_is_empty()


@pytest.mark.parametrize("liar", ["send", "receive"])
def test_the_right_certificate_without_its_key_is_refused(pair: Pair, liar: str) -> None:
    pair.own[liar] = replace(credential.made(), certificate=pair.own[liar].certificate)
    sent, _ = pair.run()
    assert sent["event"] == "failed"
    assert pair.target_is_empty()


def test_a_stranger_who_connects_first_does_no_harm(pair: Pair) -> None:
    def knock(port: int) -> int:
        with socket.create_connection(("127.0.0.1", port)) as stranger:
            stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
        return port

    sent, received = pair.run(knock)
    assert sent["root"] == received["root"]


def test_a_bit_that_is_flipped_on_the_wire_breaks_the_connection_and_nothing_else(pair: Pair) -> None:
    sent, _ = pair.run(lambda port: _proxy(port, flip_at=1 << 20, cut_at=1 << 40))
    assert sent["kind"] == "Unavailable"
    written = Path(pair.target.locator).read_bytes()
    chunk = 1 << 18
    whole = noise(SIZE)
    for start in range(0, SIZE, chunk):
        assert written[start : start + chunk] in (whole[start : start + chunk], bytes(chunk))


def test_a_link_that_is_cut_is_unavailable(pair: Pair) -> None:
    sent, _ = pair.run(lambda port: _proxy(port, flip_at=1 << 40, cut_at=1 << 20))
    assert (sent["kind"], sent["code"]) == ("Unavailable", "transfer.peer.unreachable")


def test_a_link_that_drops_again_and_again_is_dialled_anew(pair: Pair) -> None:
    pair.sends = replace(pair.sends, manner=Manner(connections=2, patience_s=20))
    pair.receives = replace(pair.receives, manner=Manner(connections=2, patience_s=20))
    link = Dropping(every=SIZE // 4, times=3)
    sent, received = pair.run(link.before)
    link.close()
    assert sent["root"] == received["root"]
    assert Path(pair.target.locator).read_bytes() == noise(SIZE)
    assert sent["counters"]["sent"] < 2 * SIZE


def test_the_receiver_can_dial_too(pair: Pair) -> None:
    sender = pair.started("send", pair.sends)
    port = _last_event(sender, "listening")["port"]
    pair.receives = replace(pair.receives, end=replace(pair.receives.end, port=port))
    received = _last_event(pair.started("receive", pair.receives))
    assert received["root"] == _last_event(sender)["root"]
    assert Path(pair.target.locator).read_bytes() == noise(SIZE)


class Dropping:
    """Passes connection after connection on; cuts the first ``times`` after ``every`` bytes each."""

    def __init__(self, *, every: int, times: int) -> None:
        self._every = every
        self._times = times
        self._ends = [socket.create_server(("127.0.0.1", 0), backlog=32)]
        self._threads = list[threading.Thread]()

    def before(self, port: int) -> int:
        """Stand before ``port``; return where to connect instead."""
        self._begin(self._serve, port)
        return int(self._ends[0].getsockname()[1])

    def close(self) -> None:
        """Close everything."""
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for end in self._ends:
            end.close()

    def _serve(self, port: int) -> None:
        for number in itertools.count():
            try:
                near, _ = self._ends[0].accept()
                self._ends.append(near)
                far = socket.create_connection(("127.0.0.1", port))
            except OSError:
                return
            self._ends.append(far)
            cut_at = self._every if number < self._times else 1 << 40
            self._begin(_pump, near, far, 1 << 40, cut_at)
            self._begin(_pump, far, near, 1 << 40, 1 << 40)

    def _begin(self, work: Callable[..., None], *arguments: object) -> None:
        self._threads.append(threading.Thread(target=work, args=arguments))
        self._threads[-1].start()


def _proxy(port: int, *, flip_at: int, cut_at: int) -> int:
    """Pass everything on, but flip one bit or cut the line after so many bytes; return where to connect."""
    listener = socket.create_server(("127.0.0.1", 0))

    def forward() -> None:
        with listener:
            near, _ = listener.accept()
        far = socket.create_connection(("127.0.0.1", port))
        back = threading.Thread(target=_pump, args=(far, near, 1 << 40, 1 << 40))
        back.start()
        _pump(near, far, flip_at, cut_at)
        back.join()
        near.close()
        far.close()

    threading.Thread(target=forward, daemon=True).start()
    return int(listener.getsockname()[1])


def _pump(source: socket.socket, to: socket.socket, flip_at: int, cut_at: int) -> None:
    passed = 0
    try:
        while piece := bytearray(source.recv(65536)):
            if passed <= flip_at < passed + len(piece):
                piece[flip_at - passed] ^= 1
            passed += len(piece)
            if passed > cut_at:
                break
            to.sendall(piece)
    except OSError:
        pass
    for end in (source, to):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            continue


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"expires": 1.0}, "transfer.ticket.expired"),
        ({"byte_budget": SIZE - 1}, "transfer.ticket.budget"),
    ],
    ids=["expired", "budget"],
)
def test_a_worker_checks_its_ticket_itself(pair: Pair, change: dict[str, Any], code: str) -> None:
    pair.receives = replace(pair.receives, ticket=replace(pair.receives.ticket, **change))
    assert pair.run()[0]["code"] == code


def test_a_worker_refuses_the_job_of_the_other_way(pair: Pair) -> None:
    worker = pair.started("receive", pair.sends)
    assert _last_event(worker)["code"] == "transfer.ticket.way"


def test_a_ticket_that_expires_in_the_middle_ends_the_copy(lab: Lab, pair: Pair) -> None:
    slow = lab.served(lab.file(noise(SIZE)), rate=1 << 20)
    short = replace(pair.sends.ticket, ref=slow, expires=time.time() + 1)
    pair.sends = replace(pair.sends, ticket=short)
    assert pair.run()[0]["code"] == "transfer.ticket.expired"


def test_a_source_of_another_size_than_was_said_is_refused(lab: Lab, pair: Pair) -> None:
    short = lab.file(noise(SIZE - 1))
    pair.sends = replace(pair.sends, ticket=replace(pair.sends.ticket, ref=replace(short, size=SIZE)))
    assert pair.run()[0]["code"] == "transfer.source.short"


def test_a_disk_of_unknown_kind_is_refused(pair: Pair) -> None:
    strange = replace(pair.sends.ticket.ref, kind="floppy")
    pair.sends = replace(pair.sends, ticket=replace(pair.sends.ticket, ref=strange))
    assert pair.run()[0]["code"] == "transfer.disk.kind"


def test_a_worker_ends_with_its_standard_input(pair: Pair) -> None:
    worker = pair.started("receive", pair.receives)
    _last_event(worker, "listening")
    assert worker.stdin is not None
    worker.stdin.close()
    assert worker.wait(1) == 75
