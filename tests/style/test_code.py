"""Every Python file of the checkout against every rule of rules.py; exceptions.txt names the exceptions."""

import pytest
from tests.style.rules import RULES
from tests.style.tree import Exemption, Source, Violation
from tests.style.words import hosts, machine_paths, synonyms

WORD_RULES = {"one-word-per-thing": synonyms, "no-machine-paths": machine_paths, "no-private-hosts": hosts}


def allowed(rule: str, violation: Violation, exempted: list[Exemption]) -> bool:
    """Say whether a line of exceptions.txt covers ``violation``."""
    return (rule, violation.path, violation.name) in {
        (entry.rule, entry.path, entry.name) for entry in exempted
    }


def code_violations(rule: str, sources: list[Source]) -> list[Violation]:
    """Return what breaks one rule for code."""
    return [violation for source in sources for violation in RULES[rule](source)]


def word_violations(rule: str, texts: dict[str, str]) -> list[Violation]:
    """Return what breaks one rule for words. Other people's words may be quoted in tests."""
    spared = (
        ("tests/style/", "scripts/set_up.py") if rule != "one-word-per-thing" else ("tests/", "CHANGELOG.md")
    )
    found = [(path, text) for path, text in texts.items() if not path.startswith(spared)]
    return [violation for path, text in found for violation in WORD_RULES[rule](path, text)]


def complaint(rule: str, violations: list[Violation]) -> str:
    """Return what the author of the violations reads."""
    reason = (RULES.get(rule) or WORD_RULES[rule]).__doc__ or ""
    return "\n".join([f"{rule}: {reason.splitlines()[0]}", *map(str, violations)])


@pytest.mark.parametrize("rule", RULES)
def test_code_follows(rule: str, sources: list[Source], exempted: list[Exemption]):
    found = [each for each in code_violations(rule, sources) if not allowed(rule, each, exempted)]
    assert not found, complaint(rule, found)


@pytest.mark.parametrize("rule", WORD_RULES)
def test_words_follow(rule: str, texts: dict[str, str], exempted: list[Exemption]):
    found = [each for each in word_violations(rule, texts) if not allowed(rule, each, exempted)]
    assert not found, complaint(rule, found)


def test_every_exception_is_still_needed(
    sources: list[Source], texts: dict[str, str], exempted: list[Exemption]
):
    needed = {(rule, each.path, each.name) for rule in RULES for each in code_violations(rule, sources)}
    needed |= {(rule, each.path, each.name) for rule in WORD_RULES for each in word_violations(rule, texts)}
    idle = [entry for entry in exempted if entry.rule != "commit" and tuple(entry[:3]) not in needed]
    assert not idle, f"exceptions.txt: delete these lines: {idle}"
