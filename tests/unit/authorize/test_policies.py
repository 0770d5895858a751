"""Policies in files: the shipped ones fit the schema; a mistake in an operator's is told with its place."""

from dataclasses import replace
from pathlib import Path

import pytest

from crossport import errors
from crossport.authorize import PolicyAuthorizer, opened
from crossport.model.access import Right
from crossport.model.authorization import Principal, Question, Resource

FREEZE = """// Nothing begins at night.

@id("night.freeze")
@reason("Nothing is migrated \\"now\\"; ask us.") // said to whoever asks
forbid (principal, action == Action::"migration.start", resource)
when { resource has clouds && resource.clouds.contains("prod;uction") };
"""
PERMIT = '@id("x") @reason("r") permit (principal, action, resource)'
EXPLODE = PERMIT.replace("action,", 'action == Action::"run.explode",') + ";"
EVERYTHING = PERMIT.replace("principal,", 'principal in Right::"everything",') + ";"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "policies"
    made.mkdir(mode=0o755)
    return made


def refused(folder: Path) -> errors.Invalid:
    with pytest.raises(errors.Invalid) as told:
        opened(folder)
    assert told.value.remedy
    return told.value


def test_shipped_policies_fit_the_schema_and_say_why():
    book = opened()
    assert {"right.read", "tenant.isolation", "ceiling.clouds"} <= book.policies.keys()
    assert all(policy.reason.endswith(".") for policy in book.policies.values())
    assert [name for name, policy in book.policies.items() if not policy.forbids] == [
        *(f"right.{right}" for right in Right),
        "partner.tenant-rule",
    ]


def test_an_operators_policy_is_in_force(folder: Path):
    (folder / "night.cedar").write_text(FREEZE)
    authorizer = PolicyAuthorizer(opened(folder))
    for cloud, allowed in (("prod;uction", False), ("test", True)):
        decision = authorizer.decide(
            Question(
                principal=Principal(tenant="acme", rights=frozenset(Right)),
                operation="migration.start",
                resource=Resource(kind="migration", tenant="acme", clouds=(cloud,)),
            )
        )
        assert decision.allowed == allowed
    assert authorizer.permitting("migration.start") == ("right.operate",)


def test_an_operators_policy_can_tell_by_ceilings_and_sign_in(folder: Path):
    (folder / "own.cedar").write_text(
        '@id("own.outsiders")\n@reason("Who signed in elsewhere moves what they were let in for.")\n'
        'forbid (principal, action == Action::"migration.start", resource)\n'
        'when { principal has issuer } unless { principal has vms && principal.vms.contains("web") }'
        ' unless { principal has projects && principal.projects.contains("beta/shop") };\n'
    )
    authorizer = PolicyAuthorizer(opened(folder))
    operator = Principal(tenant="acme", rights=frozenset({Right.OPERATE}))
    resource = Resource(kind="migration", tenant="acme", clouds=("alpha", "beta"))
    outsider = replace(operator, issuer="https://login.example", subject="alice")
    within = (replace(outsider, vms=("web",)), replace(outsider, projects=("beta/shop",)))
    for principal, allowed in ((operator, True), (outsider, False), *((each, True) for each in within)):
        question = Question(principal=principal, operation="migration.start", resource=resource)
        assert authorizer.decide(question).allowed is allowed


def test_an_operators_policy_is_placed_by_file_and_line(folder: Path):
    (folder / "night.cedar").write_text("\n\n" + FREEZE)
    policy = opened(folder).policies["night.freeze"]
    assert policy.place == f"{folder}/night.cedar:5"
    assert (policy.reason, policy.forbids) == ('Nothing is migrated "now"; ask us.', True)


@pytest.mark.parametrize(
    ("text", "said", "line"),
    [
        ("permit (", "is no policy", 1),
        (f"{PERMIT};\n\n{PERMIT}", "is no policy", 3),
        (f"{PERMIT};\nforbid", "is no policy", 2),
        ('// a\n@id("x")\npermit (principal, action, resource) nonsense;', "is no policy", 2),
        (f'{PERMIT} when {{ principal.tenant == "open', "is no policy", 1),
        (";", "is no policy", 1),
        (PERMIT.replace("principal,", "principal == ?principal,") + ";", "is a template", 1),
        (f'\n{PERMIT} when {{ principal.tennant == "x" }};', "attribute `tennant`", 2),
        (EXPLODE, "unrecognized action", 1),
        (f"{PERMIT} when {{ principal.tenant == 3 }};", "Long", 1),
        (EVERYTHING, "everything", 1),
        ('@reason("r") permit (principal, action, resource);', "has no @id", 1),
        ('@id("Ärger") @reason("r") permit (principal, action, resource);', "has no @id", 1),
        ('@id @reason("r") permit (principal, action, resource);', "has no @id", 1),
        ('@id("x") permit (principal, action, resource);', "has no @reason", 1),
        ('@id("x") @reason("a\\nb") permit (principal, action, resource);', "has no @reason", 1),
        (f"{PERMIT};\n{PERMIT};", "The id ", 2),
        (
            '@id("tenant.isolation") @reason("r") permit (principal, action, resource);',
            "The id ",
            1,
        ),
    ],
)
def test_a_wrong_policy_is_refused_with_its_place(folder: Path, text: str, said: str, line: int):
    (folder / "a.cedar").write_text(text)
    error = refused(folder)
    assert error.field == f"{folder}/a.cedar:{line}"
    assert said in error.text


def test_a_file_that_would_not_be_read_is_refused(folder: Path):
    (folder / "night.cedar").write_text(FREEZE)
    (folder / "day.ceder").write_text(FREEZE)
    assert refused(folder).field == f"{folder}/day.ceder"


def test_a_folder_without_policies_is_refused(folder: Path):
    assert refused(folder).field == str(folder)
    assert refused(folder / "absent").field == str(folder / "absent")


def test_what_others_can_write_is_refused(folder: Path):
    file = folder / "night.cedar"
    file.write_text(FREEZE)
    file.chmod(0o666)
    assert refused(folder).field == str(file)
    file.chmod(0o644)
    folder.chmod(0o777)
    assert refused(folder).field == str(folder)


def test_what_is_no_text_is_refused(folder: Path):
    (folder / "night.cedar").write_bytes(b"\xff\xfe")
    assert refused(folder).code == "authorization.file.invalid"
