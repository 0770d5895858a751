"""Disks over HTTP from a real server on loopback: the suite, changed objects, redirects, failures."""

import datetime
import ipaddress
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Generator
from contextlib import ExitStack
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.unit.transfer.web import Web, web

from crossport import errors
from crossport.model.artifact import DiskRef
from crossport.spi.block import BlockReader, BlockWriter
from crossport.testing.conformance.block import DiskSeat, ReaderConformance, noise
from crossport.transfer.http_disk import HttpOpener
from crossport.transfer.retry import Patience
from crossport.units import MIB

SIZE = MIB


class Seat:
    """An object of a server, by its URL."""

    def __init__(self, served: Web) -> None:
        self._served = served

    def reader(self) -> BlockReader:
        return opened(self._served)

    def writer(self) -> BlockWriter:
        return opener(self._served).open_writer(DiskRef(kind="http", locator=self._served.url, size=SIZE))


def opener(served: Web, *allowed: str, waits: list[float] | None = None) -> HttpOpener:
    patience = Patience(attempts=3, first_s=1.0)
    remember = list[float]() if waits is None else waits
    return HttpOpener(served.egress(*allowed), sleep=remember.append, timeout_s=2.0, patience=patience)


def opened(served: Web, *, waits: list[float] | None = None, url: str = "") -> BlockReader:
    return opener(served, waits=waits).open_reader(DiskRef(kind="http", locator=url or served.url, size=0))


def read(disk: BlockReader, start: int, size: int) -> bytes:
    buffer = bytearray(size)
    disk.read_into(start, memoryview(buffer))
    return bytes(buffer)


class TestHttpDisk(ReaderConformance):
    @pytest.fixture
    def make(self) -> Generator[Callable[[bytes], DiskSeat]]:
        with ExitStack() as stack:
            yield lambda content: Seat(stack.enter_context(web(content)))


@pytest.fixture
def served() -> Generator[Web]:
    with web(noise(SIZE)) as server:
        yield server


def test_an_object_that_was_replaced_is_broken_even_where_the_server_ignores_the_condition(
    served: Web,
) -> None:
    for honest in (True, False):
        served.honest, served.etag = honest, '"v1"'
        disk = opened(served)
        assert read(disk, 10, 10) == noise(SIZE)[10:20]
        served.etag = '"v2"'
        with pytest.raises(errors.Broken, match=r"transfer\.source\.changed"):
            read(disk, 10, 10)
        disk.close()


def test_a_date_serves_where_there_is_no_strong_tag(served: Web) -> None:
    served.etag, served.modified = 'W/"weak"', "Mon, 30 Nov 2026 08:00:00 GMT"
    disk = opened(served)
    assert read(disk, 0, 4) == noise(4)
    served.modified = "Mon, 30 Nov 2026 08:00:01 GMT"
    with pytest.raises(errors.Broken, match=r"transfer\.source\.changed"):
        read(disk, 0, 4)
    disk.close()


def test_an_object_that_was_replaced_while_the_server_was_away_is_broken(served: Web) -> None:
    disk = opened(served)
    served.answers, served.etag = [503], '"v2"'
    with pytest.raises(errors.Broken, match=r"transfer\.source\.changed"):
        read(disk, 0, 10)
    disk.close()


@pytest.mark.parametrize("failure", [503, 429, 0], ids=["busy", "too-many", "hangs-up"])
def test_a_server_that_fails_for_a_moment_is_asked_again(served: Web, failure: int) -> None:
    waits = list[float]()
    served.answers = [failure]
    disk = opened(served, waits=waits)
    served.answers = [failure]
    assert read(disk, 100, 1000) == noise(SIZE)[100:1100]
    assert waits == [1.0, 1.0]
    disk.close()


def test_a_server_that_stays_away_is_given_up(served: Web) -> None:
    disk, waits = opened(served), list[float]()
    served.answers = [503] * 20
    with pytest.raises(errors.Unavailable, match=r"transfer\.http\.busy"):
        read(disk, 0, 10)
    disk.close()
    with pytest.raises(errors.Unavailable):
        opened(served, waits=waits)
    assert waits == [1.0, 2.0]


@pytest.mark.parametrize(
    ("change", "kind", "code"),
    [
        ({"ranges": False}, errors.Refused, "transfer.http.ranges"),
        ({"etag": None}, errors.Refused, "transfer.http.unversioned"),
        ({"answers": [404]}, errors.NotFound, "transfer.http.missing"),
        ({"answers": [403]}, errors.Refused, "transfer.http.denied"),
        ({"answers": [302] * 9, "location": "/again"}, errors.Refused, "transfer.http.redirects"),
        ({"answers": [302], "location": "http://169.254.169.254/latest"}, errors.Refused, "egress.denied"),
        ({"answers": [301], "location": "file:///etc/passwd"}, errors.Invalid, "egress.url.invalid"),
        ({"answers": [301], "location": "http://user:word@127.0.0.1/"}, errors.Invalid, "egress.url.invalid"),
    ],
    ids=["no-ranges", "no-version", "missing", "denied", "circle", "metadata", "file", "password"],
)
def test_what_cannot_be_copied_is_refused_when_it_is_opened(
    served: Web, change: dict[str, object], kind: type[errors.Error], code: str
) -> None:
    for name, value in change.items():
        setattr(served, name, value)
    with pytest.raises(kind) as caught:
        opened(served)
    assert caught.value.code == code


def test_a_redirect_is_followed_once_and_then_remembered(served: Web) -> None:
    with web(b"") as first:
        first.answers, first.location = [307], served.url
        disk = opened(served, url=first.url)
        assert read(disk, 5, 5) == noise(SIZE)[5:10]
        assert len(first.asked) == 1
        disk.close()


def test_nothing_can_be_written(served: Web) -> None:
    with pytest.raises(errors.Invalid, match=r"transfer\.disk\.kind"):
        Seat(served).writer()


def test_closing_ends_a_read_in_another_thread() -> None:
    with web(noise(SIZE)) as served:
        disk, outcomes = opened(served), list[str]()
        served.delay_s = 0.3

        def reading() -> None:
            try:
                read(disk, 0, 100)
            except errors.Error as error:
                outcomes.append(error.code)

        thread = threading.Thread(target=reading)
        thread.start()
        assert served.delayed.wait(5)
        disk.close()
        thread.join(5)
        assert not thread.is_alive()
        assert outcomes in (["transfer.http.away"], ["transfer.disk.closed"])


def certificate(folder: Path, name: x509.GeneralName) -> tuple[Path, Path]:
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([name]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "key.pem").write_bytes(secret)
    return folder / "cert.pem", folder / "key.pem"


@pytest.mark.parametrize("name", ["127.0.0.1", "127.0.0.2"], ids=["right", "wrong"])
def test_over_tls_the_certificate_must_be_the_hosts(tmp_path: Path, name: str) -> None:
    shown, key = certificate(tmp_path, x509.IPAddress(ipaddress.ip_address(name)))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(shown, key)
    with web(noise(SIZE), server) as served:
        trust = ssl.create_default_context(cafile=str(shown))
        source = HttpOpener(served.egress(), sleep=list[float]().append, timeout_s=5.0, trust=trust)
        ref = DiskRef(kind="http", locator=served.url, size=0)
        if name == "127.0.0.1":
            disk = source.open_reader(ref)
            assert read(disk, 7, 7) == noise(SIZE)[7:14]
            disk.close()
        else:
            with pytest.raises(errors.Refused, match=r"transfer\.http\.certificate"):
                source.open_reader(ref)


def test_of_a_version_that_is_named_nothing_has_changed_and_another_one_is_refused() -> None:
    with web(noise(SIZE)) as served:
        opener = HttpOpener(served.egress(f"http://127.0.0.1:{served.port}"), sleep=list[float]().append)
        named = DiskRef(kind="http", locator=served.url, size=SIZE, identity='ETag "v1"')
        disk = opener.open_reader(named)
        assert [extent.changed for extent in disk.extents(0, SIZE)] == [False]
        disk.close()
        served.etag = '"v2"'
        with pytest.raises(errors.Broken, match=r"transfer\.source\.changed"):
            opener.open_reader(named)


def test_the_server_of_these_tests_says_nothing_of_a_client_that_left(capfd: pytest.CaptureFixture[str]):
    with web(noise(SIZE)) as served:
        rude = socket.create_connection(("127.0.0.1", served.port))
        rude.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        rude.sendall(b"GET /disk.raw HTTP/1.1\r\nHost")
        rude.close()
        disk = opened(served)
        assert read(disk, 0, 4) == noise(SIZE)[:4]
        disk.close()
    assert capfd.readouterr().err == ""
