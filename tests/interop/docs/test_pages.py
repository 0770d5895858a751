"""The documentation: every command in it is run, and prints what the page says.

Each page runs in a fresh world. What needs real guests, minutes or several machines is named in ELSEWHERE
with the test that runs it; a command that is neither run here nor named there fails. After a change of what
commands print, ``python -m tests.interop.docs.refresh`` writes the output into the pages anew.
"""

import re
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.interop.docs.page import INLINE, Command, File, difference, ids, mentioned, parts
from tests.interop.docs.world import ROOT, PageWorld

PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (
        ROOT / "README.md",
        ROOT / "SECURITY.md",
        ROOT / "CONTRIBUTING.md",
        *ROOT.glob("docs/**/*.md"),
    )
    if path.parent.name not in ("reference", "design")
)
RUN = [page for page in PAGES if any(isinstance(part, Command) for part in parts((ROOT / page).read_text()))]

ELSEWHERE = {
    "make demo": "tests/lab/demo/test_demo.py",
    "make test": ".ci/run",
    "crossport demo --chaos": "tests/lab/demo/test_demo.py",
    "crossport demo --facts facts.json": "tests/lab/demo/test_demo.py",
    "crossport demo --clean": "tests/lab/demo/test_demo.py",
    "crossport serve --listen 192.0.2.7:8443": "tests/lab/serve/test_life.py",
    "crossport cloud list --server https://192.0.2.7:8443 --ca ca.pem --token-file token.txt": (
        "tests/lab/serve/test_life.py"
    ),
    "crossport login --device --server https://192.0.2.7:8443 --ca ca.pem": (
        "tests/interop/oidc/test_login.py"
    ),
    "crossport image attest certified.ova web.conversion.json --converted web-root.qcow2": (
        "tests/stories/test_converted_images.py"
    ),
    "crossport key revoke KEY": "tests/unit/cli/test_key.py",
    "crossport key rotate root": "tests/unit/cli/test_key.py",
    "crossport identity provider add acme https://login.acme.example --audience https://site.example "
    "--introspect-as crossport --secret-file acme.secret": "tests/interop/oidc/test_run_grants.py",
    "crossport trust rotate --revoke": "tests/unit/cli/test_trust.py",
    "crossport trust clean RUN --gone": "tests/unit/cli/test_trust.py",
    "crossport image trust keyring.json local.roles --site local --root ROOT": "tests/unit/cli/test_audit.py",
    "crossport audit verify log.jsonl --heads own.heads --keyring keyring.json": (
        "tests/unit/cli/test_audit.py"
    ),
    "crossport key show awskms:arn:aws:kms:eu-central-1:123456789012:key/ID": (
        "tests/conformance/test_signers.py"
    ),
    "crossport key show 'pkcs11:token=site;object=seal?module-path=/usr/lib/softhsm/libsofthsm2.so"
    "&pin-source=/etc/crossport/pin'": "tests/conformance/test_signers.py",
    "crossport cloud add north openstack --set cloud=north --set-file clouds-yaml=clouds.yaml": (
        "tests/stories/openstack/test_recorded_cloud.py"
    ),
    "crossport cloud add north openstack --set auth-url=https://north:5000/v3 "
    "--set application-credential-id=ID --set-file application-credential-secret=north.secret": (
        "tests/openstack/test_openstack_driver.py"
    ),
    "crossport gateway drain GATEWAY --wait": "tests/unit/cli/test_gateway.py",
    "crossport gateway remove GATEWAY": "tests/unit/cli/test_gateway.py",
    "crossport vm list alpha": "tests/lab/demo/test_demo.py",
    "crossport run list": "tests/lab/demo/test_demo.py",
    "crossport source retire RUN": "tests/lab/demo/test_demo.py",
    "crossport migrate web --from alpha --to beta --map-network office=dmz --map-group web-in=http-server": (
        "src/crossport/cli/demo/play.py"
    ),
    "crossport migrate web --from beta --to alpha --map-network dmz=office --map-group http-server=web-in": (
        "tests/lab/demo/test_demo.py"
    ),
}
"""Commands with real guests, and where they are run."""


AT_ONCE = 3
"""Pages wait more than they work."""


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> Generator[dict[str, Future[list[str]]]]:
    """What is wrong with each page; they run side by side, each in a world of its own."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {name: pool.submit(played, name, tmp_path_factory.mktemp("page")) for name in RUN}


@pytest.mark.parametrize("name", RUN)
def test_every_command_of_a_page_does_what_the_page_shows(
    name: str, faults: dict[str, Future[list[str]]]
) -> None:
    wrong = faults[name].result()
    assert not wrong, "\n".join(wrong)


def played(name: str, folder: Path) -> list[str]:
    """Run a page; return its commands that did not do what it shows."""
    text = (ROOT / name).read_text()
    world = PageWorld(folder, text)
    wrong: list[str] = []
    try:
        for part in parts(text):
            if isinstance(part, File):
                world.put(part)
                continue
            status, printed = world.run(part.text)
            fault = difference(part.output, printed)
            if status != part.status:
                fault = f"exit status {status}, not {part.status}: {printed[-4:]}"
            if fault:
                wrong.append(f"{name}:{part.line}: {part.text}\n    {fault}")
            world.names.update(zip(ids(part.output), ids(printed), strict=False))
    finally:
        world.end()
    return wrong


def test_a_command_that_is_not_run_here_is_run_elsewhere():
    found = {command for page in PAGES for command in mentioned((ROOT / page).read_text())}
    assert found == set(ELSEWHERE)
    assert not [place for place in ELSEWHERE.values() if not (ROOT / place).exists()]


def test_commands_and_options_within_sentences_exist():
    helps = dict(
        re.findall(r"^## (crossport[^\n]*)\n\n```text\n(.*?)```", reference(), re.MULTILINE | re.DOTALL)
    )
    wrong: list[str] = []
    for page in [*PAGES, "ARCHITECTURE.md"]:
        for found in INLINE.finditer((ROOT / page).read_text()):
            words = found["command"].split()
            known = [name for name in helps if words[: len(name.split())] == name.split()]
            help_text = helps[max(known, key=len)] if len(known) > 1 else ""
            options = [word for word in words if word.startswith("--")]
            planned = words[1] in ("demo", "gateway", "broker", "…", "--help")
            if not planned and not (help_text and all(f"{option}" in help_text for option in options)):
                wrong.append(f"{page}: {found['command']}")
    assert not wrong, "\n".join(wrong)


def reference() -> str:
    """Return the help of every command."""
    return (ROOT / "docs/reference/cli.md").read_text()


def test_a_page_that_lies_is_seen():
    page = "<!-- exit: 3 -->\n```console\n$ crossport a \\\n    b\nRun 0123456789ab took 3.0 s\n…\nend\n```\n"
    (command,) = parts(page)
    assert isinstance(command, Command)
    assert (command.text, command.status) == ("crossport a \\\n    b", 3)
    assert not difference(command.output, ["Run ba9876543210 took 12 s", "copy", "end"])
    assert difference(command.output, ["Run ba9876543210 took 12 s", "copy"])
    assert difference(command.output, ["Ran ba9876543210", "end"])
    assert difference(command.output, ["Run ba9876543210 took 12 s", "end", "more"])
