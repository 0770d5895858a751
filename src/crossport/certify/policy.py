"""Judge a verified seal by the import policy of a site. Step 10, and step 16 for packages.

Each rule that admits says so in a sentence; the first that does not refuses.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

from crossport import errors
from crossport.certify.refusal import Reason, refused
from crossport.certify.sbom import Package
from crossport.model.certified import Check, Outcome, PartKind, Seal, SealedDisk
from crossport.model.import_policy import ForbiddenPackage, ImportPolicy, OwnCheck, Partner
from crossport.units import GIB, size_text

__all__ = ["Exporter", "admitted", "asked_beforehand", "checks_required", "foreseen", "packages_admitted"]

_HOUR_S = 3600.0
_VERSION_IN_PURL = re.compile(r"(@[^/?#]*)?([?#].*)?$")
STREAMED = "raw"
"""The format of a disk that comes without a file."""


def admitted(policy: ImportPolicy, seal: Seal, key: str, now: float) -> Iterator[Reason]:
    """Yield why the policy admits ``seal``, made with the key of this id; raise Refused where it does not."""
    partner = _partner(policy, seal.site)
    if partner is None:
        raise refused("policy.partner.untrusted", site=seal.site)
    yield from _trusted(partner, seal, key)
    yield _young(policy, partner, seal, now)
    for name in _required(policy, partner):
        yield _checked(seal.manifest.checks, name)
    yield from _sized(policy, seal)
    if policy.sbom_required and seal.manifest.part(PartKind.SBOM) is None:
        raise refused("policy.sbom.missing")


@dataclass(frozen=True, slots=True)
class Exporter:
    """Who is going to seal: ``site``, what comes from ``cloud``, with one of ``keys`` (empty: not known).

    ``checks`` are those of which its seal will tell.
    """

    site: str
    cloud: str
    keys: tuple[str, ...] = ()
    checks: tuple[str, ...] = ()


def foreseen(
    policy: ImportPolicy, exporter: Exporter, disks: Iterable[SealedDisk]
) -> Iterator[errors.Refused]:
    """Yield every refusal that is certain before ``exporter`` seals ``disks``.

    How old the seal will be, and how the checks will end, nobody knows yet. There is an SBOM where the
    packages are checked.
    """
    partner = _partner(policy, exporter.site)
    if partner is None:
        yield refused("policy.partner.untrusted", site=exporter.site)
        return
    if partner.keys and exporter.keys and not set(partner.keys) & set(exporter.keys):
        named = ", ".join(key[:16] for key in exporter.keys)
        yield refused("policy.key.unlisted", key=named, site=exporter.site)
    if partner.clouds and exporter.cloud not in partner.clouds:
        yield refused("policy.cloud.unlisted", cloud=exporter.cloud, site=exporter.site)
    made = set(exporter.checks)
    for name in _required(policy, partner):
        if name not in made:
            yield refused("policy.check.missing", check=name)
    if policy.sbom_required and OwnCheck.PACKAGES not in made:
        yield refused("policy.sbom.missing")
    yield from _beyond(policy, tuple(disks))


def asked_beforehand(policy: ImportPolicy, site: str) -> Iterator[str]:
    """Yield what ``policy`` asks of images of ``site`` beyond what a policy asks that nobody set."""
    partner = _partner(policy, site)
    if partner is None:
        return
    if partner.keys:
        yield f"is sealed with one of the keys {', '.join(f'{key[:16]}…' for key in partner.keys)}"
    if (limit := _age_limit(policy, partner)) != ImportPolicy(site=site).max_age_hours:
        yield f"is admitted within {limit:g} h of its seal"
    for name in _required(policy, partner):
        yield f"says in its seal that the check {name} passed"
    if policy.sbom_required:
        yield "has an SBOM"
    for check in policy.own_checks:
        yield f"passes the check for {check} that is made there"


def _age_limit(policy: ImportPolicy, partner: Partner) -> float:
    return min(policy.max_age_hours, partner.max_age_hours or policy.max_age_hours)


def checks_required(policy: ImportPolicy, site: str) -> tuple[str, ...]:
    """Return the checks that a seal of ``site`` has to tell of."""
    partner = _partner(policy, site)
    return _required(policy, partner) if partner else policy.required_checks


def _partner(policy: ImportPolicy, site: str) -> Partner | None:
    return next((each for each in policy.partners if each.site == site), None)


def _required(policy: ImportPolicy, partner: Partner) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*policy.required_checks, *partner.required_checks)))


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
    limit = _age_limit(policy, partner)
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
    for fault in _beyond(policy, disks):
        raise fault
    total = sum(disk.size for disk in disks)
    yield Reason(10, f"the disks, {size_text(total)} together, are within format and size")


def _beyond(policy: ImportPolicy, disks: tuple[SealedDisk, ...]) -> Iterator[errors.Refused]:
    """Yield what of format and size is not admitted."""
    for disk in disks:
        form = disk.format or STREAMED
        if policy.formats and form not in policy.formats:
            yield refused("policy.format.unlisted", disk=disk.id, format=form)
        if disk.size > policy.max_disk_gib * GIB:
            size, limit = size_text(disk.size), policy.max_disk_gib
            yield refused("policy.disk.large", disk=disk.id, size=size, limit=limit)
    total = sum(disk.size for disk in disks)
    if total > policy.max_image_gib * GIB:
        yield refused("policy.image.large", size=size_text(total), limit=policy.max_image_gib)


def _meant(rule: ForbiddenPackage, package: Package) -> bool:
    names = (package.name, package.purl, _VERSION_IN_PURL.sub("", package.purl))
    if not any(name and _fits(name.casefold(), rule.name.casefold()) for name in names):
        return False
    return not rule.versions or any(_fits(package.version, wanted) for wanted in rule.versions)


def _fits(text: str, pattern: str) -> bool:
    """Say whether ``text`` is the pattern's, in which ``*`` and ``?`` alone mean something."""
    return fnmatchcase(text, pattern.replace("[", "[[]"))
