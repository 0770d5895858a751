"""The site's authority: who it vouches for, proven by OpenSSL in handshakes, and how its file is kept."""

import multiprocessing
import os
import ssl
import stat
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from crossport import errors
from crossport.identity import Leaf, SiteIdentity


class WallClock:
    """The machine's time, moved by ``offset_s``."""

    def __init__(self, offset_s: float = 0.0) -> None:
        self.offset_s = offset_s

    def monotonic(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time() + self.offset_s

    async def sleep(self, seconds: float) -> None:
        raise AssertionError(f"nothing here waits, not even {seconds} s")


def opened(directory: Path, site: str = "north", offset_s: float = 0.0) -> SiteIdentity:
    return SiteIdentity.open(directory, site, clock=WallClock(offset_s))


def context(purpose: int, authority: str, leaf: Leaf, scratch: Path) -> ssl.SSLContext:
    made = ssl.SSLContext(purpose)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_REQUIRED
    made.load_verify_locations(cadata=authority)
    file = scratch / "leaf.pem"
    file.write_text(leaf.certificate_pem + leaf.key_pem.reveal())
    made.load_cert_chain(file)
    return made


def shake_hands(trusted: SiteIdentity, leaf: Leaf, scratch: Path) -> None:
    """Make both ends show ``leaf`` to somebody who trusts ``trusted``; raise ssl.SSLError."""
    server = context(ssl.PROTOCOL_TLS_SERVER, trusted.authority_pem, leaf, scratch)
    client = context(ssl.PROTOCOL_TLS_CLIENT, trusted.authority_pem, leaf, scratch)
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [client.wrap_bio(down, up, server_side=False), server.wrap_bio(up, down, server_side=True)]
    for _ in range(4):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue


def test_a_certificate_of_the_site_is_accepted_at_both_ends(tmp_path: Path) -> None:
    site = opened(tmp_path / "a")
    leaf = site.issue("worker", "run-1.disk-0.send")
    shake_hands(site, leaf, tmp_path)
    assert leaf.name == "crossport://north/worker/run-1.disk-0.send"


def test_a_certificate_of_another_site_is_refused(tmp_path: Path) -> None:
    other = opened(tmp_path / "b").issue("worker", "w")
    with pytest.raises(ssl.SSLError):
        shake_hands(opened(tmp_path / "a"), other, tmp_path)


def test_an_expired_certificate_is_refused(tmp_path: Path) -> None:
    opened(tmp_path / "a", offset_s=-7200)
    old = opened(tmp_path / "a", offset_s=-7200).issue("worker", "w", lifetime_s=60)
    with pytest.raises(ssl.SSLError, match="expired"):
        shake_hands(opened(tmp_path / "a"), old, tmp_path)


@pytest.mark.parametrize(
    "name",
    [x509.UniformResourceIdentifier("crossport://south/worker/w"), x509.DNSName("bank.example")],
    ids=["uri-of-another-site", "foreign-host"],
)
def test_the_authority_cannot_vouch_for_others_even_with_its_own_key(
    tmp_path: Path, name: x509.GeneralName, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unchecked(host: str) -> x509.GeneralName:
        return name

    site = opened(tmp_path / "a")
    monkeypatch.setattr(site, "_host", unchecked)
    forged = site.issue("worker", "w", hosts=["whatever"])
    with pytest.raises(ssl.SSLError, match="subtree"):
        shake_hands(site, forged, tmp_path)


def test_it_does_not_even_try_to_vouch_for_a_host_outside_its_bounds(tmp_path: Path) -> None:
    site = SiteIdentity.open(tmp_path / "a", "north", clock=WallClock(), hosts=["csp.example", "10.0.0.0/8"])
    site.issue("server", "api", hosts=["api.csp.example", "10.1.2.3", "localhost", "127.0.0.1", "::1"])
    for host in ("csp.example.org", "192.0.2.1", "xcsp.example"):
        with pytest.raises(errors.Invalid, match=r"identity\.host\.outside"):
            site.issue("server", "api", hosts=[host])


def asked_for(host: str, trusted: str, leaf: Leaf, scratch: Path) -> None:
    """Let a client that trusts ``trusted`` connect to ``host``; raise ssl.SSLError."""
    server = context(ssl.PROTOCOL_TLS_SERVER, trusted, leaf, scratch)
    server.verify_mode = ssl.CERT_NONE
    client = ssl.create_default_context(cadata=trusted)
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    caller = client.wrap_bio(down, up, server_hostname=host)
    ends = [caller, server.wrap_bio(up, down, server_side=True)]
    for _ in range(4):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert caller.getpeercert()


@pytest.mark.parametrize("host", ["csp.example", "192.0.2.7", "2001:db8::7"])
def test_hosts_that_come_later_widen_the_authority_under_its_key(tmp_path: Path, host: str) -> None:
    narrow = opened(tmp_path / "a")
    before = narrow.issue("worker", "w")
    wide = SiteIdentity.open(tmp_path / "a", "north", clock=WallClock(), hosts=[host])
    leaf = wide.issue("control", "api", hosts=[host, "localhost"])
    for name in (host, "localhost"):
        asked_for(name, wide.authority_pem, leaf, tmp_path)
    shake_hands(wide, before, tmp_path)
    with pytest.raises(ssl.SSLError, match="subtree"):
        asked_for(host, narrow.authority_pem, leaf, tmp_path)
    assert opened(tmp_path / "a").authority_pem == wide.authority_pem


def test_a_host_is_a_name_in_any_case_and_no_pattern(tmp_path: Path) -> None:
    site = SiteIdentity.open(tmp_path / "a", "north", clock=WallClock(), hosts=["CSP.example"])
    site.issue("server", "api", hosts=["API.csp.example"])
    for host in ("*.csp.example", "", "a b.csp.example", "ä.csp.example", ".csp.example", "10.0.0.1/8"):
        with pytest.raises(errors.Invalid, match=r"identity\.host\.invalid"):
            site.issue("server", "api", hosts=[host])
    with pytest.raises(errors.Invalid, match=r"identity\.host\.invalid"):
        SiteIdentity.open(tmp_path / "b", "north", clock=WallClock(), hosts=["10.0.0.1/8"])


def test_a_certificate_is_for_tls_only_and_has_a_serial_of_its_own(tmp_path: Path) -> None:
    site = opened(tmp_path / "a")
    leaves = [
        x509.load_pem_x509_certificate(site.issue("worker", "w").certificate_pem.encode()) for _ in "ab"
    ]
    assert leaves[0].serial_number != leaves[1].serial_number
    usage = leaves[0].extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.digital_signature
    assert not usage.key_cert_sign
    assert not leaves[0].extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    lifetime = leaves[0].not_valid_after_utc - leaves[0].not_valid_before_utc
    assert lifetime.total_seconds() < 2 * 3600


def test_a_certificate_lives_for_a_day_at_most(tmp_path: Path) -> None:
    site = opened(tmp_path / "a")
    with pytest.raises(errors.Invalid, match=r"identity\.lifetime\.long"):
        site.issue("worker", "w", lifetime_s=25 * 3600)


@pytest.mark.parametrize("word", ["", "a/b", "..", "a\nb", "x" * 200])
def test_a_name_cannot_smuggle_in_another(tmp_path: Path, word: str) -> None:
    with pytest.raises(errors.Invalid, match=r"identity\.name\.invalid"):
        opened(tmp_path / "a").issue("worker", word)


def test_the_authority_is_made_once_and_privately(tmp_path: Path) -> None:
    first = opened(tmp_path / "a").authority_pem
    assert opened(tmp_path / "a").authority_pem == first
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "a").iterdir()} == {0o600}


def _authority(directory: Path) -> str:
    return opened(directory).authority_pem


def test_processes_that_start_together_agree_on_one_authority(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        assert len(set(pool.map(_authority, [tmp_path / "a"] * 6))) == 1


def test_a_directory_of_another_site_is_refused(tmp_path: Path) -> None:
    opened(tmp_path / "a")
    with pytest.raises(errors.Conflict, match=r"identity\.site\.other"):
        opened(tmp_path / "a", "south")


def test_a_key_that_others_could_read_is_refused(tmp_path: Path) -> None:
    opened(tmp_path / "a")
    (tmp_path / "a" / "authority.pem").chmod(0o644)
    with pytest.raises(errors.Refused, match=r"identity\.file\.open"):
        opened(tmp_path / "a")
    (tmp_path / "a" / "authority.pem").chmod(0o600)
    (tmp_path / "a").chmod(0o755)
    with pytest.raises(errors.Refused, match=r"identity\.directory\.open"):
        opened(tmp_path / "a")


def test_a_link_in_place_of_the_key_is_not_followed(tmp_path: Path) -> None:
    opened(tmp_path / "a")
    (tmp_path / "a" / "authority.pem").rename(tmp_path / "elsewhere.pem")
    (tmp_path / "a" / "authority.pem").symlink_to(tmp_path / "elsewhere.pem")
    with pytest.raises(errors.Refused, match=r"identity\.file\.kind"):
        opened(tmp_path / "a")


def test_a_pipe_in_place_of_the_key_does_not_hold_us_up(tmp_path: Path) -> None:
    opened(tmp_path / "a")
    (tmp_path / "a" / "authority.pem").unlink()
    os.mkfifo(tmp_path / "a" / "authority.pem", 0o600)
    with pytest.raises(errors.Refused, match=r"identity\.file\.kind"):
        opened(tmp_path / "a")


def test_a_damaged_authority_is_named(tmp_path: Path) -> None:
    opened(tmp_path / "a")
    (tmp_path / "a" / "authority.pem").write_bytes(b"junk")
    with pytest.raises(errors.Broken, match=r"identity\.authority\.damaged"):
        opened(tmp_path / "a")


@pytest.mark.parametrize("site", ["", "North", "-a", "a b", "a" * 70, "a/b"])
def test_a_bad_site_name_is_refused(tmp_path: Path, site: str) -> None:
    with pytest.raises(errors.Invalid, match=r"identity\.site\.name"):
        opened(tmp_path / "a", site)


def test_a_leaf_does_not_show_its_key(tmp_path: Path) -> None:
    assert "PRIVATE" not in repr(opened(tmp_path / "a").issue("worker", "w"))


def request_of(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> str:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "crossport://north/control/api")])
    asked = x509.CertificateSigningRequestBuilder().subject_name(name)
    asked = asked.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return asked.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def test_a_key_made_elsewhere_is_certified_under_the_name_that_the_site_chose(tmp_path: Path):
    key = ec.generate_private_key(ec.SECP256R1())
    signed = opened(tmp_path).certify(request_of(key), "gateway", "gw-1", lifetime_s=86400.0 * 30)
    certificate = x509.load_pem_x509_certificate(signed.certificate_pem.encode())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [name.value for name in names] == ["crossport://north/gateway/gw-1"]
    assert certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    assert certificate.subject.rfc4514_string() == ""
    assert certificate.public_key() == key.public_key()
    assert signed.expires == certificate.not_valid_after_utc.timestamp()


@pytest.mark.parametrize("request_pem", ["", "nonsense", "other key", "spoiled"])
def test_a_request_that_proves_no_key_is_refused(tmp_path: Path, request_pem: str):
    if request_pem == "other key":
        request_pem = request_of(rsa.generate_private_key(public_exponent=65537, key_size=2048))
    if request_pem == "spoiled":
        lines = request_of(ec.generate_private_key(ec.SECP256R1())).splitlines()
        lines[-2] = lines[-2][:8] + ("A" if lines[-2][8] != "A" else "B") + lines[-2][9:]
        request_pem = "\n".join(lines)
    with pytest.raises(errors.Invalid) as caught:
        opened(tmp_path).certify(request_pem, "gateway", "gw-1", lifetime_s=60)
    assert (caught.value.code, caught.value.field) == ("identity.request.invalid", "request")


@pytest.mark.parametrize("lifetime_s", [0, 32 * 86400.0])
def test_no_certificate_lives_for_longer_than_a_month(tmp_path: Path, lifetime_s: float):
    key = ec.generate_private_key(ec.SECP256R1())
    with pytest.raises(errors.Invalid, match="a month"):
        opened(tmp_path).certify(request_of(key), "gateway", "gw-1", lifetime_s=lifetime_s)
