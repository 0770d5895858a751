"""`crossport image policy`: what is set is what is shown, in whatever form the file was written."""

import json
from pathlib import Path

import pytest
from tests.unit.cli.desk import Desk

POLICY = {
    "site": "test",
    "partners": [{"site": "test", "clouds": ["alpha"]}],
    "max_age_hours": 24.0,
    "own_checks": ["malware"],
    "forbidden_packages": [{"name": "xz-utils", "versions": ["5.6.0*"], "why": "it has a backdoor"}],
}
TOML = """
site = "test"
max_age_hours = 24.0
own_checks = ["malware"]

[[partners]]
site = "test"
clouds = ["alpha"]

[[forbidden_packages]]
name = "xz-utils"
versions = ["5.6.0*"]
why = "it has a backdoor"
"""
YAML = """
site: test
max_age_hours: 24.0
own_checks: [malware]
partners: [{site: test, clouds: [alpha]}]
forbidden_packages:
- {name: xz-utils, versions: ['5.6.0*'], why: it has a backdoor}
"""
FORMS = {"policy.toml": TOML, "policy.yaml": YAML, "policy.json": json.dumps(POLICY)}


@pytest.mark.parametrize("name", FORMS)
def test_a_policy_is_set_from_a_file_and_shown(desk: Desk, tmp_path: Path, name: str):
    (tmp_path / name).write_text(FORMS[name])
    told = desk.type("image", "policy", "set", str(tmp_path / name))
    assert (desk.code, "xz-utils" in told) == (0, True)
    kept = desk.json("image", "policy", "show")
    assert kept["generation"] >= 1
    (partner,), (package,) = kept["policy"]["partners"], kept["policy"]["forbidden_packages"]
    assert (partner["site"], partner["clouds"]) == ("test", ["alpha"])
    assert (package["name"], package["why"]) == ("xz-utils", "it has a backdoor")
    assert (kept["policy"]["max_age_hours"], kept["policy"]["own_checks"]) == (24.0, ["malware"])


def test_what_was_shown_is_refused_once_another_was_set(desk: Desk, tmp_path: Path):
    shown = tmp_path / "shown.json"
    shown.write_text(desk.type("image", "policy", "show", "--json"))
    desk.type("image", "policy", "set", str(shown))
    assert desk.code == 0
    desk.type("image", "policy", "set", str(shown))
    assert "Code: import-policy.changed" in desk.stderr.getvalue()


def test_a_policy_is_explained_for_each_site(desk: Desk, tmp_path: Path):
    (tmp_path / "policy.toml").write_text(TOML)
    desk.type("image", "policy", "set", str(tmp_path / "policy.toml"))
    told = desk.type("image", "policy", "explain", "test")
    for part in ("any key", "one of the clouds alpha", "24 h", "xz-utils (5.6.0*)", "itself for malware"):
        assert part in told
    assert "Nothing of it is admitted" in desk.type("image", "policy", "explain", "north")
    assert desk.code == 7


def test_a_policy_is_taken_back(desk: Desk, tmp_path: Path):
    (tmp_path / "policy.toml").write_text(TOML)
    desk.type("image", "policy", "set", str(tmp_path / "policy.toml"))
    assert "the first one" in desk.type("image", "policy", "reset")
    assert desk.json("image", "policy", "show")["generation"] == 0


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("site = 'test'\npartners = [{site = 'nowhere'}]", "policy.partners.0.site"),
        ("site = 'test'\nmax_disk_gib = 0", "max_disk_gib"),
        ("site = 'test'\nversion = 99", "version"),
        ("site = ", "policy.toml"),
    ],
)
def test_a_wrong_policy_is_refused_by_its_field(desk: Desk, tmp_path: Path, text: str, field: str):
    (tmp_path / "policy.toml").write_text(text)
    desk.type("image", "policy", "set", str(tmp_path / "policy.toml"))
    assert desk.code == 2
    assert f"Error: {field}: " in desk.stderr.getvalue()
    assert "Remedy: " in desk.stderr.getvalue()
