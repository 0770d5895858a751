"""`crossport identity`: rules and providers by the API of a site, as far as no provider has to answer."""

from tests.unit.cli.desk import Desk, Served

from crossport.model.federation import Provider

ACME = Provider(name="acme", issuer="https://login.acme.example", audience="https://site.example")


def test_rules_are_added_listed_and_removed(desk: Desk, served: Served):
    served.do(served.site.store.put("identity-provider", "acme", ACME))
    assert desk.json("identity", "provider", "list")[0]["issuer"] == ACME.issuer
    words = ["--claim", "groups=ops", "--tenant", "acme", "--role", "operator", "--cloud", "beta"]
    words += ["--project", "beta/shop"]
    assert "acme, operator" in desk.type("identity", "rule", "add", "ops", "acme", *words)
    (rule,) = desk.json("identity", "rule", "list")
    assert (rule["claims"], rule["ceilings"]["clouds"]) == ({"groups": "ops"}, ["beta"])
    assert rule["ceilings"]["projects"] == ["beta/shop"]
    assert "beta beta/shop" in desk.type("identity", "rule", "list")
    assert "groups=ops" in desk.type("identity", "rule", "list")
    desk.type("identity", "provider", "remove", "acme")
    assert (desk.code, "identity.provider.used" in desk.stderr.getvalue()) == (2, True)
    desk.type("identity", "rule", "remove", "ops")
    desk.type("identity", "provider", "remove", "acme")
    assert desk.code == 0
    desk.type("identity", "rule", "remove", "ops")
    assert "identity.rule.unknown" in desk.stderr.getvalue()


def test_a_claim_that_says_nothing_is_refused(desk: Desk):
    desk.type(
        "identity", "rule", "add", "x", "acme", "--claim", "groups", "--tenant", "a", "--role", "viewer"
    )
    assert (desk.code, "--claim" in desk.stderr.getvalue()) == (2, True)


def test_a_provider_that_may_not_be_asked_is_told(desk: Desk):
    desk.type("identity", "provider", "add", "acme", "https://10.0.0.1", "--audience", "https://site.example")
    assert (desk.code, "egress.denied" in desk.stderr.getvalue()) == (7, True)
