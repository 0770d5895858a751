"""The SBOM of a guest: CycloneDX JSON, of which only the components count for whoever reads it."""

import json
import string
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

from crossport.certify.refusal import refused
from crossport.model.inspection import Guest, GuestPackage

__all__ = ["Package", "differing", "packages_in", "sbom_of"]

MAX_PACKAGES = 200_000
_PLAIN = frozenset(string.ascii_letters + string.digits + "-._~:")


@dataclass(frozen=True, slots=True)
class Package:
    """A package as its SBOM names it; ``purl`` is empty where it has none."""

    name: str
    version: str
    purl: str


def packages_in(text: bytes, limit: int = MAX_PACKAGES) -> tuple[Package, ...]:
    """Return the packages, nested ones too; raise Refused for what is no CycloneDX or has more than
    ``limit``."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise refused("seal.sbom.invalid", why="it is no JSON") from error
    if not isinstance(document, dict) or cast("dict[str, Any]", document).get("bomFormat") != "CycloneDX":
        raise refused("seal.sbom.invalid", why="it is not CycloneDX")
    found: list[Package] = []
    waiting = [cast("dict[str, Any]", document)]
    while waiting:
        components: Any = waiting.pop().get("components", [])
        if not isinstance(components, list) or len(found) + len(cast("list[Any]", components)) > limit:
            raise refused("seal.sbom.invalid", why=f"its components are no list of at most {limit}")
        for component in cast("list[Any]", components):
            found.append(_package(component))
            waiting.append(component)
    return tuple(found)


def _package(component: Any) -> Package:
    facts = cast("dict[str, Any]", component) if isinstance(component, dict) else {}
    name, version, purl = (facts.get(key, "") for key in ("name", "version", "purl"))
    if not (isinstance(name, str) and name and isinstance(version, str) and isinstance(purl, str)):
        raise refused("seal.sbom.invalid", why="a component has no name, or its version is no text")
    return Package(name, version, purl)


def sbom_of(guest: Guest) -> bytes:
    """Return the guest's packages as CycloneDX 1.5 JSON; the same guest gives the same bytes.

    For that it has neither a serial number nor a time: the seal over it has both.
    """
    system = {
        "type": "operating-system",
        "bom-ref": "system",
        "name": guest.system or "unknown",
        "version": guest.release,
    }
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": system},
        "components": [_component(guest, one) for one in sorted(guest.packages, key=_order)],
    }
    return json.dumps(document, separators=(",", ":"), sort_keys=True).encode()


def differing(one: Iterable[Package], other: Iterable[Package]) -> int:
    """Return how many packages are in one list only, by name and version."""
    return len({(each.name, each.version) for each in one} ^ {(each.name, each.version) for each in other})


def _order(package: GuestPackage) -> tuple[str, str, str, str]:
    return package.kind, package.name, package.version, package.architecture


def _component(guest: Guest, package: GuestPackage) -> dict[str, str]:
    purl = _purl(guest, package)
    return {
        "type": "library",
        "bom-ref": purl,
        "name": package.name,
        "version": package.version,
        "purl": purl,
    }


def _purl(guest: Guest, package: GuestPackage) -> str:
    """Return the package's URL (purl-spec): type, distribution, name, version, and what tells it apart."""
    told = {
        "arch": package.architecture,
        "distro": f"{guest.system}-{guest.release}" if guest.release else "",
    }
    words = "&".join(f"{name}={_quoted(value)}" for name, value in told.items() if value)
    place = f"{package.kind}/{_quoted(guest.system or 'unknown')}/{_quoted(package.name)}"
    return f"pkg:{place}@{_quoted(package.version)}" + (f"?{words}" if words else "")


def _quoted(text: str) -> str:
    """Return ``text`` percent-encoded; what RFC 3986 calls unreserved stays, and so does a colon."""
    return "".join(chr(byte) if chr(byte) in _PLAIN else f"%{byte:02X}" for byte in text.encode())
