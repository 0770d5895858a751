"""Set-up on a bare machine: what it wants, what it finds missing, and what it says when it cannot install."""

import importlib.util
import re
import subprocess
from pathlib import Path

import pytest
from scripts import set_up

ROOT = Path(__file__).resolve().parents[3]


def test_every_package_line_has_a_purpose_and_a_reason():
    packages = set_up.wanted(set_up.PACKAGES.read_text(), "test")
    assert len(packages) > 20
    assert {package.purpose for package in packages} == {"demo", "test"}
    assert all(package.reason for package in packages)


def test_the_demo_needs_no_database_server():
    names = [package.name for package in set_up.wanted(set_up.PACKAGES.read_text(), "demo")]
    assert "qemu-system-x86" in names
    assert "postgresql" not in names


def test_labs_need_what_tests_need_and_more_and_tests_need_nothing_of_labs():
    text = set_up.PACKAGES.read_text()
    test, labs = ({one.name for one in set_up.wanted(text, purpose)} for purpose in ("test", "labs"))
    assert test < labs
    assert {"mariadb-server", "rabbitmq-server", "ovn-central"} <= labs - test


def test_what_is_installed_for_labs_starts_no_service_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    policy = tmp_path / "policy-rc.d"
    monkeypatch.setattr(set_up, "SERVICE_POLICY", policy)
    with set_up.no_services([], wanted=False):
        assert subprocess.run([str(policy), "mariadb", "start"], check=False).returncode == 101
    assert not policy.exists()


def test_a_policy_of_the_machine_for_its_services_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    policy = tmp_path / "policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 0\n")
    monkeypatch.setattr(set_up, "SERVICE_POLICY", policy)
    with set_up.no_services([], wanted=False):
        pass
    assert policy.read_text() == "#!/bin/sh\nexit 0\n"


def test_a_package_that_debian_does_not_know_is_missing_and_an_installed_one_is_not():
    there = set_up.Package("dpkg", "demo", "is on every Debian")
    absent = set_up.Package("crossport-no-such-package", "demo", "is nowhere")
    assert set_up.missing([there, absent]) == [absent]


def test_uv_is_installed_with_the_digests_of_the_lock():
    requirement, version = set_up.uv_requirement(set_up.LOCK.read_text())
    assert requirement.startswith(f"uv=={version} --hash=sha256:")
    assert len(re.findall(r"--hash=sha256:[0-9a-f]{64}\b", requirement)) > 5


def test_without_root_and_sudo_the_exact_command_is_told():
    with pytest.raises(set_up.Stop, match="apt-get install --no-install-recommends ovmf swtpm"):
        set_up.root_prefix(["ovmf", "swtpm"], uid=1000, sudo=None)


def test_a_sudo_that_would_ask_for_a_password_where_nobody_can_type_is_not_used(tmp_path: Path):
    refusing = tmp_path / "sudo"
    refusing.write_text("#!/bin/sh\nexit 1\n")
    refusing.chmod(0o755)
    with pytest.raises(set_up.Stop, match="As root, run"):
        set_up.root_prefix(["ovmf"], uid=1000, sudo=str(refusing))


def test_root_needs_no_sudo():
    assert set_up.root_prefix(["ovmf"], uid=0, sudo="/usr/bin/sudo") == []


def test_the_second_call_finds_everything_and_says_nothing():
    first, second = (
        subprocess.run(
            [str(ROOT / "scripts/set-up"), "test"],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            check=False,
            timeout=110,
        )
        for _ in range(2)
    )
    assert (first.returncode, second.returncode) == (0, 0), first.stderr
    assert second.stdout == b""


def test_confined_workers_find_their_bytecode():
    set_up.add_bytecode()

    for module in (ROOT / "src/crossport/transfer").glob("*.py"):
        assert Path(importlib.util.cache_from_source(str(module))).exists(), module
