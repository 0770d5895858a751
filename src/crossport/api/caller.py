"""Whom a request stands for: a token of the site, one of an identity provider, or one that was exchanged."""

import hashlib

from fastapi import Request

from crossport import errors
from crossport.api.problem import Unauthenticated
from crossport.api.right import Caller, rights_of
from crossport.api.token import Tokens
from crossport.identity import token as secret_text
from crossport.identity.federation import CERTIFICATE, Asked, Federation
from crossport.model.federation import Ceilings, Subject, TrustRule

__all__ = ["Callers", "address_of", "certificate_of", "subject_name"]

NAME_SIZE = 16


class Callers:
    """Knows who sends the three kinds of token."""

    def __init__(self, tokens: Tokens, federation: Federation) -> None:
        self._tokens = tokens
        self._federation = federation

    async def caller(self, request: Request) -> Caller:
        """Return who asks; raise Unauthenticated, and Unavailable when a provider's keys cannot be read."""
        header = request.headers.get("authorization", "")
        scheme, _, text = header.partition(" ")
        text = text.strip()
        try:
            if scheme.lower() == "dpop":
                return await self._with_proof(request, text)
            if scheme.lower() == "bearer" and text.count(".") == 2:
                return await self._federated(request, text)
            return await self._tokens.caller(header) or await self._shown(request, text)
        except errors.Refused as error:
            raise Unauthenticated(error.code, error.text, field=error.field, remedy=error.remedy) from error

    async def _federated(self, request: Request, text: str) -> Caller:
        admission = await self._federation.admitted(text)
        if admission.key and admission.key != certificate_of(request):
            raise _bound()
        rule = admission.rule
        return _caller(admission.subject, rule, rule.ceilings, admission.until)

    async def _with_proof(self, request: Request, text: str) -> Caller:
        """Return the sender of an exchanged token, who has its key."""
        token = await self._federation.exchanged.found(text)
        if token is None:
            raise _lost()
        asked = Asked(method=request.method, url=address_of(request), token=text)
        key = await self._federation.proofs.key_of(request.headers.get("dpop", ""), asked)
        if key != token.key:
            raise errors.Refused(
                "identity.proof.key",
                "The DPoP proof is by another key than the token is bound to.",
                field="DPoP",
                remedy="Prove the key that the token was asked for with.",
            )
        return _caller(token.subject, token.rule, token.ceilings, token.expires)

    async def _shown(self, request: Request, text: str) -> Caller:
        """Return the sender of an exchanged token that is bound to the connection's certificate."""
        if not text.startswith(secret_text.PREFIX):
            raise _lost()
        token = await self._federation.exchanged.found(text)
        if token is None:
            raise _lost()
        if token.key != certificate_of(request):
            raise _bound()
        return _caller(token.subject, token.rule, token.ceilings, token.expires)


def address_of(request: Request) -> str:
    """Return what a request was sent to, without its query, and with every escape as it came."""
    told: bytes = request.scope.get("raw_path") or request.scope["path"].encode()
    return str(request.url.replace(path=told.decode("ascii", "replace"), query="", fragment=""))


def certificate_of(request: Request) -> str | None:
    """Return what a token says that is bound to the connection's certificate; empty where none was shown.

    None where certificates are not asked for.
    """
    told: str | None = request.scope["state"].get("certificate")
    return CERTIFICATE + told if told else told


def subject_name(subject: Subject) -> str:
    """Return a short name of somebody whom a provider knows, the same each time."""
    return hashlib.sha256(f"{subject.issuer}\n{subject.sub}".encode()).hexdigest()[:NAME_SIZE]


def _caller(subject: Subject, rule: TrustRule, ceilings: Ceilings, until: float) -> Caller:
    return Caller(
        token=f"{rule.provider}:{subject_name(subject)}",
        tenant=rule.tenant,
        rights=rights_of(rule.role),
        subject=subject,
        rule=rule.name,
        trust=rule,
        role=rule.role,
        ceilings=ceilings,
        until=until,
    )


def _bound() -> errors.Refused:
    return errors.Refused(
        "identity.token.bound",
        "The token is bound to a key, and was sent without a proof that the sender has it.",
        field="Authorization",
        remedy="Send an exchanged token as `DPoP TOKEN` with a proof; exchange one of a provider first.",
    )


def _lost() -> errors.Refused:
    return errors.Refused(
        "request.token.unknown",
        "The token is missing, wrong, expired or revoked.",
        field="Authorization",
        remedy="Send `Authorization: Bearer TOKEN`; the first token is in the control directory.",
    )
