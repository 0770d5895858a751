"""The target's own look into a guest that arrived, for what its import policy asks. Step 16.

A seal says where an image comes from, not what is in it: the SBOM that came with it is the exporter's word.
So the site reads the guest itself, in its appliance, and judges by what it reads.
"""

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from crossport import errors
from crossport.certify.policy import packages_admitted
from crossport.certify.sbom import differing, packages_in, sbom_of
from crossport.migration.guest_facts import differing_facts, facts_of
from crossport.migration.import_policy import Trust
from crossport.model.artifact import Artifact, Place, Role
from crossport.model.certified import Check, Outcome
from crossport.model.import_policy import ImportPolicy, OwnCheck
from crossport.model.inspection import Guest, GuestFacts, Inspected, Unable
from crossport.spi.inspect import Inspector

__all__ = ["GuestInspection", "SealedGuest", "checks_of", "made_of"]


@dataclass(frozen=True, slots=True)
class SealedGuest:
    """The exporter's word for the guest: its SBOM, empty without one, and the facts of the descriptor."""

    sbom: bytes = b""
    facts: GuestFacts | None = None


@dataclass(frozen=True, slots=True)
class GuestInspection:
    """Looks into guests as the policy asks. Without ``inspector`` nobody can."""

    trust: Trust
    inspector: Inspector | None

    async def unable(
        self, wanted: tuple[OwnCheck, ...], place: Callable[[], Awaitable[Place]]
    ) -> tuple[Unable, ...]:
        """Return which of the checks that are ``wanted`` cannot be made now of what lies at ``place``."""
        found: list[Unable] = []
        for check in wanted:
            try:
                await self._able().ready(await place(), scan=check is OwnCheck.MALWARE)
            except (errors.Blocked, errors.Refused, errors.Unavailable) as error:
                found.append(Unable(check=check, why=error.text, remedy=error.remedy))
        return tuple(found)

    async def inspect(self, artifacts: tuple[Artifact, ...], place: Place, sealed: SealedGuest) -> Inspected:
        """Look into the guest whose disks are among ``artifacts``; ``sealed`` is what came with it.

        Raise Refused (``inspect.…``, ``image.…``, ``policy.package.forbidden``) when the policy does not
        admit what is found, and when it asks for more than can be found.
        """
        policy = await self.trust.policy()
        if not policy.own_checks:
            return Inspected()
        inspector, scan = self._able(), OwnCheck.MALWARE in policy.own_checks
        if scan and any(one.role is Role.MEMORY for one in artifacts):
            raise errors.Refused(
                "inspect.memory.unscanned",
                "The import policy asks for a scan for malware, and nobody can scan the memory that came "
                "with this suspended guest.",
                field="own_checks",
                remedy="Migrate it with --mode cold or --mode warm: then it begins anew from its disks.",
            )
        disks = tuple(one.ref for one in artifacts if one.role is Role.DISK)
        guest = await inspector.look(disks, place, scan=scan)
        packages = OwnCheck.PACKAGES in policy.own_checks
        found = _judged(policy, guest, sealed) if packages else Inspected(made=True, title=_title(guest))
        return _scanned(guest, found) if scan else found

    def _able(self) -> Inspector:
        if self.inspector is None:
            raise errors.Refused(
                "inspect.appliance.missing",
                "This site looks into no guests.",
                remedy="Let the import policy ask for no checks by this site.",
            )
        return self.inspector


def made_of(wanted: tuple[OwnCheck, ...], unable: tuple[Unable, ...]) -> tuple[OwnCheck, ...]:
    """Return the checks that are ``wanted`` and can be made."""
    lacking = {one.check for one in unable}
    return tuple(one for one in wanted if one not in lacking)


def checks_of(found: Inspected) -> tuple[Check, ...]:
    """Return the checks that were passed by a guest of which this was found."""
    passed = {OwnCheck.PACKAGES: found.steps, OwnCheck.MALWARE: found.scan_steps}
    return tuple(
        Check(name=name, outcome=Outcome.PASSED, detail="; ".join(steps))
        for name, steps in passed.items()
        if steps
    )


def _title(guest: Guest) -> str:
    return guest.title or guest.system or "an unnamed system"


def _scanned(guest: Guest, found: Inspected) -> Inspected:
    """Return what was found with the scan, of which nothing may be left out."""
    unread = ", ".join(guest.unread) or ("" if guest.scanned else "no file was found")
    if unread:
        raise errors.Refused(
            "image.scan.unread",
            "The import policy asks for a scan for malware, and not all of the guest's disks can be read: "
            f"{unread}.",
            field="own_checks",
            remedy="Encrypted disks, and file systems but ext, xfs, btrfs and FAT, cannot be scanned: if you "
            "know the guest by other means, let it in by a policy without this check.",
        )
    step = f"scanned for malware by this site, nothing found; files: {guest.scanned}"
    return replace(found, scanned=guest.scanned, scan_steps=(step,))


def _judged(policy: ImportPolicy, guest: Guest, sealed: SealedGuest) -> Inspected:
    if not guest.listed:
        unread = ", ".join(guest.unread)
        why = f" Unreadable here: {unread}." if unread else ""
        raise errors.Refused(
            "inspect.packages.unknown",
            f"The import policy asks which packages the guest holds, and its disks do not say.{why}",
            remedy="Encrypted disks, and systems without dpkg, rpm or apk, cannot be read: if you know the "
            "guest by other means, let it in by a policy without this check.",
        )
    text = sbom_of(guest)
    packages = packages_in(text)
    title = _title(guest)
    steps = [f"the guest is {title}, read by this site itself; packages: {len(packages)}"]
    steps.append(packages_admitted(policy, packages).text)
    count = differing(packages, packages_in(sealed.sbom)) if sealed.sbom else 0
    if sealed.sbom:
        _same(policy, count)
        steps.append(f"packages that the sealed SBOM names otherwise: {count}")
    otherwise = differing_facts(sealed.facts, facts_of(guest)) if sealed.facts else ()
    if sealed.facts:
        _true(policy, otherwise)
        steps.append(f"facts that the sealed descriptor tells otherwise: {', '.join(otherwise) or 'none'}")
    return Inspected(
        made=True,
        title=title,
        hostname=guest.hostname,
        package_count=len(packages),
        sbom=hashlib.sha256(text).hexdigest(),
        differing=count,
        otherwise=otherwise,
        steps=tuple(steps),
    )


def _same(policy: ImportPolicy, count: int) -> None:
    if count and policy.sbom_required:
        raise errors.Refused(
            "inspect.sbom.differs",
            f"The sealed SBOM is not that of the guest: {count} packages are in one of both only.",
            remedy="Ask the exporting site how it reads the guest. Do not use the image before you know.",
        )


def _true(policy: ImportPolicy, otherwise: tuple[str, ...]) -> None:
    if otherwise and policy.sbom_required:
        raise errors.Refused(
            "inspect.facts.differ",
            f"The sealed descriptor tells of the guest what is not so: {', '.join(otherwise)}.",
            remedy="Ask the exporting site how it reads the guest. Do not use the image before you know.",
        )
