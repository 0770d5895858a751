"""The setting `policies`: what the operator wrote is in force, and what is wrong lets no site start."""

from pathlib import Path

import pytest

from crossport import errors
from crossport.app.compose import authorizer_of
from crossport.app.settings import Settings
from crossport.model.access import Right
from crossport.model.authorization import Principal, Question, Resource

QUESTION = Question(
    principal=Principal(tenant="guest", rights=frozenset(Right)),
    operation="run.show",
    resource=Resource(kind="run", tenant="guest"),
)
POLICY = """@id("guests.out") @reason("Guests left.")
forbid (principal, action, resource) when { principal.tenant == "guest" };
"""


def test_without_it_the_shipped_policies_hold(tmp_path: Path):
    assert authorizer_of(Settings(home=tmp_path)).decide(QUESTION).policies == ("right.read",)


def test_what_the_operator_wrote_is_in_force(tmp_path: Path):
    tmp_path.chmod(0o755)
    file = tmp_path / "own.cedar"
    file.write_text(POLICY)
    file.chmod(0o644)
    settings = Settings(home=tmp_path, policies=str(tmp_path))
    assert authorizer_of(settings).decide(QUESTION).policies == ("guests.out",)
    file.write_text(POLICY.replace("tenant", "tennant"))
    with pytest.raises(errors.Invalid) as told:
        authorizer_of(settings)
    assert told.value.field == f"{file}:1"
