"""Believe people whom others know: OpenID providers, what their tokens must be, and whom they make here."""

from crossport.identity.federation.admission import CERTIFICATE, Admission
from crossport.identity.federation.book import FederationBook
from crossport.identity.federation.exchange import asked_ceilings
from crossport.identity.federation.federation import Federation
from crossport.identity.federation.proof import Asked

__all__ = ["CERTIFICATE", "Admission", "Asked", "Federation", "FederationBook", "asked_ceilings"]
