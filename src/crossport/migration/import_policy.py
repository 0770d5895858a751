"""The import policy of a site: what it asks of an image before it is opened, kept in the site's documents."""

from crossport import errors
from crossport.model.import_policy import ImportPolicy, Partner
from crossport.spi.document import Documents

__all__ = ["policy_of"]

KIND = "import-policy"


async def policy_of(documents: Documents, site: str) -> ImportPolicy:
    """Return the site's policy; the first one admits what the site itself sealed, and nothing else."""
    try:
        return (await documents.fetch(KIND, site, ImportPolicy)).value
    except errors.NotFound:
        return ImportPolicy(site=site, partners=(Partner(site=site),))
