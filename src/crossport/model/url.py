"""URLs of objects on web servers, by their form: all that fits it can be asked for, and nothing else."""

from typing import Annotated

from pydantic import Field

__all__ = ["LONGEST_URL", "WEB_URL", "WebUrl"]

LONGEST_URL = 4096
_HEX = "[0-9A-Fa-f]{1,4}"
_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4 = rf"{_OCTET}(?:\.{_OCTET}){{3}}"


def _ipv6() -> str:
    """Return the forms of an IPv6 address, by how many groups stand before ``::`` (RFC 4291, section 2.2)."""
    whole = [f"(?:{_HEX}:){{7}}{_HEX}", f"(?:{_HEX}:){{6}}{_IPV4}"]
    shortened = [f"(?:{_HEX}:){{{before}}}(?::{_HEX}){{1,{7 - before}}}" for before in range(1, 7)] + [
        f"(?:{_HEX}:){{{before}}}(?::{_HEX}){{0,{5 - before}}}:{_IPV4}" for before in range(1, 6)
    ]
    bare = [f":(?::{_HEX}){{1,7}}", f":(?::{_HEX}){{0,5}}:{_IPV4}", f"(?:{_HEX}:){{1,7}}:", "::"]
    return "|".join((*whole, *shortened, *bare))


_NAME = "[0-9A-Za-z](?:[0-9A-Za-z.-]{0,251}[0-9A-Za-z])?"
_PORT = "(?:[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
WEB_URL = rf"^[Hh][Tt][Tt][Pp][Ss]?://(?:{_NAME}\.?|\[(?:{_ipv6()})\])(?::{_PORT})?(?:[/?#][!-~]*)?$"
"""Without a user's name and password, and in ASCII: who fetches sends it as it is."""

WebUrl = Annotated[str, Field(pattern=WEB_URL, max_length=LONGEST_URL)]
