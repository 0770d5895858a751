"""Every attack is planted and refused with its code; every code has an attack; and any bit counts."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.certify.attacks import ATTACKS
from tests.unit.certify.conversion_attacks import CONVERSION_ATTACKS
from tests.unit.certify.world import World

from crossport import errors
from crossport.certify.refusal import REFUSALS
from crossport.model.keyring import Algorithm

WORLDS = {algorithm: World(algorithm) for algorithm in Algorithm}
SEALED = {algorithm: world.archive() for algorithm, world in WORLDS.items()}


@pytest.mark.parametrize("algorithm", Algorithm)
def test_what_nobody_changed_is_accepted(algorithm: Algorithm):
    world = World(algorithm)
    assert world.verify().seal == world.seal


@pytest.mark.parametrize("algorithm", Algorithm)
@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_refused_with_its_code(name: str, algorithm: Algorithm):
    world = World(algorithm)
    with pytest.raises(errors.Refused) as refused:
        attacked(world, name)
    assert refused.value.code == ATTACKS[name].code, refused.value
    assert refused.value.remedy


def attacked(world: World, name: str) -> None:
    ATTACKS[name].plant(world)
    world.verify()


def test_every_code_has_an_attack_that_meets_it():
    planted = {attack.code for attacks in (ATTACKS, CONVERSION_ATTACKS) for attack in attacks.values()}
    assert planted == set(REFUSALS)


@pytest.mark.parametrize("algorithm", Algorithm)
@settings(max_examples=200, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_any_bit_of_the_archive_counts(algorithm: Algorithm, place: float, bit: int):
    sound = SEALED[algorithm]
    at = int(place * len(sound))
    world = WORLDS[algorithm]
    world.change_archive = lambda _: sound[:at] + bytes([sound[at] ^ 1 << bit]) + sound[at + 1 :]
    with pytest.raises(errors.Refused):
        world.verify()


@pytest.mark.parametrize("name", sorted(WORLDS[Algorithm.ED25519].files))
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_bit_of_any_file_counts(name: str, data: st.DataObject):
    world = WORLDS[Algorithm.ED25519]
    sound = world.files[name]
    at = data.draw(st.integers(0, len(sound) - 1))
    bit = data.draw(st.integers(0, 7))
    world.change_archive = lambda archive: archive
    world.files[name] = sound[:at] + bytes([sound[at] ^ 1 << bit]) + sound[at + 1 :]
    try:
        with pytest.raises(errors.Refused):
            world.verify()
    finally:
        world.files[name] = sound
