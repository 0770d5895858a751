"""Words: one for each thing; and words that tell about a developer's machine instead of the product."""

import re
from collections.abc import Iterator

from tests.style.tree import Violation

__all__ = ["hosts", "machine_paths", "synonyms"]

# What is written instead, and what to write. The vocabulary itself is in ARCHITECTURE.md.
SYNONYMS = {
    r"switch-?over|switch over|fail-?over": "cutover",
    r"os ?morphing|os_morphing|os adaptation": "guest conversion",
    r"minion|conversion host|replication server": "gateway",
    r"network_?map|storage_?map|infrastructure mapping": "mapping",
    r"mock migration|test launch|clone job": "test migration",
    r"virtual server|vm instance|virtual instance": "VM",
    r"precheck|pre-check|preflight|pre_check": "finding (pre-flight)",
    r"eta|e\.t\.a\.": "time left, estimate",
    r"replicas?|replication": "initial sync, delta sync, copy",
    r"whitelist|white-list|allowlist": "allow-list",
    r"blacklist|black-list": "deny-list",
    r"dest_vm|destination_vm|dst_vm|destination cloud|destination vm": "target",
    r"origin_vm|origin cloud": "source",
    r"signed image|trusted image|certificated image": "certified image",
    r"hot migration|online migration|vmotion": "live migration",
    r"offline migration": "cold migration",
    r"dirty-?block tracking|changed block tracking|changed-block tracking": "change tracking",
    r"security rule set|firewall group": "security group",
}
BANNED = [
    (re.compile(rf"(?<![A-Za-z0-9])(?:{pattern})(?![A-Za-z0-9])", re.IGNORECASE), say)
    for pattern, say in SYNONYMS.items()
]

# A folder in which a person, and not the product, keeps things.
MACHINE_PATH = re.compile(
    r"(?<![\w.$}*-])/(?:root|home/[a-z]\w*|Users/\w+|work|workspace|mnt/[a-z]\w*)/(?!\.ssh/)[\w.-]"
)
URL_HOST = re.compile(r"https?://([A-Za-z0-9.-]+)")
INDEX_SETTING = re.compile(
    r"(?:index-url|extra-index-url|find-links|index_url|default-index|trusted-host)\b\s*[=:]?\s*\S"
)
PRIVATE_HOST = re.compile(
    r"artifactory|nexus|devpi|mirror|proxy|\.(?:internal|corp|lan|local)$", re.IGNORECASE
)
PUBLIC_INDEXES = frozenset({"pypi.org", "files.pythonhosted.org", "registry.npmjs.org"})


def synonyms(path: str, text: str) -> Iterator[Violation]:
    """Yield each word for which the vocabulary has another one."""
    for number, line in numbered(text):
        for pattern, say in BANNED:
            if found := pattern.search(line):
                yield Violation(path, number, found[0], f"say: {say}")


def machine_paths(path: str, text: str) -> Iterator[Violation]:
    """Yield each absolute path that exists on one developer's machine only."""
    for number, line in numbered(text):
        if found := MACHINE_PATH.search(line):
            yield Violation(path, number, found[0], "a path of one machine")


def hosts(path: str, text: str) -> Iterator[Violation]:
    """Yield each name of a private package index, and each setting that chooses an index."""
    for number, line in numbered(text):
        for host in URL_HOST.findall(line):
            if PRIVATE_HOST.search(host) and host not in PUBLIC_INDEXES:
                yield Violation(path, number, host, "a private host")
        if found := INDEX_SETTING.search(line):
            yield Violation(path, number, found[0], "whoever installs chooses the index")


def numbered(text: str) -> Iterator[tuple[int, str]]:
    """Yield the lines of ``text`` with their numbers, from 1."""
    return enumerate(text.splitlines(), 1)
