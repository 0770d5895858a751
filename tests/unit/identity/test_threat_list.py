"""The page of threats: each has a test that attacks, which exists, or is named as open."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "threats.md"
SECTIONS = ("Control plane", "Data plane", "Migration module", "What a secure migration has to give")
PROOF = re.compile(r"\[([^\]]+)\]\(\.\./(tests/[^)]+)\)")


def rows(section: str) -> list[list[str]]:
    text = PAGE.read_text().partition(f"## {section}\n")[2].partition("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("| ")][1:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.mark.parametrize("section", SECTIONS)
def test_every_threat_has_a_test_that_attacks_or_is_open(section: str):
    for threat, stops, shown in rows(section):
        assert PROOF.search(shown) or stops.startswith("*open*"), threat


@pytest.mark.parametrize("section", SECTIONS)
def test_every_test_that_is_named_exists(section: str):
    proofs = [proof for row in rows(section) for proof in PROOF.findall(row[2])]
    assert len(proofs) >= 6
    for words, file in proofs:
        name = f"test_{words.replace(' ', '_')}"
        assert re.search(rf"def {name}\(", (ROOT / file).read_text()), f"{name} is not in {file}"


def test_the_six_requirements_are_there():
    assert len(rows(SECTIONS[-1])) == 6
