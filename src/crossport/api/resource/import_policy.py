"""The import policy: what the site asks of every certified image before it comes in."""

from typing import Annotated

from fastapi import Depends

from crossport.api import example
from crossport.api.body import body
from crossport.api.parameter import Who
from crossport.api.route import Route
from crossport.model.import_policy import (
    ForbiddenPackage,
    ImportPolicy,
    ImportPolicyRequest,
    KeptImportPolicy,
    Partner,
)
from crossport.spi.import_policy import ImportBook

__all__ = ["ImportPolicyRoutes"]

POLICY = ImportPolicy(
    site="north",
    partners=(Partner(site="north"),),
    max_age_hours=24.0,
    max_disk_gib=2048,
    forbidden_packages=(
        ForbiddenPackage(name="xz-utils", versions=("5.6.0*", "5.6.1*"), why="CVE-2024-3094"),
    ),
)


class ImportPolicyRoutes:
    """Serves ``/v1/import-policy``."""

    def __init__(self, book: ImportBook) -> None:
        self._book = book

    def routes(self) -> tuple[Route, ...]:
        """Return the table."""
        path, shown = "/v1/import-policy", example.shown(KeptImportPolicy(policy=POLICY, generation=3))
        sent = example.shown(ImportPolicyRequest(policy=POLICY, generation=2))
        return (
            Route("GET", path, "import.show-policy", self.show, shown),
            Route(
                "POST",
                path,
                "import.set-policy",
                self.set,
                shown,
                200,
                ImportPolicyRequest,
                sent,
                raises=(409,),
            ),
            Route("DELETE", path, "import.reset-policy", self.reset, shown),
        )

    async def show(self, who: Who) -> KeptImportPolicy:
        """Return the import policy that holds.

        Generation 0 is the one that a site begins with: it admits what the site itself and its accepted
        partners sealed.
        """
        del who  # the policy is the site's, not a tenant's
        return await self._book.shown()

    async def set(
        self, who: Who, request: Annotated[ImportPolicyRequest, Depends(body(ImportPolicyRequest))]
    ) -> KeptImportPolicy:
        """Let an import policy hold for all that is admitted from now on.

        With `generation`, only in place of that one. It names this site, sites and keys that are known here,
        and formats of disks.
        """
        del who
        return await self._book.set(request)

    async def reset(self, who: Who) -> KeptImportPolicy:
        """Let the policy hold again that a site begins with, and return it."""
        del who
        return await self._book.reset()
