"""The audit log: its records, the proof that one is in it, and the heads that are kept of it."""

from typing import Annotated

from fastapi import Path, Query

from crossport.api import example
from crossport.api.parameter import Limit, Page, Who
from crossport.api.route import ID, Route
from crossport.audit.head import head_of
from crossport.model import codec
from crossport.model.audit import AuditKind, AuditRecord, KeptRecord
from crossport.model.head import AuditProof, HeadKind, SignedHead
from crossport.model.name import NAME
from crossport.spi.audit import AuditBook, Heads

__all__ = ["AuditRoutes"]

RECORD = KeptRecord(
    leaf="6b7c3d2f" * 8,
    text=codec.encoded(
        AuditRecord(
            site="north",
            number=41,
            time=example.NOON,
            node="north",
            kind=AuditKind.INTENT,
            action="run.commit",
            actor="token 3f9a1c7e20b4d5e6",
            tenant="default",
            subject="POST /v1/runs/run-0001/commit",
            run="run-0001",
        )
    ),
)
PROOF = AuditProof(record=RECORD, number=41, size=42, root="c1a5" * 16, path=("5e1f" * 16, "07aa" * 16))
HEAD = SignedHead(kind=HeadKind.OWN, payload="eyJ2ZXJzaW9uIjox…", key="9d3b" * 16, signature="MEUCIQ…")
Behind = Annotated[str, Query(pattern=r"^[0-9]{0,18}$", description="Begin behind this number.")]


class AuditRoutes:
    """Serves ``/v1/audit``."""

    def __init__(self, book: AuditBook, heads: Heads) -> None:
        self._book = book
        self._heads = heads

    def routes(self) -> tuple[Route, ...]:
        """Return the table."""
        many = "/v1/audit"
        record, head = example.page_of(RECORD), example.page_of(HEAD)
        proof, fails = example.shown(PROOF), (403, 409, 503)
        return (
            Route("GET", many, "audit.list", self.list, record),
            Route("GET", many + "/records/{number}", "audit.show", self.show, proof, raises=(404,)),
            Route("GET", many + "/heads", "audit.heads", self.heads, head),
            Route("POST", many + "/heads", "audit.sign", self.sign, example.shown(HEAD), raises=fails),
        )

    async def list(
        self,
        who: Who,
        *,
        run: Annotated[str, Query(pattern=f"^$|{ID}", max_length=128, description="Only of this run.")] = "",
        action: Annotated[
            str, Query(pattern=r"^[a-z.-]*$", max_length=64, description="Only of this kind: run.commit.")
        ] = "",
        after: Behind = "",
        limit: Limit = 100,
    ) -> Page[KeptRecord]:
        """List records of all tenants by number, as they were hashed, to the byte."""
        del who  # the log is the site's, not a tenant's
        found = await self._book.records(
            after=int(after) if after else -1, limit=limit + 1, run=run, action=action
        )
        last = codec.decoded(found[limit - 1].text, AuditRecord).number if len(found) > limit else None
        return Page(items=found[:limit], next="" if last is None else str(last))

    async def show(
        self, who: Who, number: Annotated[int, Path(ge=0, le=2**53, description="The record's number.")]
    ) -> AuditProof:
        """Show a record, and the path that proves that it is in the log as it is now."""
        del who
        return await self._book.proof(number)

    async def heads(
        self,
        who: Who,
        *,
        site: Annotated[
            str, Query(pattern=f"^$|{NAME}", max_length=63, description="Whose log; empty is this site's.")
        ] = "",
        after: Behind = "",
        limit: Limit = 100,
    ) -> Page[SignedHead]:
        """List the heads that this site keeps of its own log, or of a partner's, with countersignatures."""
        del who
        of = site or (await self._book.tip()).site
        found = await self._heads.kept(of, after=int(after) if after else -1, limit=limit + 1)
        return _page(found, limit)

    async def sign(self, who: Who) -> SignedHead:
        """Have the log signed as it is now. It is signed each hour anyway, and when a run has ended."""
        del who
        return await self._heads.sign()


def _page(found: tuple[SignedHead, ...], limit: int) -> Page[SignedHead]:
    """Return a page that ends between two sizes: of one size there is a head for each who signed it."""
    if len(found) <= limit:
        return Page(items=found)
    behind = head_of(found[limit])[0].size
    items = tuple(one for one in found[:limit] if head_of(one)[0].size < behind) or found[:limit]
    return Page(items=items, next=str(head_of(items[-1])[0].size))
