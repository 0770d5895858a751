"""What a client sends to say who it is: a token, or a token with a proof that is new for each request."""

from collections.abc import Generator, Mapping
from http import HTTPStatus
from typing import Protocol

import httpx

from crossport.spi.secret import Secret

__all__ = ["Bearer", "Credential", "Sent"]


class Credential(Protocol):
    """Makes the headers of a request. It may ask others for what it needs, and raise what they say."""

    def headers(self, method: str, url: str) -> Mapping[str, str]:
        """Return the headers for a request to ``url``, which has no query."""
        ...

    def renewed(self) -> bool:
        """Forget what the site did not take; say whether the next request brings something else."""
        ...


class Bearer:
    """A token that whoever has it may send."""

    def __init__(self, token: Secret) -> None:
        self._token = token

    def headers(self, method: str, url: str) -> Mapping[str, str]:
        """Return the same header for every request."""
        del method, url
        return {"Authorization": f"Bearer {self._token.reveal()}"}

    def renewed(self) -> bool:
        """There is only this one."""
        return False


class Sent(httpx.Auth):
    """A credential as the HTTP library takes it: asked for each request, once more where it is refused."""

    def __init__(self, credential: Credential) -> None:
        self._credential = credential

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response]:
        """Send the request with its headers; a refused one did nothing, and is sent again where it can be."""
        url = str(request.url.copy_with(query=None, fragment=None))
        request.headers.update(self._credential.headers(request.method, url))
        answer = yield request
        whole = isinstance(request.stream, httpx.ByteStream)
        if answer.status_code == HTTPStatus.UNAUTHORIZED and whole and self._credential.renewed():
            request.headers.update(self._credential.headers(request.method, url))
            yield request
