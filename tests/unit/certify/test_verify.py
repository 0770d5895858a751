"""What an importer relies on besides refusals: streams in any order, and what is remembered."""

import base64
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.certify.world import CHUNK, DISKS, HOUR, NAMES, NOW, SBOM, World, b64, key, leaves_of

from crossport import errors, merkle
from crossport.certify.disk import Arriving, InOrder
from crossport.certify.package import verify_package
from crossport.certify.replay import Seen
from crossport.certify.sbom import packages_in
from crossport.certify.verify import ALLOWED_SKEW_S
from crossport.model.certified import Seal
from crossport.model.codec import decoded, encoded
from crossport.model.import_policy import ForbiddenPackage, Partner
from crossport.model.keyring import Algorithm, KeyRole
from crossport.model.signature import algorithm_of, is_signed
from crossport.model.statement import canonical, pae, payload_of

WORLD = World()
VERIFIED = WORLD.verify()


@given(st.permutations(range(3)), st.booleans())
def test_chunks_may_arrive_in_any_order(order: list[int], listed: bool):
    content = DISKS["disk1"]
    leaves = leaves_of(content)
    arriving = Arriving(VERIFIED, "disk1", leaves if listed else None)
    for index in order:
        path = () if listed else merkle.path(leaves, index)
        arriving.check(index, content[index * CHUNK : (index + 1) * CHUNK], path)
    arriving.finish()


def test_a_disk_in_order_may_have_its_zeros_told_by_number():
    content = DISKS["disk2"]
    assert content[CHUNK : 2 * CHUNK] == bytes(CHUNK)
    check = InOrder(VERIFIED.seal.manifest.disks[1])
    check.add(content[:CHUNK])
    check.add_zeros(1)
    for at in range(2 * CHUNK, len(content), CHUNK):
        check.add(content[at : at + CHUNK])
    check.finish()


def test_an_accepted_image_is_remembered_until_its_seal_ends_and_its_vm_for_ever():
    world = World()
    verification = world.verification()
    world.seen = verification.accepted(world.verify_by(verification), world.seen)
    assert decoded(encoded(world.seen), Seen) == world.seen
    with pytest.raises(errors.Refused) as again:
        world.verify()
    assert again.value.code == "seal.replay.nonce"
    world.now = world.seal.valid_until + 1
    world.policy = replace(world.policy, max_age_hours=1000.0)
    world.reseal(nonce="77" * 16, made=world.now - HOUR, valid_until=world.now + HOUR)
    later = world.verification()
    seen = later.accepted(world.verify_by(later), world.seen)
    assert [each.nonce for each in seen.spent] == ["77" * 16]
    assert [each.made for each in seen.newest] == [world.seal.made]


def test_two_that_accept_one_image_at_the_same_time_accept_it_once():
    first, second = WORLD.verification(), WORLD.verification()
    one, two = WORLD.verify_by(first), WORLD.verify_by(second)
    seen = first.accepted(one, Seen())
    with pytest.raises(errors.Refused) as late:
        second.accepted(two, seen)
    assert late.value.code == "seal.replay.nonce"


def test_a_package_is_forbidden_by_name_or_purl_and_version():
    for rule, hit in (
        (ForbiddenPackage(name="openssl"), True),
        (ForbiddenPackage(name="OpenSSL", versions=("3.0.*",)), True),
        (ForbiddenPackage(name="openssl", versions=("1.*",)), False),
        (ForbiddenPackage(name="pkg:deb/debian/openssl@*"), True),
        (ForbiddenPackage(name="pkg:deb/debian/openssl"), True),
        (ForbiddenPackage(name="pkg:deb/debian/open"), False),
        (ForbiddenPackage(name="[o]penssl"), False),
        (ForbiddenPackage(name="ssl"), False),
    ):
        world = World()
        world.policy = replace(world.policy, forbidden_packages=(rule,))
        try:
            world.verify()
            refused = False
        except errors.Refused as error:
            refused = error.code == "policy.package.forbidden"
        assert refused is hit, rule


def test_a_seal_that_no_importer_would_understand_is_not_made():
    world = World()
    one = world.seal.manifest.disks[0]
    with pytest.raises(errors.Refused) as twice:
        world.remake(disks=(one, one))
    assert twice.value.code == "seal.manifest.repeated"


def test_a_seal_survives_its_json():
    assert decoded(encoded(WORLD.seal), Seal) == WORLD.seal


def test_the_stricter_age_of_policy_and_partner_counts():
    world = World()
    world.policy = replace(
        world.policy, max_age_hours=0.5, partners=(Partner(site="alpha", max_age_hours=100.0),)
    )
    with pytest.raises(errors.Refused) as old:
        world.verify()
    assert old.value.code == "policy.age.exceeded"


def test_an_sbom_has_a_bound():
    assert len(packages_in(SBOM, limit=3)) == 3
    with pytest.raises(errors.Refused) as many:
        packages_in(SBOM, limit=2)
    assert many.value.code == "seal.sbom.invalid"


def test_a_key_in_another_encoding_is_not_that_key():
    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    point = public.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    compressed = bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200") + point
    assert load_der_public_key(compressed) == public
    whole = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert [algorithm_of(each) for each in (compressed, whole)] == [None, Algorithm.ECDSA_P256]


def mirrored(signature: bytes) -> bytes:
    """Return another good ECDSA signature, which anybody can make of one."""
    r, s = decode_dss_signature(signature)
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    return encode_dss_signature(r, order - s)


def test_a_signature_has_one_form_in_the_envelope_and_in_the_certificate_file():
    world = World()
    envelope = world.envelope()
    (signature,) = envelope["signatures"]
    other = mirrored(base64.b64decode(signature["sig"]))
    assert is_signed(world.signer.public_key(), pae(payload_of(world.seal)), other)
    world.write(canonical(envelope | {"signatures": [signature | {"sig": b64(other)}]}))
    with pytest.raises(errors.Refused) as refused:
        world.verify()
    assert refused.value.code == "seal.signature.wrong"
    world = World()
    text = world.files[NAMES.certificate]
    first, rest = text.split(b"\n", 1)
    name, found = first.split(b"= ")
    mirror = mirrored(bytes.fromhex(found.decode())).hex().encode()
    world.files[NAMES.certificate] = b"%s= %s\n%s" % (name, mirror, rest)
    with pytest.raises(errors.Refused) as refused:
        world.verify()
    assert refused.value.code == "seal.certificate.wrong"


def test_an_image_does_not_come_in_again_when_the_clock_is_set_back():
    world = World()
    first = world.verification()
    world.seen = first.accepted(world.verify_by(first), Seen())
    world.seen = replace(world.seen, spent=())  # as after its end, when another one was accepted
    with pytest.raises(errors.Refused) as again:
        world.verify()
    assert again.value.code == "seal.replay.nonce"


@pytest.mark.parametrize("changes", [{}, {"revoked": 0.0}, {"role": KeyRole.AUDIT}, {"valid_until": 1.0}])
def test_a_partner_that_claims_the_key_of_another_keeps_nobody_out(changes: dict[str, Any]):
    world = World()
    world.keys = [key(world.signer, site="mallory", **changes), *world.keys]
    assert world.verify().key.site == "alpha"
    world.keys = world.keys[:1]
    with pytest.raises(errors.Refused):
        world.verify()


def test_no_small_file_is_read_twice():
    files = WORLD.package()
    verify_package(WORLD.verification(), files)
    assert sorted(files.read) == sorted(set(files.read))


def test_of_a_file_that_is_longer_than_sealed_no_more_is_read_than_shows_it():
    for name in ("web.variables", NAMES.descriptor, NAMES.listing, NAMES.certificate):
        files = WORLD.package()
        files.files[name] += bytes(1 << 20)
        with pytest.raises(errors.Refused) as refused:
            verify_package(WORLD.verification(), files)
        assert refused.value.field == name
        assert files.most[name] < 1 << 18


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"revoked": NOW}, "seal.key.revoked"),
        ({"revoked": NOW + 1}, ""),
        ({"valid_until": NOW}, "seal.key.expired"),
        ({"valid_until": NOW + 1}, ""),
    ],
)
def test_a_key_ends_at_the_moment_that_is_stated(changes: dict[str, Any], code: str):
    world = World()
    world.keys = [key(world.signer, **changes)]
    assert refusal(world) == code


@pytest.mark.parametrize(
    ("ahead", "code"), [(ALLOWED_SKEW_S, ""), (ALLOWED_SKEW_S + 1, "seal.time.future")], ids=str
)
def test_the_clocks_of_two_sites_may_differ_by_so_much(ahead: float, code: str):
    world = World()
    world.reseal(made=NOW + ahead)
    assert refusal(world) == code


def refusal(world: World) -> str:
    """Return the code by which the image is refused, empty when it is not."""
    try:
        world.verify()
    except errors.Refused as error:
        return error.code
    return ""
