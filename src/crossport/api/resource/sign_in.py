"""Where to sign in for this site: what a client has to know before it has a token."""

from fastapi import Request

from crossport.api import example
from crossport.api.caller import certificate_of
from crossport.api.route import Route
from crossport.identity.federation import FederationBook
from crossport.model.sign_in import Binding, SignIn, SignInProvider

__all__ = ["SignInRoutes"]

SHOWN = SignIn(
    providers=(
        SignInProvider(
            name="acme",
            issuer="https://login.acme.example",
            audience="https://crossport.example",
            client="crossport-cli",
        ),
    )
)


class SignInRoutes:
    """Serves ``/v1/sign-in``."""

    def __init__(self, book: FederationBook) -> None:
        self._book = book

    def routes(self) -> tuple[Route, ...]:
        """Return the table."""
        shown = example.shown(SHOWN)
        return (Route("GET", "/v1/sign-in", "site.sign-in", self.sign_in, shown, raises=(429,), public=True),)

    async def sign_in(self, request: Request) -> SignIn:
        """Say at which identity providers people sign in for this site, and as which client.

        Needs no token. What it tells stands in every address of a sign-in; the rules are not told.
        """
        return SignIn(
            providers=tuple(
                SignInProvider(
                    name=each.name,
                    issuer=each.issuer,
                    audience=each.audience,
                    client=each.client,
                    scope=each.scope,
                )
                for each in await self._book.providers()
            ),
            bindings=tuple(Binding) if certificate_of(request) is not None else (Binding.DPOP,),
        )
