"""Verify the seal of a certified image: steps 2 to 10 of docs/certified-image.md.

Nothing that a seal says is used before its signature was checked. What comes out is what the checks of files
and chunks need; without it they cannot be made, so nothing is believed before the seal was verified.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from crossport import errors
from crossport.certify.envelope import Envelope, Subject, opened
from crossport.certify.policy import admitted, packages_admitted
from crossport.certify.refusal import Reason, refused
from crossport.certify.replay import Seen
from crossport.certify.sbom import Package
from crossport.certify.statement import seal_in
from crossport.model.certified import Seal
from crossport.model.import_policy import ImportPolicy
from crossport.model.keyring import Key, Keyring, KeyRole
from crossport.model.signature import algorithm_of, is_only_form, is_signed
from crossport.model.statement import pae

__all__ = [
    "ALLOWED_SKEW_S",
    "Importer",
    "LONGEST_LIFE_S",
    "Verification",
    "Verified",
    "good_keys",
    "moment",
    "proven",
    "require_proven",
]

ALLOWED_SKEW_S = 300.0
"""By so much the clocks of two sites may differ."""
LONGEST_LIFE_S = 366 * 86400.0


@dataclass(frozen=True, slots=True)
class Importer:
    """Who verifies: the site, whom it trusts, what it asks for, what it saw before, and its time (Unix
    seconds)."""

    site: str
    keyring: Keyring
    policy: ImportPolicy
    seen: Seen
    now: float


@dataclass(frozen=True, slots=True)
class Verified:
    """A seal that was verified, and the key that made it."""

    seal: Seal
    key: Key


class Verification:
    """One verification, by ``importer``. ``reasons`` grows with every step that found nothing wrong, also
    before a refusal."""

    def __init__(self, importer: Importer) -> None:
        self.importer = importer
        self.reasons: list[Reason] = []

    def seal(self, text: bytes) -> Verified:
        """Return the verified seal of the envelope ``text``; raise Refused with the code of what is wrong."""
        envelope = opened(text)
        self.passed(2, "the envelope has its only form and one signature")
        keys = self._keys(envelope)
        require_proven(keys[0], envelope, "seal")
        self.passed(5, f"the signature is that of the key, by {keys[0].algorithm}")
        seal = seal_in(envelope.payload)
        self.passed(6, f"the statement is a certified image, version {seal.manifest.version}")
        key = self._sites(seal, keys)
        self._time(seal, key)
        _require_new(seal, self.importer.seen)
        self.passed(9, f"no image with this nonce and no newer one of {seal.manifest.vm} was accepted")
        self._policy(seal, key)
        return Verified(seal, key)

    def passed(self, step: int, text: str) -> None:
        """Note that ``step`` found nothing wrong."""
        self.reasons.append(Reason(step, text))

    def packages(self, packages: tuple[Package, ...]) -> None:
        """Step 16: raise Refused when the guest holds one that the policy forbids."""
        self.reasons.append(packages_admitted(self.importer.policy, packages))

    def accepted(self, verified: Verified, seen: Seen) -> Seen:
        """Step 17: return what the site has to remember from now on, durably, before it uses the image.

        ``seen`` is what it remembers at this moment, held against others who accept images.
        """
        _require_new(verified.seal, seen)
        self.passed(17, f"the nonce {verified.seal.nonce[:16]} is spent")
        return seen.after(verified.seal, now=self.importer.now)

    def _keys(self, envelope: Envelope) -> list[Key]:
        """Steps 3 and 4: return what is known of the key. Step 7 finds whose it is, if several say so."""
        good = good_keys(self.importer, envelope, "seal")
        self.passed(3, f"the key {envelope.key_id[:16]} of {' and '.join(key.site for key in good)} may seal")
        self.passed(4, f"the key is valid until {moment(good[0].valid_until)} and not revoked")
        return good

    def _sites(self, seal: Seal, keys: list[Key]) -> Key:
        """Step 7: return the key as that of the site which the seal names."""
        key = next((key for key in keys if key.site == seal.site), None)
        if key is None:
            raise refused("seal.site.foreign", said=seal.site, owner=keys[0].site)
        if seal.importer != self.importer.site:
            raise refused("seal.importer.other", importer=seal.importer, here=self.importer.site)
        self.passed(7, f"{seal.site} exported it for {seal.importer}")
        return key

    def _time(self, seal: Seal, key: Key) -> None:
        """Step 8."""
        now = self.importer.now
        if not 0 < seal.valid_until - seal.made <= LONGEST_LIFE_S:
            raise refused("seal.time.order", days=round(LONGEST_LIFE_S / 86400))
        if seal.made > now + ALLOWED_SKEW_S:
            raise refused("seal.time.future", moment=moment(seal.made))
        if now >= seal.valid_until:
            raise refused("seal.time.expired", moment=moment(seal.valid_until))
        if not key.valid_from <= seal.made < key.valid_until:
            raise refused("seal.key.period", moment=moment(seal.made))
        self.passed(8, f"it was made at {moment(seal.made)} and is valid until {moment(seal.valid_until)}")

    def _policy(self, seal: Seal, key: Key) -> None:
        """Step 10."""
        policy, here = self.importer.policy, self.importer.site
        if policy.site != here:
            raise refused("policy.site.other", said=policy.site, here=here)
        self.reasons += admitted(policy, seal, key.id(), self.importer.now)


def proven(key: Key, signature: bytes, payload: bytes) -> bool:
    """Say whether ``signature``, in its only form, is the key's over ``payload``."""
    return is_only_form(signature, key.algorithm) and is_signed(key.der(), payload, signature)


def good_keys(importer: Importer, envelope: Envelope, about: Subject) -> list[Key]:
    """Return the keys of this id that may seal now, of each site that lists one; raise Refused for none."""
    good, faults = list[Key](), list[errors.Refused]()
    for key in importer.keyring.named(envelope.key_id):
        try:
            _require_seal_key(key, about)
            _require_in_time(key, importer.now, about)
        except errors.Refused as error:
            faults.append(error)
        else:
            good.append(key)
    if not good:
        raise next(iter(faults), refused(f"{about}.key.unknown", key=envelope.key_id[:16]))
    return good


def require_proven(key: Key, envelope: Envelope, about: Subject) -> None:
    """Raise Refused unless the envelope's signature is the key's over its payload."""
    if not proven(key, envelope.signature, pae(envelope.payload)):
        raise refused(f"{about}.signature.wrong", key=envelope.key_id[:16])


def _require_seal_key(key: Key, about: Subject) -> None:
    """Step 3."""
    name = key.id()[:16]
    if algorithm_of(key.der()) is not key.algorithm:
        raise refused(f"{about}.key.algorithm", key=name, algorithm=key.algorithm)
    if key.role is not KeyRole.SEAL:
        raise refused(f"{about}.key.role", key=name, role=key.role)


def _require_in_time(key: Key, now: float, about: Subject) -> None:
    """Step 4. A revoked key is believed nothing, whatever time its statements claim."""
    name = key.id()[:16]
    if key.revoked is not None and now >= key.revoked:
        raise refused(f"{about}.key.revoked", key=name, moment=moment(key.revoked))
    if now < key.valid_from:
        raise refused(f"{about}.key.early", key=name, moment=moment(key.valid_from))
    if now >= key.valid_until:
        raise refused(f"{about}.key.expired", key=name, moment=moment(key.valid_until))


def _require_new(seal: Seal, seen: Seen) -> None:
    """Step 9."""
    if seen.is_spent(seal.nonce):
        raise refused("seal.replay.nonce", nonce=seal.nonce[:16])
    newest = seen.newest_of(seal)
    if seal.made < newest:
        raise refused("seal.replay.older", vm=seal.manifest.vm, moment=moment(newest))


def moment(seconds: float) -> str:
    """Return a time as people read it, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
