"""What an attacker does to a certified image on its way; `tests.unit.certify.attacks` names it."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tests.unit.certify.world import CHUNK, DISKS, HOUR, NAMES, World, b64, key, leaves_of, part, root_of

from crossport import merkle
from crossport.certify.archive import END, header, padding
from crossport.certify.disk import Arriving
from crossport.certify.listing import own_certificate
from crossport.certify.replay import Newest, Seen, Spent
from crossport.identity.key_signer import KeySigner
from crossport.model.certified import Check, Outcome, PartKind
from crossport.model.import_policy import Partner
from crossport.model.keyring import Algorithm
from crossport.model.statement import canonical, pae, payload_of

Plant: TypeAlias = Callable[[World], None]


def on_file(name: str, change: Callable[[bytes], bytes]) -> Plant:
    def plant(world: World) -> None:
        world.files[name] = change(world.files[name])

    return plant


def without(name: str) -> Plant:
    def plant(world: World) -> None:
        del world.files[name]

    return plant


def flipped(content: bytes) -> bytes:
    return bytes([content[0] ^ 1]) + content[1:]


def on_archive(change: Callable[[bytes], bytes]) -> Plant:
    def plant(world: World) -> None:
        world.change_archive = change

    return plant


def on_envelope(**changes: Any) -> Plant:
    def plant(world: World) -> None:
        world.files[NAMES.seal] = canonical(world.envelope() | changes)

    return plant


def on_seal(**changes: Any) -> Plant:
    return lambda world: world.reseal(**changes)


def on_key(**changes: Any) -> Plant:
    def plant(world: World) -> None:
        world.keys = [replace(each, **changes) for each in world.keys]

    return plant


def on_policy(**changes: Any) -> Plant:
    def plant(world: World) -> None:
        world.policy = replace(world.policy, **changes)

    return plant


def on_partner(**changes: Any) -> Plant:
    return on_policy(partners=(Partner(site="alpha", **changes),))


def on_importer(**changes: Any) -> Plant:
    def plant(world: World) -> None:
        for name, value in changes.items():
            setattr(world, name, value)

    return plant


def on_statement(change: Callable[[dict[str, Any]], None]) -> Plant:
    """What only the holder of the key can do: sign something that Crossport would not."""

    def plant(world: World) -> None:
        statement = world.statement()
        change(statement)
        world.sign(statement)

    return plant


def reordered(content: bytes) -> bytes:
    return json.dumps(json.loads(content), indent=1).encode()


def repeated_in_archive(archive: bytes) -> bytes:
    again = b"another descriptor"
    more = header(NAMES.descriptor, len(again)) + again + padding(len(again))
    return archive.removesuffix(END) + more + END


def owned(archive: bytes) -> bytes:
    """Give the first file an owner, as another packer does, with a sum that is right."""
    block = bytearray(archive[:512])
    block[108:115] = b"0001750"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + archive[512:]


def two_signatures(world: World) -> None:
    only = world.envelope()["signatures"]
    world.files[NAMES.seal] = canonical(world.envelope() | {"signatures": only * 2})


def own_key(world: World) -> None:
    world.signer = KeySigner.made(world.signer.algorithm)
    world.reseal()


def borrowed_key_id(world: World) -> None:
    trusted = world.signer.key_id
    own_key(world)
    signature = {"keyid": trusted, "sig": world.envelope()["signatures"][0]["sig"]}
    on_envelope(signatures=[signature])(world)


def other_algorithm(world: World) -> None:
    others = {Algorithm.ED25519: Algorithm.ECDSA_P256, Algorithm.ECDSA_P256: Algorithm.ED25519}
    on_key(algorithm=others[world.signer.algorithm])(world)


def foreign_kind(public: rsa.RSAPublicKey | ec.EllipticCurvePublicKey) -> Plant:
    def plant(world: World) -> None:
        der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        world.keys = [replace(world.keys[0], public_key=b64(der))]
        on_envelope(signatures=[{"keyid": world.keys[0].id(), "sig": "AAAA"}])(world)

    return plant


def signed_bare(world: World) -> None:
    signature = {"keyid": world.signer.key_id, "sig": b64(world.signer.sign(payload_of(world.seal)))}
    on_envelope(signatures=[signature])(world)


def signed_as_jose(world: World) -> None:
    """Write an ECDSA signature as r and s side by side; one of Ed25519 doubled."""
    signature = world.signer.sign(pae(payload_of(world.seal)))
    if world.signer.algorithm is Algorithm.ECDSA_P256:
        signature = b"".join(each.to_bytes(32) for each in decode_dss_signature(signature))
    else:
        signature *= 2
    on_envelope(signatures=[{"keyid": world.signer.key_id, "sig": b64(signature)}])(world)


def replaced_statement(world: World) -> None:
    other = replace(world.seal, importer="gamma")
    on_envelope(payload=b64(payload_of(other)))(world)


def disk_twice_in_manifest(world: World) -> None:
    first = world.seal.manifest.disks[0]

    def change(statement: dict[str, Any]) -> None:
        disks = statement["predicate"]["manifest"]["disks"]
        statement["predicate"]["manifest"]["disks"] = [disks[0], disks[0]]

    on_statement(change)(world)
    assert first.id == "disk1"


def no_descriptor(world: World) -> None:
    def change(statement: dict[str, Any]) -> None:
        manifest = statement["predicate"]["manifest"]
        manifest["parts"] = [each for each in manifest["parts"] if each["kind"] != "descriptor"]

    on_statement(change)(world)


def partner_in_anothers_name(world: World) -> None:
    world.keys = [key(world.signer, site="gamma")]


def swapped(world: World) -> None:
    one, two = "web-disk1.raw", "web-disk2.raw"
    world.files[one], world.files[two] = world.files[two], world.files[one]


def repeated(world: World) -> None:
    world.files["web-disk2.raw"] = world.files["web-disk1.raw"]


def hidden_content(world: World) -> None:
    """Seal the file of a disk beside the root of another content, as a file read in two ways would be."""
    first, second = world.seal.manifest.disks
    world.remake(disks=(replace(first, root=root_of(b"x" * first.size)), second))


def other_certificate(world: World) -> None:
    stranger = KeySigner.made(world.signer.algorithm)
    world.certificate = own_certificate(stranger, site="alpha", made=world.now, valid_until=world.now + HOUR)
    world.write(world.files[NAMES.seal])


def garbage_certificate(world: World) -> None:
    """The partner seals something as its certificate that is none."""
    world.certificate = b"no certificate"
    world.remake(certificate=hashlib.sha256(world.certificate).hexdigest())


def unsigned_list(world: World) -> None:
    first, _, rest = world.files[NAMES.certificate].partition(b"\n")
    world.files[NAMES.certificate] = first[:-1] + (b"0" if first[-1:] != b"0" else b"1") + b"\n" + rest


def sbom(content: bytes) -> Plant:
    def plant(world: World) -> None:
        name = f"web.{PartKind.SBOM}"
        parts = tuple(each for each in world.seal.manifest.parts if each.kind is not PartKind.SBOM)
        world.files[name] = content
        world.remake(parts=(*parts, part(PartKind.SBOM, name, content)))

    return plant


def without_sbom(world: World) -> None:
    on_policy(sbom_required=True)(world)
    parts = tuple(each for each in world.seal.manifest.parts if each.kind is not PartKind.SBOM)
    del world.files[f"web.{PartKind.SBOM}"]
    world.remake(parts=parts)


def failed_check(world: World) -> None:
    check = Check(name="image.inspection", outcome=Outcome.FAILED, detail="a backing file")
    world.remake(checks=(check,))


def check_not_done(world: World) -> None:
    world.remake(checks=(Check(name="image.inspection", outcome=Outcome.NOT_DONE),))


def names_by_case(world: World) -> None:
    def change(statement: dict[str, Any]) -> None:
        disks = statement["predicate"]["manifest"]["disks"]
        disks[1]["file"] = disks[0]["file"].upper()

    on_statement(change)(world)


def undigested(world: World) -> None:
    def change(statement: dict[str, Any]) -> None:
        statement["predicate"]["manifest"]["disks"][0]["sha256"] = None

    on_statement(change)(world)


def other_descriptor(world: World) -> None:
    first, *rest = world.seal.manifest.parts
    world.files["other.txt"] = world.files[NAMES.descriptor]
    world.remake(parts=(replace(first, name="other.txt"), *rest))


def accepted_before(world: World) -> None:
    world.seen = Seen(spent=(Spent(nonce=world.seal.nonce, valid_until=world.seal.valid_until),))


def newer_accepted(world: World) -> None:
    newest = Newest(site="alpha", cloud="lab", vm="web", made=world.seal.made + 60)
    world.seen = Seen(newest=(newest,))


def streamed(attack: Callable[[Arriving, list[bytes], list[bytes]], None], *, listed: bool) -> Plant:
    """Attack the chunks of the first disk, by paths or with a list of leaves, after its seal was verified."""

    def plant(world: World) -> None:
        content = DISKS["disk1"]
        leaves = leaves_of(content)
        chunks = [content[at : at + CHUNK] for at in range(0, len(content), CHUNK)]
        attack(Arriving(world.verify(), "disk1", leaves if listed else None), chunks, leaves)

    return plant


def altered_leaves(world: World) -> None:
    leaves = leaves_of(DISKS["disk1"])
    Arriving(world.verify(), "disk1", [leaves[1], leaves[0], *leaves[2:]])


def one_missing(arriving: Arriving, chunks: list[bytes], leaves: list[bytes]) -> None:
    for index in range(1, len(chunks)):
        arriving.check(index, chunks[index], merkle.path(leaves, index))
        arriving.check(index, chunks[index], merkle.path(leaves, index))
    arriving.finish()


def padded(world: World) -> None:
    """Hide a byte between the first file of the archive and the next."""
    end = 512 + len(next(iter(world.files.values())))
    world.change_archive = lambda archive: archive[:end] + b"\1" + archive[end + 1 :]


def large(world: World, size: int, **limit: int) -> None:
    world.remake(disks=(replace(world.seal.manifest.disks[0], size=size),))
    on_policy(**limit)(world)
