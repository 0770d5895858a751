"""`crossport assess`: judge every VM of a cloud, as a table or as a page to send on."""

from collections import Counter
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from crossport import errors
from crossport.cli.report import finding_table
from crossport.cli.session import Here
from crossport.cli.text import Table
from crossport.client import calls
from crossport.model.request import Assessment, Verdict, VmAssessment
from crossport.units import seconds_text, size_text

__all__ = ["assess"]


def assess(
    *,
    source: Annotated[str, Parameter(name="--from", help="The cloud whose VMs are judged.")],
    target: Annotated[
        str, Parameter(name="--to", help="The cloud they would move to.", show_default=False)
    ] = "",
    html: Annotated[
        Path | None, Parameter(help="Write a page to this file, to print or send.", show_default=False)
    ] = None,
    session: Here,
) -> int:
    """Judge every VM of a cloud: go, fix or refuse, with reasons, expected time and outage. Writes nothing.

    Exit status 3 when a VM cannot go as it is.

    For example:

      crossport assess --from alpha

      crossport assess --from alpha --to beta --html alpha.html

      crossport assess --from alpha --to beta --json
    """
    if html:
        _write(html, "")  # before anybody waits for what could not be kept
    assessment = session.send(calls.assess(source, target))
    session.out.result(assessment, *assessment_tables(assessment))
    if html:
        from crossport.cli.assessment_page import page  # noqa: PLC0415

        _write(html, page(assessment))
        session.out.say(f"The page is in {html}.")
    ready = all(each.verdict is Verdict.GO for each in assessment.vms)
    return 0 if ready else errors.Blocked.exit_code


def assessment_tables(assessment: Assessment) -> list[Table]:
    """Return the judgement of each VM, then the reasons."""
    target = f" to {assessment.target}" if assessment.target else ""
    counts = Counter(each.verdict.value for each in assessment.vms)
    told = ", ".join(f"{counts[verdict]} {verdict.value}" for verdict in Verdict)
    rows = tuple(_row(each) for each in assessment.vms)
    headers = ("VM", "VERDICT", "SIZE", "TIME", "OUTAGE", "FINDINGS")
    tables = [
        Table(headers, rows, f"{assessment.cloud}{target}: {told}", right=frozenset(headers[2:])),
    ]
    tables += [finding_table(each.findings, each.vm.name) for each in assessment.vms if each.findings]
    return tables


def _row(each: VmAssessment) -> tuple[str, ...]:
    return (
        each.vm.name,
        each.verdict.value,
        size_text(sum(disk.size for disk in each.vm.disks)),
        seconds_text(each.estimate.seconds),
        seconds_text(each.estimate.outage_s),
        str(len(each.findings)),
    )


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise errors.Invalid(
            "cli.file.unwritable",
            f"{path} cannot be written: {error.strerror}.",
            field="--html",
            remedy="Name a file in a directory of yours.",
        ) from error
