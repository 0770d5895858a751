"""A conversion attestation leads from the sealed roots to the converted ones, and every attack is refused."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.certify.conversion_attacks import CONVERSION_ATTACKS
from tests.unit.certify.converted import TOOL, ConvertedWorld

from crossport import errors
from crossport.certify.conversion import attested, verify_conversion
from crossport.certify.refusal import STEPS
from crossport.model.keyring import Algorithm

WORLDS = {algorithm: ConvertedWorld(algorithm) for algorithm in Algorithm}
VERIFIED = {algorithm: world.verify() for algorithm, world in WORLDS.items()}


@pytest.mark.parametrize("algorithm", Algorithm)
def test_what_was_attested_leads_from_the_sealed_disks_to_those_that_start(algorithm: Algorithm):
    world = ConvertedWorld(algorithm)
    found = world.verify_conversion()
    assert found.conversion == world.conversion
    assert found.key.site == "beta"
    assert [disk.root for disk in found.conversion.input] == [disk.root for disk in world.seal.manifest.disks]
    assert found.conversion.input[0].root != found.conversion.output[0].root


def test_any_tool_counts_where_none_is_named():
    world = ConvertedWorld()
    world.tools = set()
    assert world.verify_conversion().conversion.tool == TOOL


@pytest.mark.parametrize("listed", [(TOOL.image,), ("00" * 32,)])
def test_the_policy_says_too_which_tools_may_convert(listed: tuple[str, ...]):
    world = ConvertedWorld()
    world.policy = replace(world.policy, conversion_tools=listed)
    if TOOL.image in listed:
        assert world.verify_conversion().conversion.tool == TOOL
        return
    with pytest.raises(errors.Refused) as refusal:
        world.verify_conversion()
    assert refusal.value.code == "conversion.tool.unlisted"


def test_the_verification_goes_through_every_step_in_order():
    world = ConvertedWorld()
    verification = world.verification()
    verified = world.verify_by(verification)
    verify_conversion(verification, verified.seal, world.attestation)
    steps = [reason.step for reason in verification.reasons]
    assert steps == sorted(steps)
    assert set(steps) == set(STEPS) - {17, 25}


@pytest.mark.parametrize("algorithm", Algorithm)
@pytest.mark.parametrize("name", CONVERSION_ATTACKS)
def test_an_attack_is_refused_with_its_code(name: str, algorithm: Algorithm):
    world = ConvertedWorld(algorithm)
    CONVERSION_ATTACKS[name].plant(world)
    with pytest.raises(errors.Refused) as refused:
        world.verify_conversion()
    assert refused.value.code == CONVERSION_ATTACKS[name].code, refused.value
    assert refused.value.remedy


@pytest.mark.parametrize("algorithm", Algorithm)
@settings(max_examples=100, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_any_bit_of_the_attestation_counts(algorithm: Algorithm, place: float, bit: int):
    world, sound = WORLDS[algorithm], WORLDS[algorithm].attestation
    at = int(place * len(sound))
    bad = sound[:at] + bytes([sound[at] ^ 1 << bit]) + sound[at + 1 :]
    with pytest.raises(errors.Refused) as refused:
        verify_conversion(world.verification(), VERIFIED[algorithm].seal, bad)
    assert refused.value.code.startswith("conversion.")


def test_what_nobody_would_understand_is_not_attested():
    world = ConvertedWorld()
    world.attest(output=world.conversion.output[:1])
    with pytest.raises(errors.Refused) as refused:
        attested(world.conversion, world.own)
    assert refused.value.code == "conversion.disk.missing"
