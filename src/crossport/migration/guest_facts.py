"""What a site tells of a guest that it has read, and where another's word for it differs. Pure."""

from crossport.model.inspection import Guest, GuestFacts

__all__ = ["differing_facts", "facts_of", "plain"]

_AGENT = "qemu-guest-agent"
_TOLD = ("system", "release", "title", "architecture", "hostname", "agent")


def facts_of(guest: Guest) -> GuestFacts:
    """Return what is told of a guest that was read."""
    architectures = {one.architecture for one in guest.packages} - {"", "all", "noarch", "(none)"}
    return GuestFacts(
        system=plain(guest.system),
        release=plain(guest.release),
        title=plain(guest.title),
        architecture=plain(architectures.pop()) if len(architectures) == 1 else "",
        hostname=plain(guest.hostname),
        agent=any(one.name == _AGENT for one in guest.packages) if guest.listed else None,
    )


def differing_facts(told: GuestFacts, found: GuestFacts) -> tuple[str, ...]:
    """Return the names of the facts that are told otherwise than they were found.

    What is not told cannot be wrong.
    """
    return tuple(
        name
        for name in _TOLD
        if getattr(told, name) not in {"", None} and getattr(told, name) != getattr(found, name)
    )


def plain(text: str, most: int = 253) -> str:
    """Return what a guest calls itself as every terminal and XML can show it."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:most])
