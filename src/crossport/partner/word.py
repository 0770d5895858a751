"""This site's word about itself, the same at all of its nodes."""

from collections.abc import Callable

from crossport import errors
from crossport.identity.link_authority import LinkAuthorities
from crossport.model.record import record
from crossport.model.role import SiteKeys
from crossport.partner.introduction import Introduction
from crossport.spi.document import Documents
from crossport.spi.role import RoleKeys

__all__ = ["OwnWord"]

_KIND = "partner-word"


@record()
class _Said:
    """The newest role document that the node with the signer has told."""

    keys: SiteKeys


class OwnWord:
    """Says it. ``address`` is empty where the site does not listen for partners."""

    def __init__(
        self,
        site: str,
        address: str,
        keys: RoleKeys,
        authorities: LinkAuthorities,
        documents: Callable[[], Documents],
    ) -> None:
        self._site = site
        self.address = address
        self._keys = keys
        self._authorities = authorities
        self._documents = documents

    async def introduction(self) -> Introduction:
        """Return it; raise Conflict ``partner.site.closed`` where partners could not answer."""
        if not self.address:
            raise errors.Conflict(
                "partner.site.closed",
                "This site does not listen for partners.",
                field="partner_listen",
                remedy="Set partner_listen to HOST:PORT and start the server again.",
            )
        keys = await self._roles()
        return Introduction(
            site=self._site,
            authorities=self._authorities.told,
            address=self.address,
            root=keys.document.root,
            roles=keys.envelope,
        )

    async def _roles(self) -> SiteKeys:
        """Return the role document; of another node's signer what that node said last."""
        try:
            keys = await self._keys.keys()
        except errors.Conflict as error:
            if error.code != "key.signer.elsewhere":
                raise
            return (await self._documents().fetch(_KIND, self._site, _Said)).value.keys
        await self._documents().put(_KIND, self._site, _Said(keys=keys))
        return keys
