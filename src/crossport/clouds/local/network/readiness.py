"""Say whether this machine can enforce the embedded cloud's networks, by trying it in a throw-away one."""

import asyncio
import os
import shutil
from pathlib import Path

from crossport import errors
from crossport.clouds.local.network import kernel, ruleset
from crossport.clouds.local.network.layout import SEATS
from crossport.model.finding import Finding, Severity

__all__ = ["able", "findings", "missing_tools"]

_TOOLS = {
    "ip": "iproute2",
    "bridge": "iproute2",
    "tc": "iproute2",
    "nft": "nftables",
    "nsenter": "util-linux",
    "unshare": "util-linux",
}
_CAP_NET_ADMIN, _CAP_SYS_ADMIN = 12, 21
_SUBJECT = "networks of the embedded cloud"


async def findings() -> tuple[Finding, ...]:
    """Return what stands in the way of enforced networks; one finding of severity info when nothing does."""
    if os.geteuid() != 0:
        return (
            _finding(
                "network.root.absent",
                Severity.WARNING,
                "Without root the networks are user-mode ones: security groups are not fully enforced.",
                "Run as root to have them enforced.",
            ),
        )
    found: list[Finding] = []
    if missing := missing_tools():
        packages = sorted({_TOOLS[tool] for tool in missing})
        found.append(
            _finding(
                "network.tool.missing",
                Severity.WARNING,
                f"Not installed: {', '.join(missing)}.",
                f"Install {', '.join(packages)}.",
            )
        )
        return tuple(found)
    found += await _tried()
    if not found:
        text = (
            "Networks and security groups can be enforced: namespaces, nftables, taps and rate limits work."
        )
        found.append(_finding("network.enforced", Severity.INFO, text))
    return tuple(found)


def able() -> bool:
    """Say, without trying, whether this process may make networks and has the tools for it."""
    status = Path("/proc/self/status").read_text()
    effective = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapEff:"))
    wanted = 1 << _CAP_NET_ADMIN | 1 << _CAP_SYS_ADMIN
    return os.geteuid() == 0 and effective & wanted == wanted and not missing_tools()


def missing_tools() -> tuple[str, ...]:
    """Return the programs that enforced networks need and that are not on the path."""
    return tuple(tool for tool in _TOOLS if shutil.which(tool) is None)


async def _tried() -> list[Finding]:
    script = ruleset.skeleton(["n0"], seats={"export": SEATS[2]}, wan="wan0")
    # A namespace without a name: it is gone with the process.
    trials = [
        ("namespaces (CAP_SYS_ADMIN, CAP_NET_ADMIN)", ["ip", "link", "set", "lo", "up"], ""),
        ("bridges", ["ip", "link", "add", "n0", "type", "bridge"], ""),
        ("nftables with bridge, connection tracking and fib", ["nft", "-f", "-"], script),
        ("links between namespaces (veth)", ["ip", "link", "add", "a0", "type", "veth"], ""),
        ("taps (/dev/net/tun)", ["ip", "tuntap", "add", "dev", "t0", "mode", "tap"], ""),
        (
            "rate limits (tbf)",
            ["tc", "-batch", "-"],
            "qdisc add dev lo root tbf rate 1gbit burst 256k latency 40ms",
        ),
    ]
    outcomes = await asyncio.gather(*(_trial(*trial) for trial in trials))
    return [finding for finding in outcomes if finding is not None]


async def _trial(what: str, argv: list[str], text: str) -> Finding | None:
    try:
        await kernel.run(["unshare", "--net", "--", *argv], text=text)
    except errors.Unavailable as error:
        return _finding(
            "network.kernel.unable",
            Severity.WARNING,
            f"This machine does not allow {what}. {error.text}",
            "Use a kernel that has them, give the container the rights, or choose user-mode networks.",
        )
    return None


def _finding(code: str, severity: Severity, text: str, remedy: str = "") -> Finding:
    return Finding(code, severity, _SUBJECT, text, remedy)
