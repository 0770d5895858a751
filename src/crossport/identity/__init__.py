"""Who a site is: its certificate authority, its secrets at rest, and the tokens it hands out."""

from crossport.identity.authority import Leaf, SiteIdentity
from crossport.identity.master_key import MasterKeys
from crossport.identity.sealed import SealedFiles, SealedSecrets, SealedStore

__all__ = ["SiteIdentity", "Leaf", "SealedSecrets", "SealedStore", "SealedFiles", "MasterKeys"]
