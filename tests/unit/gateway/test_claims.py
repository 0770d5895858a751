"""What a worker says last comes with its gateway's word for it."""

import base64
from typing import Any

import pytest
from tests.unit.transfer.two_sites import job, ticket

from crossport.gateway.claims import ClaimingPipe
from crossport.model import codec
from crossport.model.sealing import Claim
from crossport.model.signed_claim import SignedClaim
from crossport.testing.sealer import MemorySealer

ROOT = "ab" * 32


class DonePipe:
    """A worker that is done with what it is given."""

    name, certificate = "worker", ""

    async def give(self, line: bytes) -> None:
        del line

    async def said(self) -> dict[str, Any]:
        return {"event": "done", "root": ROOT, "claim": "one of its own"}


@pytest.mark.parametrize("spoken", [None, ("acme", "the-run-of-north")])
async def test_a_claim_names_the_run_as_the_initiating_site_does(spoken: tuple[str, str] | None):
    asked = job(ticket(), spoken=spoken)
    pipe = ClaimingPipe(DonePipe(), "receive", MemorySealer("south"))
    await pipe.give(asked.line())
    signed = codec.from_plain((await pipe.said())["claim"], SignedClaim)
    claim = codec.decoded(base64.b64decode(signed.payload), Claim)
    assert claim.run == (spoken[1] if spoken else asked.hello.run)
    assert [disk.root for disk in claim.disks] == [ROOT]
