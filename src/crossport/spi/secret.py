"""Values that must not be seen: a text whose repr hides it, and where such texts are kept."""

from typing import Protocol

__all__ = ["Secret", "Secrets"]


class Secret:
    """A text that does not appear in logs, errors or JSON. ``reveal()`` is the only way to it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text, for the one call that needs it."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(…)"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(("Secret", self._text))


class Secrets(Protocol):
    """Secrets by reference, encrypted at rest. Runs and logs hold references only."""

    async def put(self, reference: str, secret: Secret) -> None:
        """Keep ``secret``, replacing what ``reference`` named."""
        ...

    async def fetch(self, reference: str) -> Secret:
        """Return the secret; raise NotFound (``secret.unknown``)."""
        ...

    async def forget(self, reference: str) -> None:
        """Destroy the secret. Not an error when it is gone."""
        ...
