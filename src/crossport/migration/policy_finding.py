"""What the target's import policy will refuse, found before anything is touched. Pure."""

from crossport import merkle
from crossport.certify.policy import Exporter, asked_beforehand, foreseen
from crossport.model.certified import SealedDisk
from crossport.model.finding import Finding, Severity
from crossport.model.import_policy import ImportPolicy, OwnCheck
from crossport.model.vm import VM
from crossport.spi.site import Description

__all__ = ["policy_findings"]

_UNKNOWN = "0" * 64
"""The root of a disk that was not read yet."""


def policy_findings(target: Description, exporter: Exporter, vm: VM) -> tuple[Finding, ...]:
    """Return what the policy of ``target`` will refuse of ``vm``, which ``exporter`` seals, and will ask.

    ``target`` says what the importing site can check itself. Without a policy nothing is known.
    """
    policy = target.policy
    if policy is None:
        return ()
    sizes = [disk.size for disk in vm.disks if not disk.seed and disk.size]
    disks = tuple(
        SealedDisk(id=f"disk-{number}", size=size, chunk_size=merkle.CHUNK, root=_UNKNOWN)
        for number, size in enumerate(sizes)
    )
    refused = tuple(
        Finding(error.code, Severity.BLOCKER, f"site {policy.site}", error.text, error.remedy)
        for error in foreseen(policy, exporter, disks)
    )
    unmade = tuple(
        Finding(
            "target.check.unable",
            Severity.BLOCKER,
            f"site {policy.site}",
            f"It lets no guest in that is not checked for {one}, and cannot check for that"
            f"{_why(one, target)}",
            _remedy(one, target),
        )
        for one in policy.own_checks
        if one not in target.checks
    )
    return (*refused, *unmade, *_asked(policy, exporter))


def _asked(policy: ImportPolicy, exporter: Exporter) -> tuple[Finding, ...]:
    asked = tuple(asked_beforehand(policy, exporter.site))
    if not asked:
        return ()
    return (
        Finding(
            "target.policy.asks",
            Severity.INFO,
            f"site {policy.site}",
            f"Its import policy takes in an image of {exporter.site} that {'; that '.join(asked)}. What "
            "cannot be judged yet is judged when it has arrived; where it is refused, the source runs again.",
        ),
    )


def _why(check: OwnCheck, target: Description) -> str:
    return next((f": {one.why}" for one in target.unable if one.check is check), ".")


def _remedy(check: OwnCheck, target: Description) -> str:
    """Return what its operator does; a partner is told no more than the ways there are."""
    known = next((one.remedy for one in target.unable if one.check is check), "")
    other = "Or its operator takes the check out of own_checks of the policy."
    return f"{known} {other}" if known else _WAYS


_WAYS = (
    "Let its operator make the appliance (crossport inspector build) and, for malware, start the clamd that "
    "the setting clamd names; or take the check out of own_checks of the policy."
)
