"""The authorities that vouch for a site to its partners: how many there are, and when one is forgotten."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from crossport import errors
from crossport.identity import MasterKeys, SealedFiles, SealedSecrets, SiteIdentity
from crossport.identity.link_authority import LEAD_S, MANY, LinkAuthorities
from crossport.testing.document import MemoryDocuments

DAY_S = 86400.0


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def wall(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


class Rig:
    """A site, and nodes of it that share documents and secrets."""

    def __init__(self, folder: Path) -> None:
        self.clock = Clock()
        self.identity = SiteIdentity.open(folder / "identity", "north", clock=self.clock)
        self.documents = MemoryDocuments()
        master = MasterKeys.open(folder / "identity" / "master", entropy=os.urandom)
        self.sealed_in = folder / "secrets"
        store = SealedFiles(self.sealed_in)
        self.secrets = SealedSecrets(store, master, site="north", entropy=os.urandom)

    def node(self) -> LinkAuthorities:
        return LinkAuthorities(self.identity, self.secrets, lambda: self.documents, self.clock)


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


async def replaced(authorities: LinkAuthorities) -> None:
    await authorities.add()
    await authorities.switch()


async def test_one_that_was_replaced_is_forgotten_when_no_certificate_of_it_lives(rig: Rig):
    authorities, other = rig.node(), rig.node()
    for _ in range(3):
        await replaced(authorities)
        rig.clock.now += 1.0
    await other.load()
    assert other.keys == authorities.keys
    assert len(authorities.keys) == 3
    rig.clock.now += DAY_S + LEAD_S - 2.0
    await replaced(authorities)
    assert len(authorities.keys) == 3
    rig.clock.now += 2.0
    await replaced(authorities)
    assert len(authorities.keys) == len(list(rig.sealed_in.glob("*.sealed"))) == 3
    await other.load()
    assert (other.keys, other.shown.authority_pem) == (authorities.keys, authorities.shown.authority_pem)
    assert authorities.own_key == rig.identity.authority_key


async def test_the_role_document_lists_one_no_longer_than_its_certificates_live(rig: Rig):
    authorities = rig.node()
    await replaced(authorities)
    (good,) = authorities.keys
    assert good.valid_until > rig.clock.now + 1000 * DAY_S
    await authorities.add()
    await authorities.revoke()
    gone, shown = authorities.keys
    assert gone == replace(good, revoked=rig.clock.now, valid_until=rig.clock.now + LEAD_S)
    assert shown.valid_until > rig.clock.now + 1000 * DAY_S
    assert authorities.own_key.revoked == rig.clock.now


async def test_at_the_bound_one_waits_until_the_oldest_are_over(rig: Rig):
    authorities = rig.node()
    for _ in range(MANY - 1):
        await replaced(authorities)
    with pytest.raises(errors.Conflict) as caught:
        await authorities.add()
    assert caught.value.code == "partner.authority.many"
    shown = authorities.shown.authority_pem
    rig.clock.now += DAY_S + LEAD_S
    await authorities.add()
    assert (len(authorities.keys), authorities.shown.authority_pem) == (2, shown)
