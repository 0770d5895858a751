"""What an importer relies on besides refusals: streams in any order, and what is remembered."""

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.certify.world import CHUNK, DISKS, HOUR, SBOM, World, b64, key, leaves_of

from crossport import errors, merkle
from crossport.certify.disk import Arriving, InOrder
from crossport.certify.key import public_key
from crossport.certify.replay import Seen
from crossport.certify.sbom import packages_in
from crossport.model.certified import Seal
from crossport.model.codec import decoded, encoded
from crossport.model.import_policy import ForbiddenPackage, Partner

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
    check = InOrder(VERIFIED, "disk2")
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
    known = key(WORLD.signer, public_key=b64(compressed))
    assert public_key(known) is None
    whole = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert public_key(replace(known, public_key=b64(whole))) == public
