"""The checkout itself: commits, Makefile, change fragments, links in pages, the lock, generated files."""

import re
import subprocess
import sys
import tomllib

from tests.style.tree import ROOT, Exemption

SUBJECT = re.compile(r"[a-z0-9][a-z0-9 ,/_.-]*: [A-Z][^\n]*[^.\s]")
LIKE_A_PARTICIPLE = frozenset(
    {"Bring", "Embed", "Exceed", "Feed", "Need", "Ping", "Proceed", "Seed", "Shed", "Speed"}
)
KINDS = ("added", "changed", "fixed", "removed", "security")
FRAGMENT = re.compile(rf"[a-z0-9][a-z0-9-]*\.(?:{'|'.join(KINDS)})\.md")
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")


def badly_formed(subject: str) -> str:
    """Return what is wrong with the subject of a commit; nothing when it is well formed."""
    if len(subject) > 72:
        return f"{len(subject)} characters, at most 72"
    if not SUBJECT.fullmatch(subject):
        return "not of the form `area: Imperative without a full stop`"
    verb = subject.split(": ", 1)[1].split(maxsplit=1)[0].rstrip(",")
    if verb.endswith(("ed", "ing")) and verb not in LIKE_A_PARTICIPLE:
        return f"{verb}: say what the commit does, in the imperative"
    return ""


def test_every_commit_says_area_and_imperative(exempted: list[Exemption]):
    log = subprocess.run(
        ["git", "-c", f"safe.directory={ROOT}", "log", "--no-merges", "--format=%H %s"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    allowed = {entry.path for entry in exempted if entry.rule == "commit"}
    commits = [line.split(" ", 1) for line in log.stdout.splitlines()]
    wrong = [
        f"{commit[:10]} {subject}: {fault}"
        for commit, subject in commits
        if commit not in allowed and (fault := badly_formed(subject))
    ]
    assert commits
    assert not wrong, "\n".join(wrong)


def test_a_badly_formed_subject_is_seen():
    assert badly_formed("transfer: Stop sending zeroes") == ""
    for subject in (
        "Stop sending zeroes",
        "transfer: stop",
        "transfer: Stop.",
        "a: Fixed it",
        "a: " + "X" * 80,
    ):
        assert badly_formed(subject), subject


def test_help_explains_every_target():
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))
    told = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    explained = dict(re.findall(r"^  make ([a-z-]+) +(\S.*)$", told, re.MULTILINE))
    assert targets == set(explained)
    assert all(text.endswith(".") for text in explained.values())
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert phony
    assert targets == set(phony[1].split())


def test_every_change_fragment_has_a_kind_and_a_sentence():
    for file in (ROOT / "changes").iterdir():
        if file.name in ("README.md", "TEMPLATE.md"):
            continue
        assert FRAGMENT.fullmatch(file.name), f"{file.name}: not NAME.({'|'.join(KINDS)}).md"
        assert file.read_text().strip().endswith("."), f"{file.name}: not a sentence"


def test_links_between_pages_lead_somewhere(texts: dict[str, str]):
    broken = [
        f"{path}: {target}"
        for path, text in texts.items()
        if path.endswith(".md")
        for target in LINK.findall(text)
        if "://" not in target and not (ROOT / path).parent.joinpath(target).exists()
    ]
    assert not broken, "\n".join(broken)


def test_the_lock_names_the_public_index_only():
    lock = tomllib.loads((ROOT / "uv.lock").read_text())
    registries = {package["source"].get("registry") for package in lock["package"]} - {None}
    assert registries == {"https://pypi.org/simple"}
    assert set(re.findall(r'url = "https?://([^/"]+)', (ROOT / "uv.lock").read_text())) == {
        "files.pythonhosted.org"
    }


def test_generated_files_are_fresh():
    ended = subprocess.run(
        [sys.executable, "scripts/generated.py"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_the_architecture_names_every_package():
    page = (ROOT / "ARCHITECTURE.md").read_text()
    packages = [file.parent.name for file in (ROOT / "src/crossport").glob("*/__init__.py")]
    assert packages
    assert not [name for name in packages if f"`{name}" not in page]


def test_the_readme_names_commands_that_exist(texts: dict[str, str]):
    targets = set(re.findall(r"^([a-z][a-z-]*):", texts["Makefile"], re.MULTILINE))
    named = {
        target
        for path, text in texts.items()
        if path.endswith(".md")
        for target in re.findall(r"(?:^ {4}|`)make ([a-z][a-z-]*)", text, re.MULTILINE)
    }
    assert {"demo", "test"} <= named <= targets
