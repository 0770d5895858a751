"""What the small guest reads of a NoCloud seed: its own awk programs, run by the busybox it ships with."""

import json
import subprocess
from importlib.resources import files

import pytest
import yaml

PROGRAMS = files("crossport.testing.guest") / "files"
KEYS = (
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPlaceholderPlaceholderPlaceholderPlaceholder demo@crossport",
    "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIPlaceholder",
)
NETWORK = {
    "version": 2,
    "ethernets": {
        "net0": {
            "match": {"macaddress": "52:54:00:C7:05:01"},
            "set-name": "eth0",
            "dhcp4": False,
            "addresses": ["10.0.0.5/24", "fd00::5/64"],
            "gateway4": "10.0.0.1",
            "gateway6": "fd00::1",
            "mtu": 1400,
            "nameservers": {"search": ["lab.test"], "addresses": ["10.0.0.2", "10.0.0.3"]},
        },
        "net1": {
            "match": {"macaddress": "52:54:00:c7:05:02"},
            "addresses": ["10.1.0.5/24"],
            "routes": [{"to": "10.9.0.0/16", "via": "10.1.0.9"}, {"to": "default", "via": "10.1.0.1"}],
        },
        "eth2": {"dhcp4": True},
    },
}
LINES = [
    "52:54:00:c7:05:01 net0 10.0.0.5/24,fd00::5/64 10.0.0.1 fd00::1 False 1400 10.0.0.2,10.0.0.3",
    "52:54:00:c7:05:02 net1 10.1.0.5/24 10.1.0.1 - - - -",
    "- eth2 - - - true - -",
]
BLOCK = yaml.safe_dump(NETWORK, sort_keys=False)
SPELLINGS = {
    "block": BLOCK,
    "sorted": yaml.safe_dump(NETWORK),
    "nested-and-commented": "# made by a cloud\n"
    + yaml.safe_dump({"network": NETWORK}, indent=4, sort_keys=False),
    "flow": yaml.safe_dump(NETWORK, default_flow_style=True, sort_keys=False),
    "json": json.dumps(NETWORK),
    "compact-json": json.dumps(NETWORK, separators=(",", ":")),
}


def awk(program: str, text: str) -> list[str]:
    command = ["busybox", "awk", "-f", str(PROGRAMS / program)]
    return subprocess.run(command, input=text, text=True, check=True, capture_output=True).stdout.splitlines()


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_network_config_says_the_same_however_it_is_spelled(spelling: str) -> None:
    found = sorted(line.lower() for line in awk("network.awk", SPELLINGS[spelling]))
    assert found == sorted(line.lower() for line in LINES)


@pytest.mark.parametrize("spelling", ["yaml", "json"])
def test_public_keys_are_found_in_either_spelling(spelling: str) -> None:
    facts = {"public-keys": list(KEYS), "z": 1}
    text = yaml.safe_dump(facts) if spelling == "yaml" else json.dumps(facts)  # YAML folds long lines
    assert awk("keys.awk", text) == list(KEYS)


def test_text_without_keys_gives_none() -> None:
    assert awk("keys.awk", "#cloud-config\nssh_pwauth: false\n") == []


@pytest.mark.parametrize(
    "program", [entry.name for entry in PROGRAMS.iterdir() if entry.name not in ("README.md", "inittab")]
)
def test_every_shell_program_parses(program: str) -> None:
    if program.endswith((".awk", ".cfg")):
        return
    subprocess.run(["busybox", "sh", "-n", str(PROGRAMS / program)], check=True)
