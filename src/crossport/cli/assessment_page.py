"""The assessment as one self-contained page: no scripts, nothing fetched, printable, readable in the dark.

Every text of a cloud is escaped; the page's policy forbids scripts and outside content besides.
"""

from collections import Counter
from datetime import UTC, datetime
from html import escape

from crossport.model.finding import Finding
from crossport.model.request import Assessment, Verdict, VmAssessment
from crossport.units import seconds_text, size_text

__all__ = ["page"]

STYLE = """
:root{--ink:#1c2430;--soft:#5b6675;--line:#dde2e8;--paper:#fff;--ground:#f4f6f8;--go:#1a7f4b;--fix:#a86400;
--refuse:#b3261e;--accent:#1f4e8c}
@media(prefers-color-scheme:dark){:root{--ink:#e7ebf0;--soft:#9aa6b5;--line:#323b47;--paper:#1a2028;
--ground:#12161c;--go:#4cc38a;--fix:#e6a23c;--refuse:#f2746b;--accent:#7fb0ef}}
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--ink);font:15px/1.5 system-ui,"Segoe UI",Roboto,sans-serif}
main{max-width:1020px;margin:0 auto;padding:32px 24px 48px}
h1{font-size:26px;margin:0 0 4px;letter-spacing:-.01em}
h2{font-size:18px;margin:36px 0 12px}
.soft{color:var(--soft)}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px;margin:24px 0}
.card,section.vm,table{background:var(--paper);border:1px solid var(--line);border-radius:10px}
.card{padding:14px 16px}
.card b{display:block;font-size:26px;line-height:1.2;font-variant-numeric:tabular-nums}
.bar{display:flex;height:10px;border-radius:5px;overflow:hidden;background:var(--line);margin-bottom:8px}
.bar i{display:block}
table{border-collapse:separate;border-spacing:0;width:100%;overflow:hidden}
th,td{padding:9px 14px;text-align:left;border-bottom:1px solid var(--line);vertical-align:top}
tr:last-child td{border-bottom:0}
th{font-size:12px;font-weight:600;color:var(--soft);text-transform:uppercase;letter-spacing:.05em}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.tag{display:inline-block;padding:1px 9px;border-radius:99px;font-size:12.5px;font-weight:600;
border:1px solid currentColor;white-space:nowrap}
.go{color:var(--go)}.fix,.decision,.warning{color:var(--fix)}.refuse,.blocker{color:var(--refuse)}.info{color:var(--soft)}
.bg-go{background:var(--go)}.bg-fix{background:var(--fix)}.bg-refuse{background:var(--refuse)}
section.vm{padding:16px 18px;margin:0 0 12px;break-inside:avoid}
section.vm h3{margin:0;font-size:16px;display:flex;gap:10px;align-items:center;flex-wrap:wrap}
ul{list-style:none;margin:12px 0 0;padding:0}
li{padding:10px 0;border-top:1px solid var(--line)}
li p{margin:2px 0 0}
code{font:13px ui-monospace,SFMono-Regular,Menlo,monospace;color:var(--soft);overflow-wrap:anywhere}
a{color:var(--accent)}
footer{margin-top:36px;font-size:13px}
@media print{:root{--ink:#000;--soft:#444;--line:#ccc;--paper:#fff;--ground:#fff;--go:#1a7f4b;--fix:#8a5200;
--refuse:#b3261e}main{max-width:none;padding:0}.card,table,section.vm{border-radius:0}
*{-webkit-print-color-adjust:exact;print-color-adjust:exact}}
"""
POLICY = "default-src 'none'; style-src 'unsafe-inline'"

MEANING = {
    Verdict.GO: "can go as it is",
    Verdict.FIX: "something has to be fixed or decided first",
    Verdict.REFUSE: "cannot go",
}


def page(assessment: Assessment) -> str:
    """Return the page as HTML."""
    target = f" to {assessment.target}" if assessment.target else ""
    title = f"Assessment of {assessment.cloud}{target}"
    made = datetime.fromtimestamp(assessment.made, UTC).strftime("%d %B %Y, %H:%M UTC")
    order = {Verdict.REFUSE: 0, Verdict.FIX: 1, Verdict.GO: 2}
    told = sorted(
        (vm for vm in assessment.vms if vm.findings), key=lambda vm: (order[vm.verdict], vm.vm.name)
    )
    reasons = "".join(map(_reasons, told))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main>"
        f'<header><h1>{escape(title)}</h1><p class="soft">Made on {made}. Nothing was written.</p></header>'
        f"{_cards(assessment)}{_table(assessment)}"
        f"{'<h2>Reasons, and what to do</h2>' + reasons if reasons else ''}"
        f'<footer class="soft">{_legend()} Times are estimates: {escape(_basis(assessment))}.</footer>'
        "</main></body></html>\n"
    )


def _cards(assessment: Assessment) -> str:
    counts = Counter(each.verdict for each in assessment.vms)
    size = sum(disk.size for each in assessment.vms for disk in each.vm.disks)
    seconds = sum(each.estimate.seconds for each in assessment.vms)
    cards = [(str(len(assessment.vms)), "VMs", "")]
    cards += [(str(counts[verdict]), verdict.value, verdict.value) for verdict in Verdict]
    cards += [(size_text(size), "of disks", ""), (seconds_text(seconds), "one after another", "")]
    shown = "".join(
        f'<div class="card"><b class="{kind}">{escape(figure)}</b>'
        f'<span class="soft">{escape(what)}</span></div>'
        for figure, what, kind in cards
    )
    shares = "".join(
        f'<i class="bg-{verdict.value}" style="flex:{counts[verdict]}"></i>'
        for verdict in Verdict
        if counts[verdict]
    )
    return f'<div class="cards">{shown}</div><div class="bar">{shares}</div>'


def _table(assessment: Assessment) -> str:
    rows = "".join(map(_row, assessment.vms))
    if not rows:
        return "<p>This cloud has no VMs.</p>"
    head = (
        '<th>VM</th><th>Verdict</th><th>Flavor</th><th class="n">Disks</th><th class="n">Time</th>'
        '<th class="n">Outage</th><th class="n">Findings</th>'
    )
    return f"<h2>VMs</h2><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _row(each: VmAssessment) -> str:
    vm = each.vm
    figures = (
        size_text(sum(disk.size for disk in vm.disks)),
        seconds_text(each.estimate.seconds),
        seconds_text(each.estimate.outage_s),
        str(len(each.findings)),
    )
    cells = "".join(f'<td class="n">{escape(figure)}</td>' for figure in figures)
    flavor = f"{vm.flavor} · {vm.cpus} CPU · {size_text(vm.memory)}"
    return (
        f"<tr><td><strong>{escape(vm.name)}</strong><br><code>{escape(vm.id)}</code></td>"
        f"<td>{_tag(each.verdict.value)}</td><td>{escape(flavor)}</td>{cells}</tr>"
    )


def _reasons(each: VmAssessment) -> str:
    order = ("blocker", "decision", "warning", "info")
    findings = sorted(each.findings, key=lambda finding: order.index(finding.severity.value))
    items = "".join(map(_finding, findings))
    head = f"<h3>{escape(each.vm.name)} {_tag(each.verdict.value)}</h3>"
    return f'<section class="vm">{head}<ul>{items}</ul></section>'


def _finding(finding: Finding) -> str:
    remedy = f'<p class="soft">What to do: {escape(finding.remedy)}</p>' if finding.remedy else ""
    return (
        f"<li>{_tag(finding.severity.value)} <code>{escape(finding.code)}</code> · {escape(finding.subject)}"
        f"<p>{escape(finding.text)}</p>{remedy}</li>"
    )


def _tag(word: str) -> str:
    return f'<span class="tag {escape(word)}">{escape(word)}</span>'


def _legend() -> str:
    return " ".join(f"{_tag(verdict.value)} {text}." for verdict, text in MEANING.items())


def _basis(assessment: Assessment) -> str:
    return next((each.estimate.basis for each in assessment.vms if each.estimate.basis), "no measurement yet")
