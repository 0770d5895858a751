"""Authorization by policies in Cedar: what is shipped with the package, and what the operator adds."""

from crossport.authorize.authorizer import PolicyAuthorizer
from crossport.authorize.book import PolicyBook, opened

__all__ = ["PolicyAuthorizer", "PolicyBook", "opened"]
