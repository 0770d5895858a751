"""What the signer signs as a seal: what the control plane approved and the gateway claims, once."""

import base64
import dataclasses
import datetime
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa

from crossport import errors
from crossport.app.clock import SystemClock
from crossport.gateway import trust
from crossport.identity import SiteIdentity
from crossport.identity import role_document as roles
from crossport.identity.claim import Kind
from crossport.identity.signing.desk import Authority, Desk
from crossport.identity.signing.question import AskKeys, AskSeal, Question
from crossport.identity.signing.seal_judge import approved
from crossport.identity.signing.vault import Vault
from crossport.model import codec, statement
from crossport.model.certified import Manifest, Part, PartKind, Seal, SealedDisk
from crossport.model.keyring import KeyRole
from crossport.model.sealing import Approval, Claim, ClaimedDisk, SealSignature
from crossport.model.signature import is_signed
from crossport.model.signed_claim import SignedClaim

SECRET = bytes(32)
NONCE = "ab" * 16
DISK = ClaimedDisk(id="disk-1", size=1 << 20, chunk_size=1 << 18, root="cd" * 32)


class Clock(SystemClock):
    moved_s = 0.0

    def wall(self) -> float:
        return time.time() + self.moved_s


@dataclasses.dataclass
class Scene:
    """A site's signer in this process, and one of its gateways."""

    desk: Desk
    clock: Clock
    identity: SiteIdentity
    key: ec.EllipticCurvePrivateKey
    certificate: str

    def approval(self, **other: Any) -> Approval:
        facts: dict[str, Any] = {
            "run": "run-1",
            "importer": "south",
            "gateways": ("gw-1",),
            "nonce": NONCE,
            "expires": self.clock.wall() + 600,
        }
        return approved(Approval(**facts | other), SECRET)

    def claim(
        self, claim: Claim | None = None, *, key: ec.EllipticCurvePrivateKey | None = None
    ) -> SignedClaim:
        payload = codec.encoded(claim or Claim(site="north", run="run-1", disks=(DISK,))).encode()
        signature = (key or self.key).sign(Kind.READ.value + payload, ec.ECDSA(hashes.SHA256()))
        return SignedClaim(payload=text(payload), signature=text(signature), certificate=self.certificate)

    def seal(self, **other: Any) -> Seal:
        now = self.clock.wall()
        disk = SealedDisk(id=DISK.id, size=DISK.size, chunk_size=DISK.chunk_size, root=DISK.root)
        part = Part(kind=PartKind.DESCRIPTOR, name="web.ovf", size=7, sha256="ef" * 32)
        facts: dict[str, Any] = {
            "site": "north",
            "cloud": "alpha",
            "importer": "south",
            "run": "run-1",
            "nonce": NONCE,
            "made": now,
            "valid_until": now + 3600,
            "manifest": Manifest(vm="web", parts=(part,), disks=(disk,)),
        }
        return Seal(**facts | other)

    def ask(
        self,
        *,
        approval: Approval | None = None,
        claim: SignedClaim | None = None,
        claims: tuple[SignedClaim, ...] = (),
        payload: bytes | None = None,
    ) -> SealSignature:
        ask = AskSeal(
            approval=approval or self.approval(),
            claims=claims or (claim or self.claim(),),
            payload=text(statement.payload_of(self.seal()) if payload is None else payload),
        )
        answer = self.desk.answer(codec.encoded(Question(ask=ask)).encode())
        if answer.failure:
            raise answer.failure.error()
        return codec.decoded(base64.b64decode(answer.value), SealSignature)


def self_made(key: rsa.RSAPrivateKey | ed448.Ed448PrivateKey) -> str:
    """Return a certificate (PEM) that somebody made with any key."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "gw-1")])
    now = datetime.datetime.now(datetime.UTC)
    draft = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    draft = draft.serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(hours=1))
    made = draft.sign(key, hashes.SHA256() if isinstance(key, rsa.RSAPrivateKey) else None)
    return made.public_bytes(serialization.Encoding.PEM).decode()


def unreadable() -> str:
    """Return a certificate that says it is signed by an algorithm that nobody knows."""
    pem = self_made(ed448.Ed448PrivateKey.generate())
    der = x509.load_pem_x509_certificate(pem.encode()).public_bytes(serialization.Encoding.DER)
    other = base64.b64encode(der.replace(bytes.fromhex("06032b6571"), bytes.fromhex("06032b657f"))).decode()
    lines = "\n".join(other[at : at + 64] for at in range(0, len(other), 64))
    return f"-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n"


def text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def authority_of(identity: SiteIdentity) -> Authority:
    return Authority(site="north", key=identity.authority_key, approvals=SECRET.hex())


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    clock = Clock()
    identity = SiteIdentity.open(tmp_path / "identity", "north", clock=clock)
    pem = trust.new_key()
    certified = identity.certify(trust.request_for(pem), trust.GATEWAY, "gw-1", lifetime_s=3600)
    key = serialization.load_pem_private_key(pem.reveal().encode(), password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    desk = Desk(Vault(tmp_path / "signer"), authority_of(identity), clock)
    return Scene(desk, clock, identity, key, certified.certificate_pem)


def test_what_is_approved_and_claimed_is_signed_by_the_seal_key_and_logged(scene: Scene, tmp_path: Path):
    payload = statement.payload_of(scene.seal())
    signed = scene.ask(payload=payload)
    answer = scene.desk.answer(codec.encoded(Question(ask=AskKeys())).encode())
    kept = base64.b64decode(answer.value)
    document = roles.believed(kept, "north", roles.root_of(kept), time.time(), None)
    key = roles.signing_key(document, KeyRole.SEAL, time.time())
    assert key
    assert key.id() == signed.key
    assert is_signed(key.der(), statement.pae(payload), base64.b64decode(signed.signature))
    assert "seal of run run-1 for south" in (tmp_path / "signer" / "log").read_text().splitlines()[-1]


def test_an_approval_is_good_once_also_for_a_signer_that_was_started_anew(scene: Scene, tmp_path: Path):
    scene.ask()
    again = Desk(Vault(tmp_path / "signer"), authority_of(scene.identity), scene.clock)
    for desk in (scene.desk, again):
        with pytest.raises(errors.Refused) as caught:
            dataclasses.replace(scene, desk=desk).ask()
        assert caught.value.code == "signer.approval.used"
    other = "cd" * 16
    scene.ask(approval=scene.approval(nonce=other), payload=statement.payload_of(scene.seal(nonce=other)))


def made(scene: Scene, seconds: float) -> Seal:
    """Return a seal that says it was made so long from now."""
    now = time.time() + seconds
    return scene.seal(made=now, valid_until=now + 3600)


def other_disk(scene: Scene, **other: Any) -> bytes:
    seal = scene.seal()
    (disk,) = seal.manifest.disks
    disks = (dataclasses.replace(disk, **other),)
    return statement.payload_of(
        dataclasses.replace(seal, manifest=dataclasses.replace(seal.manifest, disks=disks))
    )


def no_disk(scene: Scene) -> bytes:
    seal = scene.seal()
    return statement.payload_of(
        dataclasses.replace(seal, manifest=dataclasses.replace(seal.manifest, disks=()))
    )


def foreign(scene: Scene, role: str, name: str, lifetime_s: float = 3600) -> SignedClaim:
    """Return the claim by somebody else of this site."""
    pem = trust.new_key()
    certificate = scene.identity.certify(trust.request_for(pem), role, name, lifetime_s=lifetime_s)
    key = serialization.load_pem_private_key(pem.reveal().encode(), password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return dataclasses.replace(scene.claim(key=key), certificate=certificate.certificate_pem)


WRONG: dict[str, tuple[str, Callable[[Scene], dict[str, Any]]]] = {
    "approval without a MAC": (
        "signer.approval.forged",
        lambda it: {"approval": dataclasses.replace(it.approval(), mac="")},
    ),
    "approval of another control plane": (
        "signer.approval.forged",
        lambda it: {"approval": approved(it.approval(), b"another secret")},
    ),
    "approval changed afterwards": (
        "signer.approval.forged",
        lambda it: {"approval": dataclasses.replace(it.approval(), importer="east")},
    ),
    "approval expired": (
        "signer.approval.expired",
        lambda it: {"approval": it.approval(expires=time.time() - 1)},
    ),
    "approval for ever": (
        "signer.approval.expired",
        lambda it: {"approval": it.approval(expires=time.time() + 86400)},
    ),
    "claim by a gateway that was not approved": (
        "signer.claim.unapproved",
        lambda it: {"claim": foreign(it, trust.GATEWAY, "gw-2")},
    ),
    "claim by something that is no gateway": (
        "signer.claim.foreign",
        lambda it: {"claim": foreign(it, trust.CONTROL, "gw-1")},
    ),
    "claim signed by another key": (
        "signer.claim.forged",
        lambda it: {"claim": it.claim(key=ec.generate_private_key(ec.SECP256R1()))},
    ),
    "claim changed afterwards": (
        "signer.claim.forged",
        lambda it: {
            "claim": dataclasses.replace(
                it.claim(), payload=it.claim(Claim(site="north", run="run-1", disks=())).payload
            )
        },
    ),
    "claim about another run": (
        "signer.claim.other",
        lambda it: {"claim": it.claim(Claim(site="north", run="run-2", disks=(DISK,)))},
    ),
    "claim of another site": (
        "signer.claim.other",
        lambda it: {"claim": it.claim(Claim(site="east", run="run-1", disks=(DISK,)))},
    ),
    "claim that is none": (
        "signer.claim.malformed",
        lambda it: {"claim": dataclasses.replace(it.claim(), payload=text(b"{}"))},
    ),
    "certificate that is none": (
        "signer.claim.malformed",
        lambda it: {"claim": dataclasses.replace(it.claim(), certificate="none")},
    ),
    "seal for another importer": (
        "signer.seal.other",
        lambda it: {"payload": statement.payload_of(it.seal(importer="east"))},
    ),
    "seal in another site's name": (
        "signer.seal.other",
        lambda it: {"payload": statement.payload_of(it.seal(site="east"))},
    ),
    "seal of another run": (
        "signer.seal.other",
        lambda it: {"payload": statement.payload_of(it.seal(run="run-2"))},
    ),
    "seal with another nonce": (
        "signer.seal.other",
        lambda it: {"payload": statement.payload_of(it.seal(nonce="ef" * 16))},
    ),
    "seal made soon": ("signer.seal.time", lambda it: {"payload": statement.payload_of(made(it, 600))}),
    "seal made before": ("signer.seal.time", lambda it: {"payload": statement.payload_of(made(it, -600))}),
    "seal that ends before it begins": (
        "signer.seal.time",
        lambda it: {"payload": statement.payload_of(it.seal(valid_until=time.time() - 1))},
    ),
    "seal valid for a year": (
        "signer.seal.time",
        lambda it: {"payload": statement.payload_of(it.seal(valid_until=time.time() + 366 * 86400))},
    ),
    "another content of a disk": (
        "signer.seal.disks",
        lambda it: {"payload": other_disk(it, root="ff" * 32)},
    ),
    "another size of a disk": ("signer.seal.disks", lambda it: {"payload": other_disk(it, size=1 << 21)}),
    "a disk that is missing": ("signer.seal.disks", lambda it: {"payload": no_disk(it)}),
    "a role document": (
        "signer.seal.malformed",
        lambda _: {"payload": b'{"format":1,"site":"north"}'},
    ),
    "a statement of another kind": (
        "signer.seal.malformed",
        lambda it: {
            "payload": statement.payload_of(it.seal()).replace(b"certified-image:v1", b"conversion-proof:1")
        },
    ),
    "nothing": ("signer.seal.malformed", lambda _: {"payload": b""}),
}


@pytest.mark.parametrize("name", WRONG)
def test_everything_else_is_refused_and_spends_nothing(scene: Scene, name: str):
    code, asked = WRONG[name]
    with pytest.raises(errors.Refused) as caught:
        scene.ask(**asked(scene))
    assert (caught.value.code, bool(caught.value.remedy)) == (code, True)
    assert scene.ask().signature


def test_a_certificate_that_has_ended_or_is_of_another_site_counts_nothing(scene: Scene, tmp_path: Path):
    other = SiteIdentity.open(tmp_path / "other", "north", clock=scene.clock)
    elsewhere = foreign(dataclasses.replace(scene, identity=other), trust.GATEWAY, "gw-1")
    with pytest.raises(errors.Refused) as caught:
        scene.ask(claim=elsewhere)
    assert caught.value.code == "signer.claim.foreign"
    scene.clock.moved_s = 7200
    with pytest.raises(errors.Refused) as ended:
        scene.ask()
    assert ended.value.code == "signer.claim.foreign"


SAID_OTHERWISE: dict[str, Callable[[dict[str, Any]], object]] = {
    "subject's digest": lambda found: found["subject"][0]["digest"].update(sha256="00" * 32),
    "subject missing": lambda found: found["subject"].pop(),
    "subject too many": lambda found: found["subject"].append({"name": "x", "digest": {"sha256": "00" * 32}}),
    "more beside it": lambda found: found.update(more="of it"),
    "more in it": lambda found: found["predicate"].update(more="of it"),
}


@pytest.mark.parametrize("change", SAID_OTHERWISE.values(), ids=SAID_OTHERWISE)
def test_a_statement_that_says_more_or_else_than_its_seal_is_not_signed(
    scene: Scene, change: Callable[[dict[str, Any]], object]
):
    found: dict[str, Any] = json.loads(statement.payload_of(scene.seal()))
    change(found)
    with pytest.raises(errors.Refused) as refused:
        scene.ask(payload=statement.canonical(found))
    assert refused.value.code == "signer.seal.malformed"


def test_a_statement_that_is_written_otherwise_is_not_signed(scene: Scene):
    payload = json.dumps(json.loads(statement.payload_of(scene.seal()))).encode()
    with pytest.raises(errors.Refused) as refused:
        scene.ask(payload=payload)
    assert refused.value.code == "signer.seal.malformed"


def test_whatever_is_sent_as_a_mac_is_answered(scene: Scene):
    with pytest.raises(errors.Refused) as refused:
        scene.ask(approval=dataclasses.replace(scene.approval(), mac="\u00e9"))
    assert refused.value.code == "signer.approval.forged"


@pytest.mark.parametrize(
    "certificate",
    [
        self_made(rsa.generate_private_key(65537, 2048)),
        self_made(ed448.Ed448PrivateKey.generate()),
        unreadable(),
    ],
    ids=["rsa", "ed448", "unreadable"],
)
def test_whatever_is_sent_as_a_certificate_is_answered(scene: Scene, certificate: str):
    with pytest.raises(errors.Refused) as refused:
        scene.ask(claim=dataclasses.replace(scene.claim(), certificate=certificate))
    assert refused.value.code in {"signer.claim.foreign", "signer.claim.malformed"}
