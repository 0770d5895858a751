"""The table of all keys: every place in the code that makes one is in it; lifetimes are the code's."""

import re
from pathlib import Path

from crossport.app import certificate
from crossport.gateway import office
from crossport.identity import authority, role_document
from crossport.model.access import Role, TokenRequest
from crossport.model.keyring import KeyRole
from crossport.partner import badge
from crossport.partner.invitation import INVITED_S

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "threats.md"
SOURCE = ROOT / "src" / "crossport"
MAKES = re.compile(
    r"generate_private_key\(|PrivateKey\.generate\(|Identity\.generate\(|secret_text\.generate\(|token_urlsafe\("
    r"|ECKey\.generate_key\(|(?:urandom|entropy)\(_?KEY(?:_SIZE)?\)|\.derived\("
)
NOT_IN_USE = ("testing", "cli/demo")
DAY_S = 86400.0


def rows() -> list[list[str]]:
    text = PAGE.read_text().partition("## All keys\n")[2]
    lines = [line for line in text.splitlines() if line.startswith("| ")][1:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def lifetime(key: str) -> str:
    return next(row[3] for row in rows() if row[0] == key)


def test_every_place_that_makes_keys_is_in_the_table_and_no_other():
    listed = {(PAGE.parent / path).resolve() for row in rows() for path in re.findall(r"\(([^)]+)\)", row[4])}
    making = {
        path
        for path in SOURCE.rglob("*.py")
        if MAKES.search(path.read_text()) and not path.relative_to(SOURCE).as_posix().startswith(NOT_IN_USE)
    }
    assert listed == making


def test_the_roles_of_the_role_document_are_in_the_table():
    named = " ".join(row[0] for row in rows())
    assert all(f"`{role}`" in named for role in KeyRole)


def test_the_lifetimes_are_those_of_the_code():
    assert authority.AUTHORITY_LIFETIME.days // 365 == 10
    assert lifetime("authority of the site (`ca`)") == "10 years"
    assert lifetime("TLS of the site's servers") == f"{certificate.LIFETIME_S / 3600:.0f} hours"
    listed = f"listed for {role_document.KEY_LIFETIME_S / DAY_S:.0f} days"
    assert lifetime("`seal`, `audit`, `ticket`, `permit`") == listed
    assert lifetime("invitation of a gateway") == f"{office.INVITED_S / 60:.0f} minutes, once"
    assert lifetime("invitation of a site") == f"{INVITED_S / 60:.0f} minutes, once"
    assert lifetime("TLS of the link between sites") == f"{badge.LIFETIME_S / 3600:.0f} hours"
    assert lifetime("TLS of a gateway") == f"certified for {office.LIFETIME_S / DAY_S:.0f} days"
    days = TokenRequest(name="any", role=Role.VIEWER).days
    assert lifetime("API tokens") == f"{days} days, or as asked"
