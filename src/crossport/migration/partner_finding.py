"""What keeps a partner from being the target, found before anything is touched. Pure."""

from crossport import errors
from crossport.model.finding import Finding, Severity
from crossport.model.name import parted

__all__ = ["partner_finding"]

_OTHER_RELEASES = {"message.version.newer", "partner.operation.unknown", "partner.answer.malformed"}


def partner_finding(cloud: str, error: errors.Error) -> Finding | None:
    """Return why the partner that ``cloud`` (``beta@south``) belongs to did not describe it.

    None when that is no matter between the two sites: then it is an error like any other.
    """
    site = parted(cloud)[1]
    if not site:
        return None
    subject = f"partner {site}"
    if error.code in _OTHER_RELEASES:
        return Finding(
            "partner.release.apart",
            Severity.BLOCKER,
            subject,
            f"{site} is of another release. {error.text}",
            errors.SAME_RELEASE,
        )
    if error.code == "key.signer.elsewhere":
        return Finding(
            "partner.signer.elsewhere",
            Severity.BLOCKER,
            subject,
            f"The node that was asked cannot state anything between this site and {site}. {error.text}",
            "Ask that node, by its address: it signs for its site.",
        )
    if error.code in {"partner.away", "partner.slow"}:
        return Finding(
            "partner.end.away",
            Severity.BLOCKER,
            subject,
            f"{site} cannot be asked now. {error.text}",
            f"See what is known of it with: crossport trust show {site}",
        )
    if isinstance(error, errors.Refused | errors.NotFound) and error.code.startswith(
        ("partner.", "message.")
    ):
        return Finding("partner.end.refused", Severity.BLOCKER, subject, error.text, error.remedy)
    return None
