"""The signer signs a conversion attestation of what was admitted, written and claimed, and nothing else."""

import base64
import dataclasses
import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from tests.unit.identity.test_seal_judge import DISK, NONCE, SECRET, Scene, authority_of, scene, text

from crossport import errors
from crossport.identity.claim import Kind
from crossport.identity.signing.desk import Desk
from crossport.identity.signing.question import AskConversion, Question
from crossport.identity.signing.seal_judge import approved
from crossport.identity.signing.vault import Vault
from crossport.model import codec
from crossport.model.certified import Seal
from crossport.model.conversion import Conversion, ConversionApproval, ConversionProof, ConvertedDisk, Tool
from crossport.model.sealing import Approval, Claim, ClaimedDisk, SealSignature
from crossport.model.signed_claim import SignedClaim
from crossport.model.statement import canonical, conversion_payload, payload_of

__all__ = ["scene"]

CONVERTED = dataclasses.replace(DISK, root="ee" * 32)


@dataclasses.dataclass
class Case:
    """All that the signer is asked with; a test changes one thing."""

    scene: Scene
    seal: Seal
    conversion: Conversion
    approval: ConversionApproval
    written: tuple[SignedClaim, ...]
    converted: tuple[SignedClaim, ...]
    sealed: bytes = b""
    payload: bytes = b""

    def ask(self) -> SealSignature:
        proof = ConversionProof(
            sealed=text(self.sealed or payload_of(self.seal)),
            written=self.written,
            converted=self.converted,
        )
        payload = self.payload or conversion_payload(self.conversion)
        ask = AskConversion(approval=self.approval, proof=proof, payload=text(payload))
        answer = self.scene.desk.answer(codec.encoded(Question(ask=ask)).encode())
        if answer.failure:
            raise answer.failure.error()
        return codec.decoded(base64.b64decode(answer.value), SealSignature)


def claim(scene: Scene, kind: Kind, disk: ClaimedDisk, run: str = "run-1") -> SignedClaim:
    payload = codec.encoded(Claim(site="north", run=run, disks=(disk,))).encode()
    signature = scene.key.sign(kind.value + payload, ec.ECDSA(hashes.SHA256()))
    return SignedClaim(payload=text(payload), signature=text(signature), certificate=scene.certificate)


def converted_disk(disk: ClaimedDisk) -> ConvertedDisk:
    return ConvertedDisk(id=disk.id, size=disk.size, chunk_size=disk.chunk_size, root=disk.root)


def case(scene: Scene, **other: Any) -> Case:
    """Return what is signed, but for what is other in the seal."""
    now = scene.clock.wall()
    facts: dict[str, Any] = {"site": "south", "importer": "north", "made": now - 60}
    seal = scene.seal(**facts | other)
    digest = hashlib.sha256(payload_of(seal)).hexdigest()
    conversion = Conversion(
        site="north",
        cloud="alpha",
        run="run-1",
        seal=digest,
        nonce=NONCE,
        tool=Tool(name="converter", version="1", image="aa" * 32),
        input=(converted_disk(DISK),),
        output=(converted_disk(CONVERTED),),
        started=now - 30,
        finished=now - 1,
    )
    return Case(
        scene=scene,
        seal=seal,
        conversion=conversion,
        approval=approval(scene, seal=digest),
        written=(claim(scene, Kind.WRITTEN, DISK),),
        converted=(claim(scene, Kind.CONVERTED, CONVERTED),),
    )


def approval(scene: Scene, **other: Any) -> ConversionApproval:
    facts: dict[str, Any] = {
        "run": "run-1",
        "gateways": ("gw-1",),
        "nonce": NONCE,
        "expires": scene.clock.wall() + 600,
    }
    return approved(ConversionApproval(**facts | other), SECRET)


def test_what_was_admitted_written_and_claimed_is_signed_by_the_seal_key_and_logged(
    scene: Scene, tmp_path: Path
):
    asked = case(scene)
    signed = asked.ask()
    sealing = scene.ask(approval=scene.approval(nonce="cd" * 16), payload=other_nonce(scene))
    assert signed.key == sealing.key
    kept = (tmp_path / "signer" / "log").read_text()
    assert f"conversion in run run-1 of {asked.conversion.seal}" in kept


def other_nonce(scene: Scene) -> bytes:
    return payload_of(scene.seal(nonce="cd" * 16))


def changed(**other: Any) -> Callable[[Case], None]:
    """Change what is stated of the conversion."""

    def change(it: Case) -> None:
        it.conversion = dataclasses.replace(it.conversion, **other)

    return change


def put(name: str, value: Callable[[Case], Any]) -> Callable[[Case], None]:
    """Change what is handed in beside it."""
    return lambda it: setattr(it, name, value(it))


def sealed_otherwise(**other: Any) -> Callable[[Case], None]:
    """Hand in another image, of which everything says that it was admitted."""

    def change(it: Case) -> None:
        found = case(it.scene, **other)
        it.seal, it.conversion, it.approval = found.seal, found.conversion, found.approval

    return change


def of_a_seal(it: Case) -> Any:
    seal = it.scene.approval()
    kept = ConversionApproval(
        run=seal.run, seal=it.conversion.seal, gateways=seal.gateways, nonce=seal.nonce, expires=seal.expires
    )
    return dataclasses.replace(kept, mac=seal.mac)


WRONG: dict[str, tuple[str, Callable[[Case], None]]] = {
    "approval without a MAC": (
        "signer.approval.forged",
        put("approval", lambda it: dataclasses.replace(it.approval, mac="")),
    ),
    "approval of another image": (
        "signer.conversion.other",
        put("approval", lambda it: approval(it.scene, seal="00" * 32)),
    ),
    "approval made for a seal": ("signer.approval.forged", put("approval", of_a_seal)),
    "approval expired": (
        "signer.approval.expired",
        put("approval", lambda it: approval(it.scene, seal=it.conversion.seal, expires=time.time() - 1)),
    ),
    "approval of other gateways": (
        "signer.claim.unapproved",
        put("approval", lambda it: approval(it.scene, seal=it.conversion.seal, gateways=("gw-2",))),
    ),
    "in another site's name": ("signer.conversion.other", changed(site="south")),
    "of another run": ("signer.conversion.other", changed(run="run-2")),
    "of another image": ("signer.conversion.other", changed(seal="00" * 32)),
    "with another nonce": ("signer.conversion.other", changed(nonce="ef" * 16)),
    "an image beside it that is another": (
        "signer.conversion.other",
        put("sealed", lambda it: payload_of(it.scene.seal(site="south", importer="north"))),
    ),
    "an image for another site": ("signer.conversion.other", sealed_otherwise(importer="east")),
    "an image of another run": ("signer.conversion.other", sealed_otherwise(run="run-2")),
    "an image that is none": ("signer.seal.malformed", put("sealed", lambda _: b"{}")),
    "an end to come": ("signer.conversion.time", changed(finished=time.time() + 3600)),
    "an end before its beginning": ("signer.conversion.time", changed(finished=time.time() - 3600)),
    "a beginning before the seal": ("signer.conversion.time", changed(started=time.time() - 3600)),
    "input that was not sealed": (
        "signer.conversion.input",
        changed(input=(converted_disk(CONVERTED),)),
    ),
    "input that was not written": (
        "signer.conversion.input",
        put("written", lambda it: (claim(it.scene, Kind.WRITTEN, CONVERTED),)),
    ),
    "input that was written in another run": (
        "signer.claim.other",
        put("written", lambda it: (claim(it.scene, Kind.WRITTEN, DISK, run="run-2"),)),
    ),
    "output that nobody claims": ("signer.conversion.output", changed(output=(converted_disk(DISK),))),
    "output with one disk more": (
        "signer.conversion.output",
        changed(output=(converted_disk(CONVERTED), converted_disk(dataclasses.replace(DISK, id="disk-2")))),
    ),
    "output of which only the writing is claimed": (
        "signer.claim.forged",
        put("converted", lambda it: (claim(it.scene, Kind.WRITTEN, CONVERTED),)),
    ),
    "output that is claimed twice": ("signer.claim.twice", put("converted", lambda it: it.converted * 2)),
    "a seal": ("signer.conversion.malformed", put("payload", lambda it: payload_of(it.seal))),
    "nothing that can be read": ("signer.conversion.malformed", put("payload", lambda _: b"{}")),
    "more than its conversion says": (
        "signer.conversion.malformed",
        put("payload", lambda it: canonical(json.loads(conversion_payload(it.conversion)) | {"more": 1})),
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_everything_else_is_refused_and_spends_nothing(scene: Scene, name: str):
    code, change = WRONG[name]
    asked = case(scene)
    change(asked)
    with pytest.raises(errors.Refused) as caught:
        asked.ask()
    assert (caught.value.code, bool(caught.value.remedy)) == (code, True)
    assert case(scene).ask().signature


def test_an_approval_is_good_once_also_for_a_signer_that_was_started_anew(scene: Scene, tmp_path: Path):
    asked = case(scene)
    asked.ask()
    again = Desk(Vault(tmp_path / "signer"), authority_of(scene.identity), scene.clock)
    asked.scene = dataclasses.replace(scene, desk=again)
    with pytest.raises(errors.Refused) as caught:
        asked.ask()
    assert caught.value.code == "signer.approval.used"


def test_an_approval_of_a_conversion_seals_nothing(scene: Scene):
    """The two kinds of approval are told apart by what their MAC is over."""
    held = case(scene).approval
    taken = Approval(
        run=held.run, importer="south", gateways=held.gateways, nonce=held.nonce, expires=held.expires
    )
    with pytest.raises(errors.Refused) as caught:
        scene.ask(approval=dataclasses.replace(taken, mac=held.mac))
    assert caught.value.code == "signer.approval.forged"
