"""Sign in at an identity provider, keep that, and send what a site takes for it.

``SigningIn`` makes a login, ``Logins`` keeps it, and ``LoginCredential`` sends its tokens.
"""
