"""The source's own look into a guest that leaves, for what its seal tells: an SBOM, checks, and facts.

It is made with the same appliance as the importer's. What was found is kept with the run, here, and `seal`
uses that alone: whoever executes the run decides when it is looked, and never what was found.
"""

import base64
import hashlib
from dataclasses import dataclass, replace

from crossport import errors
from crossport.certify.sbom import sbom_of
from crossport.migration.end import SURVEY
from crossport.migration.guest_facts import facts_of, plain
from crossport.model.artifact import Artifact, DiskRef, Place, Role
from crossport.model.certified import Check, Outcome
from crossport.model.import_policy import OwnCheck
from crossport.model.inspection import Guest, GuestFacts, LookMode, Surveyed
from crossport.model.record import record
from crossport.spi.document import Documents
from crossport.spi.inspect import Inspector
from crossport.units import MIB, size_text

__all__ = ["MAX_SBOM", "STOPPED", "Survey", "Surveying"]

STOPPED = "stopped"
"""The check that the VM did not run when it was read last, and cannot be started behind the run's back."""
MAX_SBOM = 3 * MIB
"""Bytes of an SBOM that is sealed: it crosses the link between two sites in one message."""
_NOT_LOOKED = "this site did not look into the guest"


@record()
class Survey:
    """What the source's site has found out about a guest that leaves, as it goes into the seal.

    ``sbom`` is base64, and empty without one.
    """

    sbom: str = ""
    facts: GuestFacts = GuestFacts()
    checks: tuple[Check, ...] = ()


@dataclass(frozen=True, slots=True)
class Surveying:
    """Looks into guests that leave. Without ``inspector`` nobody can; ``mode`` is what the operator wants."""

    documents: Documents
    inspector: Inspector | None
    mode: LookMode

    @property
    def checks(self) -> tuple[OwnCheck, ...]:
        """The checks that are made of a guest that leaves, where they can be."""
        return () if self.mode is LookMode.NEVER else tuple(OwnCheck)

    async def survey(self, run: str, artifacts: tuple[Artifact, ...], place: Place) -> Surveyed:
        """Look, and keep what was found; what was found first is kept while the next check is made."""
        if self.mode is LookMode.NEVER or self.inspector is None:
            return Surveyed(why="this site does not look into guests that leave it")
        disks = tuple(one.ref for one in artifacts if one.role is Role.DISK)
        if not disks:
            return Surveyed(why="it has no disks")
        try:
            guest = await self.inspector.look(disks, place)
        except errors.Refused as error:
            check = _told(OwnCheck.PACKAGES, Outcome.NOT_DONE, error.text)
            await self.documents.put(SURVEY, run, Survey(checks=(check,)))
            return Surveyed(checks=(check,), why=error.text)
        found, told = _found(guest)
        await self.documents.put(SURVEY, run, found)
        scan = await self._scanned(disks, place)
        if scan is None:
            return told
        checks = (*found.checks, scan)
        await self.documents.put(SURVEY, run, replace(found, checks=checks))
        return replace(told, checks=checks)

    async def kept(self, run: str, *, held: bool) -> Survey:
        """Return what goes into the seal of ``run``; ``held``: its VM is off and fenced.

        Raise Refused (``image.unsurveyed``) when the operator wants nothing sealed that was not read.
        """
        try:
            found = (await self.documents.fetch(SURVEY, run, Survey)).value
        except errors.NotFound:
            found = Survey()
        passed = {one.name for one in found.checks if one.outcome is Outcome.PASSED}
        if self.mode is LookMode.REQUIRED and OwnCheck.PACKAGES not in passed:
            why = next((one.detail for one in found.checks if one.name == OwnCheck.PACKAGES), _NOT_LOOKED)
            raise errors.Refused(
                "image.unsurveyed",
                f"This site seals no guest whose packages it has not read, as its setting look says: {why}.",
                field="look",
                remedy="Put in order what is named, or set look to auto, and migrate again.",
            )
        first = (
            _told(STOPPED, Outcome.PASSED, "the VM was off and fenced when it was read last")
            if held
            else _told(STOPPED, Outcome.NOT_DONE, "it is the copy of a moment of a VM that may go on")
        )
        return replace(found, checks=(first, *found.checks))

    async def _scanned(self, disks: tuple[DiskRef, ...], place: Place) -> Check | None:
        """Return how the scan for malware ended; None where nobody scans here."""
        assert self.inspector is not None  # noqa: S101 - the caller has looked
        try:
            await self.inspector.ready(place, scan=True)
        except (errors.Refused, errors.Unavailable) as error:
            if error.code == "image.scan.unset":
                return None  # the operator wants none: not a fault
            return _told(OwnCheck.MALWARE, Outcome.NOT_DONE, error.text)
        try:
            guest = await self.inspector.look(disks, place, scan=True)
        except errors.Refused as error:
            bad = error.code == "image.malware"
            return _told(OwnCheck.MALWARE, Outcome.FAILED if bad else Outcome.NOT_DONE, error.text)
        except errors.Unavailable as error:
            return _told(OwnCheck.MALWARE, Outcome.NOT_DONE, error.text)
        if guest.unread:
            return _told(OwnCheck.MALWARE, Outcome.NOT_DONE, f"unreadable: {', '.join(guest.unread)}")
        return _told(OwnCheck.MALWARE, Outcome.PASSED, f"nothing found; files: {guest.scanned}")


def _found(guest: Guest) -> tuple[Survey, Surveyed]:
    """Return what is kept of a guest, and what is told of it."""
    facts, sbom = facts_of(guest), sbom_of(guest) if guest.listed else b""
    title = facts.title or facts.system
    if not guest.listed:
        unread = f"; unreadable here: {', '.join(guest.unread)}" if guest.unread else ""
        why = f"its disks do not say which packages it holds{unread}"
    elif len(sbom) > MAX_SBOM:
        why = f"its SBOM has {size_text(len(sbom))}, and at most {size_text(MAX_SBOM)} are sealed"
    else:
        check = _told(
            OwnCheck.PACKAGES, Outcome.PASSED, f"{title or 'a guest'}, {len(guest.packages)} packages"
        )
        told = Surveyed(
            made=True,
            title=title,
            hostname=facts.hostname,
            package_count=len(guest.packages),
            sbom=hashlib.sha256(sbom).hexdigest(),
            checks=(check,),
        )
        return Survey(sbom=base64.b64encode(sbom).decode(), facts=facts, checks=(check,)), told
    check = _told(OwnCheck.PACKAGES, Outcome.NOT_DONE, why)
    told = Surveyed(made=True, title=title, hostname=facts.hostname, checks=(check,), why=why)
    return Survey(facts=facts, checks=(check,)), told


def _told(name: str, outcome: Outcome, detail: str) -> Check:
    return Check(name=name, outcome=outcome, detail=plain(detail.rstrip("."), 500))
