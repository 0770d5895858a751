"""Sign in by a browser of this machine: a code with PKCE (RFC 7636), back to loopback (RFC 8252)."""

import base64
import hashlib
import hmac
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from crossport import errors
from crossport.client.login.grant import Asker, Granted, refused

__all__ = ["Landing", "by_browser"]

LOOK_S = 0.5
PATIENCE_S = 300.0
PATH = "/callback"
PAGE = b"<!doctype html><title>Crossport</title><p>You can close this page and go back to the terminal.</p>\n"
MANY = 16 * 1024


class Landing:
    """Where the provider sends the browser back to: a port of this machine, for one sign-in.

    Use as a context manager. ``address`` goes into the request.
    """

    def __init__(self) -> None:
        self.answer: dict[str, str] = {}
        landing = self

        class Visit(BaseHTTPRequestHandler):
            """A request that came to the port; anybody on this machine can send one."""

            timeout = 5.0

            def do_GET(self) -> None:
                """Take the answer to the sign-in; everything else is not found."""
                told = _answer(self.path)
                self.send_response(HTTPStatus.OK if told else HTTPStatus.NOT_FOUND)
                self.send_header("Content-Type", "text/html")
                self.send_header("Cache-Control", "no-store")
                self.end_headers()
                self.wfile.write(PAGE if told else b"")
                if landing.is_meant(told):
                    landing.answer = told

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's own word
                """Say nothing: the address has a code in it."""

        self._server = HTTPServer(("127.0.0.1", 0), Visit)
        self._server.timeout = LOOK_S
        self.state = ""

    def __enter__(self) -> "Landing":
        return self

    def __exit__(self, *_: object) -> None:
        self._server.server_close()

    @property
    def address(self) -> str:
        """The redirect URI."""
        return f"http://127.0.0.1:{self._server.server_port}{PATH}"

    def is_meant(self, told: Mapping[str, str]) -> bool:
        """Say whether an answer is one to this sign-in: only who saw the request knows its state."""
        return bool(self.state) and hmac.compare_digest(told.get("state", "").encode(), self.state.encode())

    def wait(self, now: Callable[[], float], tell: Callable[[float], object]) -> Mapping[str, str]:
        """Return the answer; raise Unavailable (``login.browser.silent``) when none comes in time."""
        deadline = now() + PATIENCE_S
        while not self.answer and (left_s := deadline - now()) > 0:
            tell(left_s)
            self._server.handle_request()
        if not self.answer:
            raise errors.Unavailable(
                "login.browser.silent",
                "The browser did not come back in time.",
                field="--browser",
                remedy="Try again; where no browser of this machine can be used, add --device.",
            )
        return self.answer


def by_browser(
    asker: Asker, form: Mapping[str, str], shown: Callable[[str], object], tell: Callable[[float], object]
) -> Granted:
    """Return the tokens of whoever signs in. ``shown`` gets the address that a browser has to open."""
    name, metadata = asker.moment.new_name, asker.metadata
    verifier = name() + name()
    with Landing() as landing:
        landing.state = name()
        asked = {
            **form,
            "response_type": "code",
            "client_id": asker.client,
            "redirect_uri": landing.address,
            "state": landing.state,
            "code_challenge": _packed(hashlib.sha256(verifier.encode()).digest()),
            "code_challenge_method": "S256",
        }
        if metadata.bound:
            asked["dpop_jkt"] = asker.key.thumbprint  # RFC 9449, section 10: the code is bound, too
        joint = "&" if urlsplit(metadata.authorization).query else "?"
        shown(f"{metadata.authorization}{joint}{urlencode(asked)}")
        answer = landing.wait(asker.moment.now, tell)
        _check_sender(answer, asker)
        if answer.get("error") or not answer.get("code"):
            raise refused(answer)
        spent = {"grant_type": "authorization_code", "code": answer["code"], "code_verifier": verifier}
        return asker.granted({**spent, "redirect_uri": landing.address, "resource": form["resource"]})


def _check_sender(answer: Mapping[str, str], asker: Asker) -> None:
    """Raise Refused when another provider than the one that was asked sent the browser back (RFC 9207)."""
    metadata = asker.metadata
    told = answer.get("iss", "" if metadata.names_itself else metadata.issuer)
    if told != metadata.issuer:
        raise errors.Refused(
            "login.answer.mixed-up",
            f"The answer is by {told[:200]!r}, and {metadata.issuer} was asked. Nothing was sent to either.",
            field="--provider",
            remedy="Try again in a browser without other sign-ins; if it happens again, tell your operator.",
        )


def _answer(target: str) -> dict[str, str]:
    """Return what a browser brings back, nothing for another address or one that says a thing twice."""
    parts = urlsplit(target[:MANY])
    if parts.path != PATH:
        return {}
    found = parse_qs(parts.query)
    return {name: each[0] for name, each in found.items()} if all(len(e) == 1 for e in found.values()) else {}


def _packed(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
