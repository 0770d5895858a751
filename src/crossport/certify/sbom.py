"""Read which packages a guest holds from its SBOM: CycloneDX JSON, of which only the components count."""

import json
from dataclasses import dataclass
from typing import Any, cast

from crossport.certify.refusal import refused

__all__ = ["Package", "packages_in"]

MAX_PACKAGES = 200_000


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
