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
        """Look, and keep what was found; what the guest is is kept while it is scanned."""
        if self.mode is LookMode.NEVER or self.inspector is None:
            return Surveyed(why="this site does not look into guests that leave it")
        disks = tuple(one.ref for one in artifacts if one.role is Role.DISK)
        if not disks:
            return Surveyed(why="it has no disks")
        return await self._looked(self.inspector, run, disks, place)

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

    async def _looked(
        self, inspector: Inspector, run: str, disks: tuple[DiskRef, ...], place: Place
    ) -> Surveyed:
        """Look once, for both checks; what the guest is is kept before its first file is scanned."""
        scan, unable = await _scans(inspector, place)
        heard = list[Guest]()

        async def found(guest: Guest) -> None:
            await self.documents.put(SURVEY, run, _found(guest)[0])
            heard.append(guest)

        try:
            guest = await inspector.look(disks, place, scan=scan, found=found)
            last = _clean(guest) if scan else unable
        except errors.Refused as error:
            if not heard:
                return await self._unread(run, error)
            last = _unclean(error)
        except errors.Unavailable as error:
            if not heard:
                raise
            last = _unclean(error)
        survey, told = _found(heard[0])
        if last is None:
            return told
        checks = (*survey.checks, last)
        await self.documents.put(SURVEY, run, replace(survey, checks=checks))
        return replace(told, checks=checks)

    async def _unread(self, run: str, error: errors.Refused) -> Surveyed:
        check = _told(OwnCheck.PACKAGES, Outcome.NOT_DONE, error.text)
        await self.documents.put(SURVEY, run, Survey(checks=(check,)))
        return Surveyed(checks=(check,), why=error.text)


async def _scans(inspector: Inspector, place: Place) -> tuple[bool, Check | None]:
    """Return whether files are scanned, and the check of a scan that is wanted and cannot be made."""
    try:
        await inspector.ready(place, scan=True)
    except (errors.Refused, errors.Unavailable) as error:
        if error.code == "image.scan.unset":
            return False, None  # the operator wants none: not a fault
        return False, _told(OwnCheck.MALWARE, Outcome.NOT_DONE, error.text)
    return True, None


def _clean(guest: Guest) -> Check:
    if guest.unread:
        return _told(OwnCheck.MALWARE, Outcome.NOT_DONE, f"unreadable: {', '.join(guest.unread)}")
    return _told(OwnCheck.MALWARE, Outcome.PASSED, f"nothing found; files: {guest.scanned}")


def _unclean(error: errors.Error) -> Check:
    bad = error.code == "image.malware"
    return _told(OwnCheck.MALWARE, Outcome.FAILED if bad else Outcome.NOT_DONE, error.text)


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
