"""`crossport trust` at a site that has no partner yet: what it does alone, and what it cannot."""

from tests.unit.cli.desk import Desk

from crossport.model.keyring import KeyRole


def good_authorities(desk: Desk) -> set[str]:
    keys = desk.json("key", "list")["document"]["keys"]
    return {key["public_key"] for key in keys if key["role"] == KeyRole.CA and key["revoked"] is None}


def test_an_authority_is_revoked_at_once_and_another_is_in_its_place(desk: Desk):
    (before,) = good_authorities(desk)
    desk.type("trust", "rotate", "--revoke")
    assert desk.code == 0, desk.stderr.getvalue()
    (after,) = good_authorities(desk)
    assert after != before


def test_a_partners_run_that_is_not_here_is_told(desk: Desk):
    desk.type("trust", "clean", "9a3f00000000", "--gone")
    assert desk.code == 2
    assert "partner.run.unknown" in desk.stderr.getvalue()
