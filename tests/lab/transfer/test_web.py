"""Images from a web server by the mover's real workers: names resolved outside, breaks, changes, refusals."""

import asyncio
import contextlib
import os
import ssl
from collections.abc import AsyncIterator, Generator, Sequence
from pathlib import Path

import pytest
from cryptography import x509
from tests.lab.transfer.transfer_lab import Lab, MachineClock, workers_of
from tests.unit.migration.image_store import Store
from tests.unit.transfer.test_http_disk import certificate
from tests.unit.transfer.web import Web, web

from crossport import errors
from crossport.migration.fetch import FetchMeans, Wanted, WebImages
from crossport.model.artifact import DiskRef, Progress
from crossport.model.construct import Image
from crossport.spi.making import ImageStore
from crossport.testing.conformance.block import noise
from crossport.transfer.confined import LocalHost
from crossport.transfer.egress import Egress
from crossport.transfer.look import WebLook
from crossport.transfer.simple import Settings, SimpleMover

MIB = 1 << 20
CONTENT = noise(8 * MIB + 4711)
NAME = "images.test"


class Site:
    """What fetches: a new one is the site after a restart."""

    def __init__(self, folder: Path, served: Web, trust: Path) -> None:
        self.resolved = list[str]()
        self.told = list[Progress]()
        self.folder = folder / "fetched"
        self.journals = folder / "journals"
        rules = (f"https://{NAME}:{served.port}", "127.0.0.1/32")
        egress = Egress(rules, resolve=self.resolve, authorities=trust.read_text())
        host, clock = LocalHost(self.journals), MachineClock()
        self.images = WebImages(
            FetchMeans(
                folder=self.folder,
                look=WebLook(host, egress),
                mover=SimpleMover(host, clock, Settings(egress=egress)),
                clock=clock,
                token=self.token,
            ),
            64 * MIB,
        )
        self._tokens = iter(range(1 << 20))

    def token(self) -> str:
        return f"{id(self):x}{next(self._tokens)}"

    def resolve(self, host: str, port: int) -> Sequence[str]:
        del port
        self.resolved.append(host)
        return ["127.0.0.1"] if host == NAME else ["169.254.169.254"]


async def fetched(site: Site, one: Wanted, store: ImageStore) -> Image:
    """Fetch as a run does."""
    image = await site.images.take(one, store, site.told.append)
    await site.images.forget(one.run)
    return image


def wanted(served: Web, host: str = NAME) -> Wanted:
    url = f"https://{host}:{served.port}/disk.raw"
    return Wanted(tenant="acme", cloud="lab", name="debian", image_format="raw", url=url)


@pytest.fixture
def trust(tmp_path: Path) -> Path:
    return certificate(tmp_path, x509.DNSName(NAME))[0]


@pytest.fixture
def served(tmp_path: Path, trust: Path) -> Generator[Web]:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(trust, tmp_path / "key.pem")
    with web(CONTENT, server) as one:
        yield one


async def test_an_image_arrives_over_https_by_a_name_that_only_the_site_can_resolve(
    tmp_path: Path, served: Web, trust: Path
) -> None:
    site, store = Site(tmp_path, served, trust), Store()
    image = await fetched(site, wanted(served), store)
    assert (image.name, image.size) == ("debian", len(CONTENT))
    assert store.held["debian"] == CONTENT
    assert (site.told[-1].size, site.told[-1].done) == (len(CONTENT), len(CONTENT))
    assert set(site.resolved) == {NAME}
    assert list(site.folder.iterdir()) == []
    assert [path for path in site.journals.rglob("*") if path.is_file()] == []
    with pytest.raises(errors.Conflict, match=r"image\.exists"):
        await fetched(site, wanted(served), store)


async def test_what_had_arrived_is_not_fetched_again_after_a_break(
    tmp_path: Path, served: Web, trust: Path
) -> None:
    store = Store()
    served.breaks_after = 4 * MIB
    with pytest.raises(errors.Unavailable, match=r"transfer\.http\.away"):
        await fetched(Site(tmp_path, served, trust), wanted(served), store)
    assert store.held == {}
    served.breaks_after, before = None, served.given
    assert before > 2 * MIB
    await fetched(Site(tmp_path, served, trust), wanted(served), store)
    assert store.held["debian"] == CONTENT
    assert served.given - before < len(CONTENT) - 2 * MIB


async def test_nothing_is_kept_of_an_image_that_the_cloud_refuses(
    tmp_path: Path, served: Web, trust: Path
) -> None:
    class Wary(Store):
        async def add_image(self, name: str, image_format: str, content: AsyncIterator[bytes]) -> Image:
            raise errors.Refused("image.backing", f"{name} names a file of the host.")

    site = Site(tmp_path, served, trust)
    with pytest.raises(errors.Refused, match=r"image\.backing"):
        await fetched(site, wanted(served), Wary())
    assert list(site.folder.iterdir()) == []
    assert [path for path in site.journals.rglob("*") if path.is_file()] == []


async def test_another_version_of_the_object_is_fetched_from_its_beginning(
    tmp_path: Path, served: Web, trust: Path
) -> None:
    store, site = Store(), Site(tmp_path, served, trust)
    served.becomes = (4 * MIB, '"v2"', CONTENT[::-1])
    with pytest.raises(errors.Broken, match=r"transfer\.source\.changed") as changed:
        await fetched(site, wanted(served), store)
    assert changed.value.remedy
    await fetched(site, wanted(served), store)
    assert store.held["debian"] == CONTENT[::-1]


@pytest.mark.parametrize(
    ("location", "code"),
    [
        ("https://metadata.test/latest", "egress.denied"),
        (f"https://{NAME}/other-port", "egress.denied"),
        ("http://127.0.0.1/plain", "egress.denied"),
    ],
)
async def test_a_redirect_to_where_nobody_may_go_is_not_followed(
    tmp_path: Path, served: Web, trust: Path, location: str, code: str
) -> None:
    site = Site(tmp_path, served, trust)
    served.answers, served.location = [302], location
    with pytest.raises(errors.Refused) as refused:
        await fetched(site, wanted(served), Store())
    assert refused.value.code == code
    assert len(served.asked) == 1


async def test_a_host_that_is_not_listed_is_not_even_resolved(
    tmp_path: Path, served: Web, trust: Path
) -> None:
    site = Site(tmp_path, served, trust)
    with pytest.raises(errors.Refused, match=r"egress\.denied") as refused:
        await fetched(site, wanted(served, "elsewhere.test"), Store())
    assert "setting egress" in refused.value.remedy
    assert (site.resolved, served.asked) == ([], [])


async def test_an_unknown_authority_is_refused(tmp_path: Path, served: Web) -> None:
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    site = Site(tmp_path, served, certificate(stranger, x509.DNSName(NAME))[0])
    with pytest.raises(errors.Refused, match=r"transfer\.http\.certificate"):
        await fetched(site, wanted(served), Store())


async def test_a_worker_without_a_guard_fetches_nothing(lab: Lab, served: Web) -> None:
    source = WebLook(LocalHost(), Egress(()))
    with pytest.raises(errors.Refused, match=r"egress\.denied"):
        await source.look(f"https://127.0.0.1:{served.port}/disk.raw", lab.place())


async def test_of_what_comes_in_order_only_no_byte_lies_in_the_clear(
    tmp_path: Path, served: Web, trust: Path
) -> None:
    site, store = Site(tmp_path, served, trust), Store()
    served.ranges, served.etag = False, None
    found = list[bytes]()

    async def watch() -> None:
        while True:
            found.extend(staged(worker.pid) for worker in workers_of(os.getpid()) if " send " in worker.name)
            await asyncio.sleep(0.01)

    watching = asyncio.create_task(watch())
    await fetched(site, wanted(served), store)
    watching.cancel()
    assert store.held["debian"] == CONTENT
    seen = max(found, key=len)
    assert len(seen) > MIB
    assert all(CONTENT[at : at + 64] not in seen for at in range(0, len(seen), 4096))


def staged(pid: int) -> bytes:
    """Return what lies in the deleted file that a worker has open; it may end meanwhile."""
    with contextlib.suppress(OSError):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            if str(link.readlink()).endswith("(deleted)"):
                return link.read_bytes()
    return b""


async def test_a_disk_is_put_to_a_web_server_and_fed_again_without_the_link_when_that_breaks_off(
    tmp_path: Path, served: Web, trust: Path
) -> None:
    lab = Lab(tmp_path)
    rules = (f"https://{NAME}:{served.port}", "127.0.0.1/32")
    egress = Egress(rules, resolve=lambda _host, _port: ["127.0.0.1"], authorities=trust.read_text())
    mover = SimpleMover(LocalHost(tmp_path / "journals"), lab.clock, Settings(egress=egress))
    content = CONTENT[: 3 * MIB] + bytes(4 * MIB) + CONTENT[3 * MIB :]
    served.uploads.breaks = [MIB, len(content) - MIB]
    target = DiskRef(kind="http", locator=f"https://{NAME}:{served.port}/disk", size=1 << 40)
    moved = await mover.move(*lab.tickets(lab.file(content), target), lambda _: None)
    assert served.uploads.kept == [content]
    assert served.uploads.begun == 3
    assert moved.counters.resent == 0
    assert moved.counters.sent < len(CONTENT) + MIB
