"""The site's own certificate authority: it vouches for this site's workers, servers and gateways.

Made on first use, kept in one private file. It is name-constrained: it can vouch for URI names of this site
and for the hosts that were named to it, and for nothing else, wherever it is trusted. The
certificates it issues live for a day at most, so that nothing has to be revoked. Those for keys that were
made elsewhere live longer; whoever accepts one has to ask whether its owner still belongs to the site.
"""

import base64
import datetime
import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from crossport import errors
from crossport.identity import private_file
from crossport.model.keyring import Algorithm, Key, KeyRole
from crossport.spi.clock import Clock
from crossport.spi.secret import Secret

__all__ = ["Certified", "Leaf", "SiteIdentity"]

MAX_LIFETIME_S = 24 * 3600
MAX_CERTIFIED_S = 31 * MAX_LIFETIME_S
AUTHORITY_LIFETIME = datetime.timedelta(days=3650)
_CLOCK_SKEW = datetime.timedelta(minutes=5)
_FILE = "authority.pem"
_MAX_HOST = 253
_LOCAL_HOSTS = ("localhost", "127.0.0.0/8", "::1/128")
_SITE = re.compile(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?")
# A name, not a pattern: a wildcard would vouch for hosts that nobody named.
_HOST = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True, slots=True)
class Leaf:
    """A short-lived certificate with its key. ``fingerprint`` is the hex SHA-256 of its DER form."""

    name: str
    certificate_pem: str
    key_pem: Secret
    fingerprint: str
    expires: float


@dataclass(frozen=True, slots=True)
class Certified:
    """A certificate for a key that its owner keeps. ``expires`` is in Unix seconds."""

    certificate_pem: str
    expires: float


class SiteIdentity:
    """The authority of one site. `open` makes or finds it."""

    def __init__(
        self, site: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey, clock: Clock
    ) -> None:
        self.site = site
        self._certificate = certificate
        self._key = key
        self._clock = clock

    @classmethod
    def open(cls, directory: Path, site: str, *, clock: Clock, hosts: Sequence[str] = ()) -> "SiteIdentity":
        """Return the authority kept in ``directory``, made now if there is none.

        ``hosts`` are DNS names and networks that servers of this site may have besides this machine. Where
        they are new, the authority gets a wider certificate under its old key: what it issued stays valid,
        and who trusts the earlier certificate does not accept the new hosts before they have this one.
        Raise Conflict (``identity.site.other``) when the directory belongs to another site, Refused when
        others can read it, Broken when the file is damaged.
        """
        if not _SITE.fullmatch(site):
            raise errors.Invalid(
                "identity.site.name",
                f"{site!r} is no name for a site.",
                remedy="Use lower-case letters, digits, dots and dashes, at most 63.",
                field="site",
            )
        private_file.make_private(directory)
        path = directory / _FILE
        wanted = [_subtree(host) for host in (*_LOCAL_HOSTS, *hosts)]
        with private_file.locked(directory):
            kept = private_file.read(path)
            if kept is None:
                kept = _made(site, _time(clock), ec.generate_private_key(ec.SECP256R1()), wanted)
                private_file.write(path, kept)
            certificate, key = _loaded(kept, path)
            _check_site(certificate, site, directory)
            bounds = _bounds(certificate)
            if missing := [name for name in wanted if not any(_within(name, bound) for bound in bounds)]:
                kept = _made(site, _time(clock), key, [*bounds, *missing])
                private_file.write(path, kept)
                certificate, key = _loaded(kept, path)
        return cls(site, certificate, key, clock)

    @classmethod
    def made(cls, site: str, clock: Clock) -> tuple["SiteIdentity", Secret]:
        """Return a further authority of a site, and what `kept` finds it again by; it names no hosts."""
        text = _made(site, _time(clock), ec.generate_private_key(ec.SECP256R1()), [])
        return cls(site, *_loaded(text, Path(_FILE)), clock), Secret(text.decode())

    @classmethod
    def kept(cls, site: str, secret: Secret, clock: Clock) -> "SiteIdentity":
        """Return an authority that was `made` before."""
        return cls(site, *_loaded(secret.reveal().encode(), Path(_FILE)), clock)

    @property
    def authority_pem(self) -> str:
        """The authority's certificate, for whoever has to trust this site."""
        return self._certificate.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def authority_key(self) -> Key:
        """The authority's public key, as role documents list it."""
        der = self._key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return Key(
            public_key=base64.b64encode(der).decode(),
            algorithm=Algorithm.ECDSA_P256,
            site=self.site,
            role=KeyRole.CA,
            valid_from=self._certificate.not_valid_before_utc.timestamp(),
            valid_until=self._certificate.not_valid_after_utc.timestamp(),
        )

    def issue(self, role: str, name: str, *, lifetime_s: float = 3600, hosts: Sequence[str] = ()) -> Leaf:
        """Return a certificate for ``crossport://<site>/<role>/<name>`` with a new key.

        It serves both ends of a connection. ``hosts`` are DNS names and addresses a server is reached by.
        Raise Invalid for a lifetime over a day, for what is no host, and for one that the authority cannot
        vouch for.
        """
        if not 0 < lifetime_s <= MAX_LIFETIME_S:
            raise errors.Invalid(
                "identity.lifetime.long",
                "A certificate lives for a day at most.",
                remedy=f"Ask for at most {MAX_LIFETIME_S} seconds, and for a new one in time.",
                field="lifetime_s",
            )
        uri = self._uri(role, name)
        names = [x509.UniformResourceIdentifier(uri), *(self._host(host) for host in hosts)]
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._signed(names, key.public_key(), datetime.timedelta(seconds=lifetime_s))
        return Leaf(
            name=uri,
            certificate_pem=certificate.public_bytes(serialization.Encoding.PEM).decode(),
            key_pem=Secret(_key_pem(key).decode()),
            fingerprint=certificate.fingerprint(hashes.SHA256()).hex(),
            expires=certificate.not_valid_after_utc.timestamp(),
        )

    def certify(self, request_pem: str, role: str, name: str, *, lifetime_s: float) -> Certified:
        """Return a certificate for ``crossport://<site>/<role>/<name>`` and the key of a request (CSR).

        What the request says besides its key counts nothing. Raise Invalid for a lifetime over a month, and
        for a request that is none, or whose signature does not prove its key.
        """
        uri = self._uri(role, name)
        if not 0 < lifetime_s <= MAX_CERTIFIED_S:
            raise errors.Invalid(
                "identity.lifetime.long",
                "This certificate lives for a month at most.",
                remedy=f"Ask for at most {MAX_CERTIFIED_S} seconds, and for a new one in time.",
                field="lifetime_s",
            )
        key = _requested_key(request_pem)
        certificate = self._signed(
            [x509.UniformResourceIdentifier(uri)], key, datetime.timedelta(seconds=lifetime_s)
        )
        return Certified(
            certificate_pem=certificate.public_bytes(serialization.Encoding.PEM).decode(),
            expires=certificate.not_valid_after_utc.timestamp(),
        )

    def _uri(self, role: str, name: str) -> str:
        for word in (role, name):
            if not _WORD.fullmatch(word):
                raise errors.Invalid(
                    "identity.name.invalid",
                    f"{word!r} cannot be part of a certificate's name.",
                    remedy="Use letters, digits, dots, dashes and underscores, at most 128.",
                    field="name",
                )
        return f"crossport://{self.site}/{role}/{name}"

    def _signed(
        self, names: list[x509.GeneralName], key: ec.EllipticCurvePublicKey, lifetime: datetime.timedelta
    ) -> x509.Certificate:
        now = _time(self._clock)
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self._certificate.subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _CLOCK_SKEW)
            .not_valid_after(now + lifetime)
            # Critical because the subject is empty (RFC 5280, section 4.2.1.6).
            .add_extension(x509.SubjectAlternativeName(names), critical=True)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(digital_signature=True), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
        )
        return builder.sign(self._key, hashes.SHA256())

    def _host(self, host: str) -> x509.GeneralName:
        name = _general_name(host)
        if not any(_within(name, bound) for bound in _bounds(self._certificate)):
            raise errors.Invalid(
                "identity.host.outside",
                f"This site's authority does not vouch for {host}: it is none of the site's hosts.",
                remedy="Add it to the setting hosts, and start the server again.",
                field="hosts",
            )
        return name


def _requested_key(request_pem: str) -> ec.EllipticCurvePublicKey:
    try:
        request = x509.load_pem_x509_csr(request_pem.encode())
        key, proven = request.public_key(), request.is_signature_valid
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _no_request() from error
    if (
        not proven
        or not isinstance(key, ec.EllipticCurvePublicKey)
        or not isinstance(key.curve, ec.SECP256R1)
    ):
        raise _no_request()
    return key


def _no_request() -> errors.Invalid:
    return errors.Invalid(
        "identity.request.invalid",
        "This is no request for a certificate of a P-256 key that its sender has.",
        remedy="Use the request that the program itself makes.",
        field="request",
    )


def _made(
    site: str, now: datetime.datetime, key: ec.EllipticCurvePrivateKey, hosts: Sequence[x509.GeneralName]
) -> bytes:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Crossport site {site}"[:64])])
    # OpenSSL compares the host part of a URI with the constraint (RFC 5280, section 4.2.1.10).
    permitted = [x509.UniformResourceIdentifier(site), *hosts]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # A clock that ran ahead when the site was made must not lock it out once it is set right.
        .not_valid_before(now - AUTHORITY_LIFETIME)
        .not_valid_after(now + AUTHORITY_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(key_cert_sign=True), critical=True)
        .add_extension(x509.NameConstraints(permitted, None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return _key_pem(key) + certificate.public_bytes(serialization.Encoding.PEM)


def _loaded(kept: bytes, path: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    try:
        key = serialization.load_pem_private_key(kept, password=None)
        certificate = x509.load_pem_x509_certificate(kept)
    except ValueError as error:
        raise _damaged(path) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or certificate.public_key() != key.public_key():
        raise _damaged(path)
    return certificate, key


def _damaged(path: Path) -> errors.Broken:
    return errors.Broken(
        "identity.authority.damaged",
        f"{path} does not hold a certificate with its key.",
        remedy="Restore the file from a backup. Without it partners have to accept this site anew.",
    )


def _check_site(certificate: x509.Certificate, site: str, directory: Path) -> None:
    names = _permitted(certificate)
    found = next((name.value for name in names if isinstance(name, x509.UniformResourceIdentifier)), "")
    if found != site:
        raise errors.Conflict(
            "identity.site.other",
            f"{directory} holds the identity of site {found}, not of {site}.",
            remedy="Use the site's own name, or another state directory.",
            field="site",
        )


def _bounds(certificate: x509.Certificate) -> list[x509.GeneralName]:
    """Return the hosts and networks that the authority may vouch for."""
    return [name for name in _permitted(certificate) if not isinstance(name, x509.UniformResourceIdentifier)]


def _permitted(certificate: x509.Certificate) -> list[x509.GeneralName]:
    constraints = certificate.extensions.get_extension_for_class(x509.NameConstraints).value
    return constraints.permitted_subtrees or []


def _usage(*, digital_signature: bool = False, key_cert_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=key_cert_sign,
        crl_sign=key_cert_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _subtree(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_network(host))
    except ValueError:
        return _dns_name(host)


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return _dns_name(host)


def _dns_name(host: str) -> x509.DNSName:
    if not _HOST.fullmatch(host.lower()) or len(host) > _MAX_HOST:
        raise errors.Invalid(
            "identity.host.invalid",
            f"{host!r} is neither a host's name nor an address or network.",
            remedy="Write api.example.org, 192.0.2.1 or 192.0.2.0/24, without wildcards.",
            field="hosts",
        )
    return x509.DNSName(host.lower())


def _within(name: x509.GeneralName, bound: x509.GeneralName) -> bool:
    """Say whether ``name``, a host or a network, lies in ``bound``."""
    if isinstance(name, x509.IPAddress) and isinstance(bound, x509.IPAddress):
        inner, outer = ipaddress.ip_network(str(name.value)), ipaddress.ip_network(str(bound.value))
        if isinstance(inner, ipaddress.IPv4Network) and isinstance(outer, ipaddress.IPv4Network):
            return inner.subnet_of(outer)
        if isinstance(inner, ipaddress.IPv6Network) and isinstance(outer, ipaddress.IPv6Network):
            return inner.subnet_of(outer)
        return False
    if isinstance(name, x509.DNSName) and isinstance(bound, x509.DNSName):
        return name.value == bound.value or name.value.endswith("." + bound.value)
    return False


def _time(clock: Clock) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(clock.wall(), datetime.UTC)
