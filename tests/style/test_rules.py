"""The style rules themselves: each sees the text that breaks it, and lets pass what keeps it."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from tests.style.rules import RULES
from tests.style.tree import ROOT, Source
from tests.style.words import hosts, machine_paths, synonyms

BREAKING = {
    "module-size": "x = 1\n" * 501,
    "function-size": "def f():\n" + "    pass\n" * 60,
    "parameter-count": "def f(a, b, c, d, *, e, f, g): ...",
    "telling-names": "class DiskManager: ...",
    "documented": "def seal(): ...",
    "errors-kept": "try:\n    f()\nexcept Exception:\n    x = 1",
    "peers-verified": "client = Client(verify=False)",
    "inputs-passed": "import time\nnow = time.time()",
    "state-held": "cache = {}",
    "real-collaborators": "from unittest import mock",
    "remedy-named": "raise errors.NotFound('a.b.c', 'There is no c.', field='c')",
}
KEEPING = {
    "module-size": "x = 1\n" * 500,
    "function-size": "def f():\n" + "    pass\n" * 59,
    "parameter-count": "class A:\n    def f(self, a, b, c, d, *, e, f): ...",
    "telling-names": "class Data: ...\nclass Database: ...\ndef getter(): ...",
    "documented": '"""A module."""\ndef _seal(): ...',
    "errors-kept": "try:\n    f()\nexcept Exception as error:\n    keep(error)",
    "peers-verified": "client = Client(verify=context)",
    "inputs-passed": "def f(now):\n    return now()",
    "state-held": "NAMES = ('a',)",
    "real-collaborators": "from crossport.testing import cloud",
    "remedy-named": "raise errors.Broken('a.b.c', 'It broke.', remedy=errors.REPORT)",
}


def broken(rule: str, text: str) -> bool:
    """Say whether ``text``, as a module of the product, breaks ``rule``."""
    return any(RULES[rule](Source("src/crossport/engine/queue.py", text, ast.parse(text))))


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_sees_what_breaks_it(rule: str):
    assert broken(rule, BREAKING[rule])


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_lets_pass_what_keeps_it(rule: str):
    assert not broken(rule, KEEPING[rule])


@pytest.mark.parametrize("text", ["try:\n    f()\nexcept:\n    pass", "with suppress(Exception):\n    f()"])
def test_an_error_dropped_in_another_form_is_seen(text: str):
    assert broken("errors-kept", text)


def test_words_outside_the_vocabulary_are_seen():
    assert [each.name for each in synonyms("a.md", "a failover\nthe beta cloud\nthe ETA")] == [
        "failover",
        "ETA",
    ]


def test_paths_of_one_machine_are_seen():
    home = "/home/" + "somebody/"
    assert list(machine_paths("a.md", f"see {home}notes"))
    assert not list(machine_paths("a.md", "/var/lib/crossport and https://host/work/x"))


def test_private_indexes_are_seen():
    assert list(hosts("a.toml", "https://" + "mirror.example.net/simple"))
    assert list(hosts("a.toml", "extra-index-url" + " = x"))
    assert not list(hosts("a.toml", "https://pypi.org/simple"))


@pytest.mark.parametrize(("body", "status"), [("assert True", 0), ("pytest.skip('later')", 1)])
def test_a_session_with_a_skip_fails_and_counts_it(tmp_path: Path, body: str, status: int):
    (tmp_path / "conftest.py").write_text((ROOT / "tests/conftest.py").read_text())
    (tmp_path / "test_one.py").write_text(f"import pytest\n\ndef test_one():\n    {body}\n")
    ended = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-c",
            "/dev/null",
            "--rootdir",
            ".",
            ".",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == status, ended.stdout
    assert f"skipped: {status} (" in ended.stdout
