"""Whose images a site takes in: the keys that it believes, and its import policy."""

import base64
from dataclasses import dataclass

from crossport import errors
from crossport.identity import role_document as roles
from crossport.identity.partners import STALE_S
from crossport.model.import_policy import ImportPolicy, KeptImportPolicy, Partner
from crossport.model.keyring import Keyring
from crossport.model.partner import Partner as Neighbour
from crossport.model.partner import PartnerState
from crossport.model.role import RoleDocument
from crossport.spi.clock import Clock
from crossport.spi.document import Documents
from crossport.spi.partner import Partners
from crossport.spi.sealing import Sealer

__all__ = ["POLICY", "Trust"]

POLICY = "import-policy"
"""The kind under which a site keeps its policy, by its own name."""


@dataclass(frozen=True, slots=True)
class Trust:
    """What the site ``site`` believes. Without ``partners`` it has none."""

    site: str
    documents: Documents
    sealer: Sealer
    clock: Clock
    partners: Partners | None

    async def keyring(self) -> Keyring:
        """Return the site's own keys and those of the partners that are trusted now."""
        own = await self.sealer.keyring()
        theirs = [key for one in await self._accepted() for key in self._document(one).keys]
        return Keyring(keys=(*own.keys, *theirs))

    async def policy(self) -> ImportPolicy:
        """Return the policy that was set. The first one admits what the site itself and its accepted partners
        sealed, and nothing else."""
        return (await self.kept()).policy

    async def kept(self) -> KeptImportPolicy:
        """Return that policy, and how often one was set."""
        try:
            kept = await self.documents.fetch(POLICY, self.site, ImportPolicy)
        except errors.NotFound:
            names = (self.site, *await self.names())
            policy = ImportPolicy(site=self.site, partners=tuple(Partner(site=name) for name in names))
            return KeptImportPolicy(policy=policy)
        return KeptImportPolicy(policy=kept.value, generation=kept.generation)

    async def names(self) -> tuple[str, ...]:
        """Return the names of the partners that are trusted now."""
        return tuple(one.name for one in await self._accepted())

    async def _accepted(self) -> list[Neighbour]:
        """Return the partners that are trusted now; of the others no key counts."""
        known = await self.partners.partners() if self.partners else ()
        now, found = self.clock.wall(), list[Neighbour]()
        for one in known:
            fresh = now - one.refreshed <= STALE_S
            if one.state is PartnerState.ACCEPTED and fresh and one.name != self.site:
                found.append(one)
        return found

    def _document(self, partner: Neighbour) -> RoleDocument:
        envelope, root = base64.b64decode(partner.roles), base64.b64decode(partner.root)
        return roles.believed(envelope, partner.name, root, self.clock.wall(), None)
