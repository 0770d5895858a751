"""Judge a verified seal by the import policy of a site. Step 10, and step 16 for packages.

Each rule that admits says so in a sentence; the first that does not refuses.
"""

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase

from crossport.certify.refusal import Reason, refused
from crossport.certify.sbom import Package
from crossport.model.certified import Check, Outcome, PartKind, Seal
from crossport.model.import_policy import ForbiddenPackage, ImportPolicy, Partner
from crossport.units import GIB, size_text

__all__ = ["admitted", "packages_admitted"]

_HOUR_S = 3600.0
_VERSION_IN_PURL = re.compile(r"(@[^/?#]*)?([?#].*)?$")
STREAMED = "raw"
"""The format of a disk that comes without a file."""


def admitted(policy: ImportPolicy, seal: Seal, key: str, now: float) -> Iterator[Reason]:
    """Yield why the policy admits ``seal``, made with the key of this id; raise Refused where it does not."""
    partner = next((each for each in policy.partners if each.site == seal.site), None)
    if partner is None:
        raise refused("policy.partner.untrusted", site=seal.site)
    yield from _trusted(partner, seal, key)
    yield _young(policy, partner, seal, now)
    wanted = dict.fromkeys((*policy.required_checks, *partner.required_checks))
    for name in wanted:
        yield _checked(seal.manifest.checks, name)
    yield from _sized(policy, seal)
    if policy.sbom_required and seal.manifest.part(PartKind.SBOM) is None:
        raise refused("policy.sbom.missing")


def packages_admitted(policy: ImportPolicy, packages: tuple[Package, ...]) -> Reason:
    """Say that none of the guest's packages is forbidden; raise Refused naming one that is."""
    for package in packages:
        for rule in policy.forbidden_packages:
            if _meant(rule, package):
                why = f": {rule.why}" if rule.why else ""
                raise refused(
                    "policy.package.forbidden", package=package.name, version=package.version, why=why
                )
    return Reason(16, f"no package of the guest is forbidden; packages: {len(packages)}")


def _trusted(partner: Partner, seal: Seal, key: str) -> Iterator[Reason]:
    if partner.keys and key not in partner.keys:
        raise refused("policy.key.unlisted", key=key[:16], site=seal.site)
    which = "by name" if partner.keys else "as every seal key of it"
    yield Reason(10, f"partner {seal.site} is trusted, its key {key[:16]} {which}")
    if partner.clouds and seal.cloud not in partner.clouds:
        raise refused("policy.cloud.unlisted", cloud=seal.cloud, site=seal.site)
    which = "by name" if partner.clouds else "as every cloud of it"
    yield Reason(10, f"cloud {seal.cloud} is admitted {which}")


def _young(policy: ImportPolicy, partner: Partner, seal: Seal, now: float) -> Reason:
    limit = min(policy.max_age_hours, partner.max_age_hours or policy.max_age_hours)
    age = max(now - seal.made, 0.0) / _HOUR_S
    if age > limit:
        raise refused("policy.age.exceeded", hours=f"{age:.1f}", limit=f"{limit:g}")
    return Reason(10, f"the image is not older than {limit:g} h")


def _checked(checks: tuple[Check, ...], name: str) -> Reason:
    made = [check for check in checks if check.name == name]
    if not made:
        raise refused("policy.check.missing", check=name)
    for check in made:
        if check.outcome is not Outcome.PASSED:
            raise refused("policy.check.failed", check=name, detail=check.detail or check.outcome)
    return Reason(10, f"the required check {name} passed")


def _sized(policy: ImportPolicy, seal: Seal) -> Iterator[Reason]:
    disks = seal.manifest.disks
    for disk in disks:
        form = disk.format or STREAMED
        if policy.formats and form not in policy.formats:
            raise refused("policy.format.unlisted", disk=disk.id, format=form)
        if disk.size > policy.max_disk_gib * GIB:
            size, limit = size_text(disk.size), policy.max_disk_gib
            raise refused("policy.disk.large", disk=disk.id, size=size, limit=limit)
    total = sum(disk.size for disk in disks)
    if total > policy.max_image_gib * GIB:
        raise refused("policy.image.large", size=size_text(total), limit=policy.max_image_gib)
    yield Reason(10, f"the disks, {size_text(total)} together, are within format and size")


def _meant(rule: ForbiddenPackage, package: Package) -> bool:
    names = (package.name, package.purl, _VERSION_IN_PURL.sub("", package.purl))
    if not any(name and _fits(name.casefold(), rule.name.casefold()) for name in names):
        return False
    return not rule.versions or any(_fits(package.version, wanted) for wanted in rule.versions)


def _fits(text: str, pattern: str) -> bool:
    """Say whether ``text`` is the pattern's, in which ``*`` and ``?`` alone mean something."""
    return fnmatchcase(text, pattern.replace("[", "[[]"))
