"""The gateway's own program with one part exchanged: what it vouches for is as a file says.

``python lying_gateway.py LIE … crossport.app WORDS…`` runs the program with these WORDS in this process. LIE
is a file that is empty, or says ``silent`` (it vouches for nothing), ``run`` (for another run), ``content``
(for other bytes) or ``cloud`` (with the key of the one of its site's other cloud).
"""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from crossport.app.main import main
from crossport.gateway import agent
from crossport.gateway.claims import ClaimingPipe, GatewayClaims
from crossport.gateway.identity import Kept
from crossport.identity.claim import Kind, signed_claim
from crossport.model.sealing import Claim, ClaimedDisk
from crossport.model.signed_claim import SignedClaim

__all__ = ["lie"]

LIE = Path(sys.argv[1])
OTHER = {"gateway-alpha": "gateway-gamma", "gateway-beta": "gateway-delta"}
said = ClaimingPipe.said


def lie() -> str:
    """Return what the file says now."""
    return LIE.read_text().strip()


class Liar(GatewayClaims):
    """Vouches as it is told."""

    def claim(self, run: str, disk: ClaimedDisk, *, written: bool) -> SignedClaim:
        told = Claim(site=self._site, run=run, disks=(disk,))
        certificate, key = self._certificate(), self._key()
        match lie():
            case "run":
                told = replace(told, run="000000000000")
            case "content":
                told = replace(told, disks=(replace(disk, root="ab" * 32),))
            case "cloud":
                [other] = Kept.all(LIE.parent.with_name(OTHER[LIE.parent.name]))
                certificate, key = other.certificate(), other.key()
            case _:
                pass
        kind = Kind.WRITTEN if written else Kind.READ
        return signed_claim(told, kind, certificate, key)


async def heard(self: ClaimingPipe) -> dict[str, Any]:
    """Return what the worker says, without a claim of a silent gateway."""
    told = await said(self)
    if lie() == "silent":
        told.pop("claim", None)
    return told


if __name__ == "__main__":
    agent.__dict__["GatewayClaims"] = Liar
    ClaimingPipe.said = heard
    sys.exit(main(sys.argv[sys.argv.index("crossport.app") + 1 :]))
