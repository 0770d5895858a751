"""Whoever has seals signed passes one suite: in memory, and the site's, which asks what the signer does."""

import base64
from collections.abc import Callable
from pathlib import Path

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
from crossport.model import codec
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


async def admitted(gateway: str, certificate: str) -> None:
    assert certificate
    if gateway == REMOVED:
        raise errors.Refused("gateway.removed", f"{gateway} was removed.", remedy="Enroll it again.")


@pytest.fixture
def identity(tmp_path: Path) -> SiteIdentity:
    return SiteIdentity.open(tmp_path / "identity", SITE, clock=SystemClock())


@pytest.fixture
def node(tmp_path: Path, identity: SiteIdentity) -> Node:
    """Return what makes the sealers of the site's nodes."""
    documents: Documents = MemoryDocuments()
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


async def test_what_a_removed_gateway_claims_counts_no_more(node: Node, identity: SiteIdentity):
    key = new_key()
    certificate = identity.certify(request_for(key), GATEWAY, REMOVED, lifetime_s=3600).certificate_pem
    claim = Claim(site=SITE, run=RUN, disks=DISKS[:1])
    with pytest.raises(errors.Refused) as caught:
        await node("a").witnessed(RUN, (signed_claim(claim, Kind.WRITTEN, certificate, key),))
    assert caught.value.code == "gateway.removed"


async def test_what_the_gateways_of_another_site_claim_counts_nothing(node: Node, tmp_path: Path):
    south = SiteIdentity.open(tmp_path / "south", "south", clock=SystemClock())
    claim = OwnClaims(south, "a", SystemClock()).claim(RUN, DISKS[0], written=True)
    with pytest.raises(errors.Refused) as caught:
        await node("a").witnessed(RUN, (claim,))
    assert caught.value.code == "signer.claim.foreign"
