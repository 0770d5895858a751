"""Who may speak over the link between sites, and who is turned away before a byte of content."""

import asyncio
import datetime
import ssl
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from tests.unit.partner import rig

from crossport import errors
from crossport.identity import SiteIdentity
from crossport.identity.partners import STALE_S
from crossport.model.partner import Partner, PartnerState
from crossport.partner import listener as listening
from crossport.partner.badge import Badge, Shown
from crossport.partner.dialling import Dial
from crossport.spi.partner import Lines
from crossport.spi.secret import Secret


@pytest.fixture
async def north(tmp_path: Path) -> AsyncGenerator[rig.Site]:
    site = await rig.Site(tmp_path, "north").open()
    site.answer("echo", echo)
    site.converse("listen", listen)
    yield site
    await site.close()


@pytest.fixture
async def south(tmp_path: Path) -> AsyncGenerator[rig.Site]:
    site = await rig.Site(tmp_path, "south").open()
    yield site
    await site.close()


async def echo(partner: Partner, body: bytes) -> bytes:
    return partner.name.encode() + body


async def listen(partner: Partner, opening: bytes, lines: Lines) -> None:
    while (line := await lines.receive()) is not None:
        await lines.send(line)


def pem_of(key: ec.EllipticCurvePrivateKey) -> Secret:
    form = serialization.PrivateFormat.PKCS8
    return Secret(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode())


class LooseAuthority:
    """An authority without constraints, which signs whatever name it is told."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "loose")])
        self._certificate = (
            self._builder(self._key, self._name, 3650 * 24.0)
            .add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
            .sign(self._key, hashes.SHA256())
        )

    @property
    def pem(self) -> str:
        return self._certificate.public_bytes(serialization.Encoding.PEM).decode()

    def shown(self, uris: Sequence[str], hours: float = 1.0, *, between: bool = False) -> Shown:
        """Return a certificate for these names, of this authority or of one ``between``."""
        issuer, issued_by, chain = self._key, self._name, ""
        if between:
            issuer = ec.generate_private_key(ec.SECP256R1())
            issued_by = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "between")])
            middle = (
                self._builder(issuer, issued_by, 24.0)
                .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
                .sign(self._key, hashes.SHA256())
            )
            chain = middle.public_bytes(serialization.Encoding.PEM).decode()
        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.UniformResourceIdentifier(uri) for uri in uris]
        leaf = (
            self._builder(key, x509.Name([]), hours, issued_by)
            .add_extension(x509.SubjectAlternativeName(names), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
            .sign(issuer, hashes.SHA256())
        )
        return Shown(leaf.public_bytes(serialization.Encoding.PEM).decode() + chain, pem_of(key), 0.0)

    def _builder(
        self,
        key: ec.EllipticCurvePrivateKey,
        subject: x509.Name,
        hours: float,
        issuer: x509.Name | None = None,
    ) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer or self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=5))
            .not_valid_after(now + datetime.timedelta(hours=hours))
        )


def known(name: str, authority: str, address: str = "https://127.0.0.1:9") -> Partner:
    return Partner(
        name=name,
        authorities=(authority,),
        address=address,
        root="",
        roles="",
        state=PartnerState.ACCEPTED,
        since=0.0,
        changed=0.0,
        refreshed=4e9,
    )


async def turned_away(site: rig.Site, shown: Shown) -> None:
    """Show ``shown`` to a site; nothing of it is answered."""
    dial = Dial(site.name, site.address, (site.identity.authority_pem,), shown)
    try:
        for content in (b"{}", b"x" * (300 << 10)):  # what was sent already does not drown the refusal
            with pytest.raises(errors.Refused) as caught:
                await dial.post("echo", content)
            assert caught.value.code == "partner.certificate.refused"
            assert caught.value.remedy
        with pytest.raises(errors.Refused) as caught:
            async with dial.lines("listen", b""):
                pass
        assert caught.value.code == "partner.certificate.refused"
    finally:
        await dial.close()


async def test_an_authority_of_one_partner_vouches_for_no_other(north: rig.Site, south: rig.Site) -> None:
    await rig.befriend(north, south)
    loose = LooseAuthority()
    await north.book.add(known("east", loose.pem))
    await north.watch.look()
    dial = Dial(
        "north", north.address, (north.identity.authority_pem,), loose.shown(["crossport://east/control/x"])
    )
    assert await dial.post("echo", b"") == b"east"  # it is a partner under its own name
    await dial.close()
    await turned_away(north, loose.shown(["crossport://south/control/x"]))


@pytest.mark.parametrize(
    "uris",
    [
        ["crossport://east/gateway/gw-1"],
        ["crossport://east/invited/i-1"],
        ["crossport://north/invited/i-1"],
        ["crossport://north/control/api"],
        ["crossport://east/control"],
        ["crossport://east/control/x", "crossport://south/control/x"],
        ["https://east/control/x"],
        ["crossport://west/control/x"],
    ],
)
async def test_a_name_that_is_not_a_partners_control_plane_is_nobody(
    north: rig.Site, uris: list[str]
) -> None:
    loose = LooseAuthority()
    await north.book.add(known("east", loose.pem))
    await north.watch.look()
    await turned_away(north, loose.shown(uris))


async def test_certificates_that_live_long_or_come_by_a_detour_are_refused(north: rig.Site) -> None:
    loose = LooseAuthority()
    await north.book.add(known("east", loose.pem))
    await north.watch.look()
    await turned_away(north, loose.shown(["crossport://east/control/x"], hours=25.0))
    await turned_away(north, loose.shown(["crossport://east/control/x"], between=True))


async def test_a_stranger_and_a_gateway_of_the_own_site_are_turned_away(
    north: rig.Site, south: rig.Site, tmp_path: Path
) -> None:
    await turned_away(north, south.badge.shown())
    gateway = north.identity.issue("gateway", "gw-1")
    await turned_away(north, Shown(gateway.certificate_pem, gateway.key_pem, 0.0))
    await rig.befriend(north, south)
    impostor = Badge(SiteIdentity.open(tmp_path / "other", "south", clock=south.clock), south.clock)
    await turned_away(north, impostor.shown())


async def test_who_shows_no_certificate_or_speaks_an_older_tls_learns_nothing(north: rig.Site) -> None:
    port = int(north.address.rpartition(":")[2])
    for newest in (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=north.identity.authority_pem)
        context.check_hostname = False
        context.maximum_version = newest
        async with httpx.AsyncClient(verify=context) as client:
            with pytest.raises((httpx.TransportError, ssl.SSLError)):
                await client.get(f"https://127.0.0.1:{port}/")
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    said = await reader.read()
    assert b"HTTP" not in said
    writer.close()


async def test_the_client_speaks_only_with_the_partner_itself(north: rig.Site, south: rig.Site) -> None:
    await rig.befriend(north, south)
    east = await south.book.known("north")
    await south.book.add(known("east", LooseAuthority().pem, east.address))
    for call in (south.call("east", "echo", b"secret"), _opened(south, "east")):
        with pytest.raises(errors.Refused) as caught:
            await call
        assert caught.value.code == "partner.identity.foreign"
    own = await south.book.known("north")
    await south.book.change("north", lambda _: known("north", own.authorities[0], south.address))
    with pytest.raises(errors.Refused) as caught:
        await south.call("north", "echo", b"secret")
    assert caught.value.code == "partner.identity.foreign"


async def _opened(site: rig.Site, partner: str) -> None:
    async with site.stream(partner, "listen", b"secret"):
        pass


async def test_revocation_ends_what_is_open(north: rig.Site, south: rig.Site) -> None:
    await rig.befriend(north, south)
    dismissed, cancelled = asyncio.Event(), asyncio.Event()

    async def hang(partner: Partner, body: bytes) -> bytes:
        try:
            return await asyncio.Future[bytes]()
        finally:
            dismissed.set()

    async def hold(partner: Partner, opening: bytes, lines: Lines) -> None:
        try:
            await asyncio.Future[None]()
        finally:
            cancelled.set()

    north.answer("hang", hang)
    north.converse("hold", hold)
    calling = asyncio.create_task(south.call("north", "hang", b""))
    async with asyncio.timeout(30), south.stream("north", "hold", b"") as lines:
        await asyncio.sleep(0.05)
        await north.turn("south", PartnerState.REVOKED)  # as another node of the site would
        began = asyncio.get_running_loop().time()
        with pytest.raises(errors.Unavailable):
            await lines.receive()
        with pytest.raises((errors.Unavailable, errors.Refused)):
            await calling
        await cancelled.wait()
        await dismissed.wait()
        assert asyncio.get_running_loop().time() - began < 5.0
    await turned_away(north, south.badge.shown())
    with pytest.raises(errors.Refused) as refused:
        await north.call("south", "echo", b"")
    assert refused.value.code == "partner.revoked"


async def test_who_revoked_asks_no_more_either(north: rig.Site, south: rig.Site) -> None:
    await rig.befriend(north, south)
    async with asyncio.timeout(30), south.stream("north", "listen", b"") as lines:
        await south.turn("north", PartnerState.COMPROMISED)
        with pytest.raises(errors.Unavailable):
            await _talking(lines)


@pytest.mark.parametrize("older", ["caller", "called"])
async def test_a_stream_does_not_outlive_what_was_shown_on_it(
    north: rig.Site, south: rig.Site, older: str
) -> None:
    await rig.befriend(north, south)
    judge = north if older == "caller" else south
    async with asyncio.timeout(30), south.stream("north", "listen", b"") as lines:
        await lines.send(b"once")
        assert await lines.receive() == b"once"
        judge.clock.ahead_s = 24 * 3600.0 + 700
        with pytest.raises(errors.Unavailable) as caught:
            await lines.receive()
        assert caught.value.code == "partner.certificate.expired"
        judge.clock.ahead_s = 0.0
    await judge.watch.look()  # it shows its own time's certificate again
    async with south.stream("north", "listen", b"") as lines:
        await lines.send(b"again")
        assert await lines.receive() == b"again"


async def _talking(lines: Lines) -> None:
    while True:
        await lines.send(b"more")
        await lines.receive()


async def test_one_that_is_not_confirmed_or_stale_may_ask_what_is_early_alone(
    north: rig.Site, south: rig.Site
) -> None:
    await rig.befriend(north, south)
    north.early.answer("about", echo)
    await north.turn("south", PartnerState.INVITED)
    with pytest.raises(errors.Refused) as caught:
        await south.call("north", "echo", b"")
    assert caught.value.code == "partner.unconfirmed"
    assert await south.call("north", "about", b"1") == b"south1"
    await north.turn("south", PartnerState.ACCEPTED)
    assert await south.call("north", "echo", b"") == b"south"
    await north.book.change("south", _aged)
    with pytest.raises(errors.Refused) as stale:
        await south.call("north", "echo", b"")
    assert stale.value.code == "partner.stale"
    assert await south.call("north", "about", b"2") == b"south2"


def _aged(partner: Partner) -> Partner:
    return Partner(
        name=partner.name,
        authorities=partner.authorities,
        address=partner.address,
        root="",
        roles="",
        state=partner.state,
        since=partner.since,
        changed=partner.changed,
        refreshed=partner.refreshed - STALE_S - 1,
    )


async def test_an_invitation_opens_the_exchange_alone(north: rig.Site) -> None:
    dial = Dial("north", north.address, (north.identity.authority_pem,), north.badge.lent("i-1", 600))
    assert await dial.post("exchange", b"hello") == b'"exchanged"'
    assert north.exchanged == [("i-1", b"hello")]
    with pytest.raises(errors.NotFound):
        await dial.post("echo", b"")
    with pytest.raises(errors.NotFound):
        async with dial.lines("listen", b""):
            pass
    await dial.close()


async def test_certificates_are_renewed_while_serving(north: rig.Site, south: rig.Site) -> None:
    await rig.befriend(north, south)
    async with south.stream("north", "listen", b"") as lines:
        before = south.badge.shown().certificate, north.badge.shown().certificate
        for site in (north, south):
            site.clock.ahead_s += 17 * 3600.0
            await site.watch.look()
        assert (south.badge.shown().certificate, north.badge.shown().certificate) != before
        assert south.badge.shown().certificate != before[0]
        await lines.send(b"still")
        assert await lines.receive() == b"still"


async def test_a_body_has_a_bound(north: rig.Site, south: rig.Site) -> None:
    await rig.befriend(north, south)
    with pytest.raises((errors.Invalid, errors.Unavailable)):
        await south.call("north", "echo", b"x" * (9 << 20))
    assert await south.call("north", "echo", b"x" * (7 << 20)) == b"south" + b"x" * (7 << 20)


async def test_a_partner_has_connections_but_not_all(
    north: rig.Site, south: rig.Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rig.befriend(north, south)
    monkeypatch.setattr(listening, "EACH", 1)
    async with south.stream("north", "listen", b""):
        with pytest.raises(errors.Unavailable):
            await _opened(south, "north")
    for _ in range(200):  # the place is free again once the end was seen
        try:
            return await _opened(south, "north")
        except errors.Unavailable:
            await asyncio.sleep(0.02)
    pytest.fail("its place stayed taken")


async def test_who_does_not_know_its_partners_is_away_and_refuses_none(
    north: rig.Site, south: rig.Site
) -> None:
    await rig.befriend(north, south)
    north.answer("ask", echo)
    north.listener.shut()  # as before it has read its book, or when that cannot be read
    with pytest.raises(errors.Unavailable, match="north") as told:
        await south.call("north", "ask", b"1")
    assert told.value.code == "partner.away"
    await north.watch.look()
    assert await south.call("north", "ask", b"1") == b"south1"
