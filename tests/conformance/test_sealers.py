"""Whoever has seals signed passes one suite: in memory, and the site's, which asks what the signer does."""

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from crossport import errors
from crossport.app.clock import SystemClock
from crossport.gateway.claims import OwnClaims
from crossport.gateway.trust import GATEWAY, new_key, request_for
from crossport.identity import SiteIdentity
from crossport.identity.claim import Kind, signed_claim
from crossport.identity.sealer import SealerMeans, SiteSealer
from crossport.identity.signing.desk import Authority, Desk
from crossport.identity.signing.keeper import Ask
from crossport.identity.signing.question import Question
from crossport.identity.signing.vault import Vault
from crossport.identity.site_keys import KeptKeys
from crossport.model import codec
from crossport.model.keyring import KeyRole
from crossport.model.role import RevokeRequest
from crossport.model.sealing import Claim
from crossport.spi.document import Documents
from crossport.spi.sealing import Claimant, Sealer
from crossport.testing.conformance.sealer import DISKS, RUN, SITE, SealerConformance
from crossport.testing.document import MemoryDocuments
from crossport.testing.sealer import MemorySealer

SECRET = bytes(32)
REMOVED = "gw-removed"
Node = Callable[[str], SiteSealer]


class OwnDesk:
    """What the signer's process does, in this one."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def ask(self, ask: Ask) -> bytes:
        answer = self._desk.answer(codec.encoded(Question(ask=ask)).encode())
        if answer.failure:
            raise answer.failure.error()
        return base64.b64decode(answer.value)


async def admitted(gateway: str, certificate: str, cloud: str) -> None:
    assert certificate
    if cloud != "alpha":
        raise errors.Refused("signer.claim.cloud", f"{gateway} is not of {cloud}.", remedy="None here.")
    if gateway == REMOVED:
        raise errors.Refused("gateway.removed", f"{gateway} was removed.", remedy="Enroll it again.")


@pytest.fixture
def identity(tmp_path: Path) -> SiteIdentity:
    return SiteIdentity.open(tmp_path / "identity", SITE, clock=SystemClock())


@pytest.fixture
def documents() -> Documents:
    return MemoryDocuments()


@pytest.fixture
def node(tmp_path: Path, identity: SiteIdentity, documents: Documents) -> Node:
    """Return what makes the sealers of the site's nodes."""
    authority = Authority(site=SITE, key=identity.authority_key, approvals=SECRET.hex())

    def made(name: str) -> SiteSealer:
        desk = Desk(Vault(tmp_path / name), authority, SystemClock())
        means = SealerMeans(
            site=SITE,
            node=name,
            keeper=OwnDesk(desk),
            documents=lambda: documents,
            authority=authority.key,
            approvals=SECRET,
            clock=SystemClock(),
            admitted=admitted,
        )
        return SiteSealer(means)

    return made


class TestMemorySealer(SealerConformance):
    @pytest.fixture
    def sealer(self) -> Sealer:
        return MemorySealer(SITE)

    @pytest.fixture
    def claimant(self) -> Claimant:
        return MemorySealer(SITE)


class TestSiteSealer(SealerConformance):
    @pytest.fixture
    def sealer(self, node: Node) -> Sealer:
        return node("a")

    @pytest.fixture
    def claimant(self, identity: SiteIdentity) -> Claimant:
        return OwnClaims(identity, "a", SystemClock())


async def test_each_node_believes_the_seals_of_all(node: Node):
    """What a node's signer lists is published when it is asked, once."""
    first, second = node("a"), node("b")
    alone = {key.id() for key in (await first.keyring()).keys}
    both = {key.id() for key in (await second.keyring()).keys}
    assert alone < both == {key.id() for key in (await first.keyring()).keys}


async def test_a_key_is_revoked_at_every_node_wherever_it_lies(
    node: Node, tmp_path: Path, identity: SiteIdentity, documents: Documents
):
    """The operator asks the node with the pinned signer; the other one hears of it before it signs again."""
    first, second = node("a"), node("b")
    own = {key.id() for key in (await first.keyring()).keys}
    both = (await second.keyring()).keys
    (theirs,) = (key.id() for key in both if key.role is KeyRole.SEAL and key.id() not in own)
    authority = Authority(site=SITE, key=identity.authority_key, approvals=SECRET.hex())
    desk = OwnDesk(Desk(Vault(tmp_path / "a"), authority, SystemClock()))
    keys = KeptKeys(cast("Any", desk), lambda: documents, SystemClock(), site=SITE, node="a")
    await keys.revoke(RevokeRequest(key=theirs))
    for sealer in (first, second):  # one that was told, and one that only read of it
        (listed,) = (await sealer.keyring()).named(theirs)
        assert listed.revoked is not None
    good = {key.id() for key in (await second.keyring()).keys if key.role is KeyRole.SEAL and not key.revoked}
    assert len(good) == 2  # another one signs there
    with pytest.raises(errors.NotFound):
        await keys.revoke(RevokeRequest(key="00" * 32))


async def test_what_a_removed_gateway_claims_counts_no_more(node: Node, identity: SiteIdentity):
    key = new_key()
    certificate = identity.certify(request_for(key), GATEWAY, REMOVED, lifetime_s=3600).certificate_pem
    claim = Claim(site=SITE, run=RUN, disks=DISKS[:1])
    with pytest.raises(errors.Refused) as caught:
        await node("a").witnessed(RUN, "alpha", (signed_claim(claim, Kind.WRITTEN, certificate, key),))
    assert caught.value.code == "gateway.removed"


async def test_what_the_gateways_of_another_site_claim_counts_nothing(node: Node, tmp_path: Path):
    south = SiteIdentity.open(tmp_path / "south", "south", clock=SystemClock())
    claim = OwnClaims(south, "a", SystemClock()).claim(RUN, DISKS[0], written=True)
    with pytest.raises(errors.Refused) as caught:
        await node("a").witnessed(RUN, "alpha", (claim,))
    assert caught.value.code == "signer.claim.foreign"


async def test_what_the_gateway_of_another_cloud_claims_to_have_written_counts_nothing(
    node: Node, identity: SiteIdentity
):
    claim = OwnClaims(identity, "a", SystemClock()).claim(RUN, DISKS[0], written=True)
    assert await node("a").witnessed(RUN, "alpha", (claim,)) == DISKS[:1]
    with pytest.raises(errors.Refused) as caught:
        await node("a").witnessed(RUN, "beta", (claim,))
    assert caught.value.code == "signer.claim.cloud"
