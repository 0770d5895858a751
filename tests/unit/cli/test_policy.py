"""`crossport policy`: explains decisions and checks an operator's policies, from files alone."""

from pathlib import Path

from tests.unit.cli.desk import Desk

FROZEN = """@id("prod.frozen")
@reason("Nothing of prod is deleted.")
forbid (principal, action == Action::"vm.delete", resource)
"""
WHEN = 'when { resource has clouds && resource.clouds.contains("prod") };'


def folder(tmp_path: Path, text: str) -> str:
    made = tmp_path / "policies"
    made.mkdir(mode=0o755)
    file = made / "own.cedar"
    file.write_text(text)
    file.chmod(0o644)
    return str(made)


def test_a_decision_is_explained(alone: Desk):
    assert alone.json("policy", "explain", "run.cancel") == {
        "allowed": False,
        "policies": [],
        "lacking": ["right.operate"],
        "reason": "It takes the right operate, which the roles operator and admin include.",
        "places": ["policies.cedar:8"],
    }
    told = alone.json("policy", "explain", "source.retire", "--right", "retire")
    assert (told["allowed"], told["policies"]) == (True, ["right.retire"])
    told = alone.json("policy", "explain", "run.show", "--of-tenant", "other")
    assert (told["allowed"], told["policies"]) == (False, ["tenant.isolation"])
    shown = alone.type("policy", "explain", "run.cancel", "--role", "operator")
    assert "allowed" in shown
    assert "right.operate" in shown


def test_an_operators_policy_is_explained_and_listed(alone: Desk, tmp_path: Path):
    own = folder(tmp_path, FROZEN + WHEN)
    asked = ("policy", "explain", "vm.delete", "--role", "admin", "--policies", own)
    told = alone.json(*asked, "--cloud", "prod")
    assert (told["allowed"], told["policies"], told["places"]) == (
        False,
        ["prod.frozen"],
        [f"{own}/own.cedar:1"],
    )
    assert alone.json(*asked, "--cloud", "test")["allowed"]
    assert "prod.frozen" in [each["id"] for each in alone.json("policy", "check", own)]


def test_a_mistake_is_told_with_its_place(alone: Desk, tmp_path: Path):
    own = folder(tmp_path, FROZEN + WHEN.replace("clouds.", "cluods."))
    alone.type("policy", "check", own)
    assert alone.code == 2
    assert f"{own}/own.cedar:1" in alone.stderr.getvalue()
    alone.type("policy", "explain", "run.explode")
    assert alone.code == 2
    assert "authorization.operation.unknown" in alone.stderr.getvalue()
