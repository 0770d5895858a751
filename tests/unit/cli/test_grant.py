"""`crossport grant`: whose right runs go on by, listed, shown and taken by the API of a site."""

from tests.unit.cli.desk import Desk, Served

from crossport.api.resource.grant import GRANT
from crossport.model.grant import RunGrant

PARTNERS = RunGrant(
    run="p-0001",
    tenant="guests",
    since=GRANT.since,
    until=GRANT.until,
    about="",
    clouds=("beta",),
    partner="north",
    theirs="acme",
    called="run-7",
)


def test_grants_are_listed_shown_and_taken(desk: Desk, served: Served):
    for grant in (GRANT, PARTNERS):
        served.do(served.site.opened.grants.hold(grant))
    told = desk.type("grant", "list")
    assert ("alice" in told, "acme@north" in told, "held" in told) == (True, True, True)
    assert [each["run"] for each in desk.json("grant", "list")] == [GRANT.run, PARTNERS.run]
    shown = desk.type("grant", "show", GRANT.run)
    assert ("https://login.acme.example" in shown, "acme-operators" in shown) == (True, True)
    assert "run-7" in desk.type("grant", "show", PARTNERS.run)
    taken = desk.json("grant", "revoke", PARTNERS.run)
    assert (taken["state"], taken["loss"], taken["by"].startswith("token ")) == ("lost", "revoked", True)
    assert "lost: revoked" in desk.type("grant", "list")
    desk.type("grant", "revoke", "run-9")
    assert (desk.code, "grant.unknown" in desk.stderr.getvalue()) == (2, True)
