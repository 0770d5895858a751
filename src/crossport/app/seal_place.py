"""Where the settings say that the seal key lies, checked before the server begins."""

from collections.abc import Mapping
from pathlib import Path

from crossport import errors
from crossport.app.settings import Settings
from crossport.identity.signers import KMS, TOKEN
from crossport.identity.signing.placed import SealPlace

__all__ = ["seal_place"]

_LOGIN = "AWS_"


def seal_place(settings: Settings, environment: Mapping[str, str]) -> SealPlace | None:
    """Return the place, None for the signer's own file.

    The signer gets the variables that are named, and for a key service all that are its login's. Raise
    Invalid for what names no place, for a path that is not there and a variable that is not set.
    """
    if not settings.seal_key:
        return None
    if not settings.seal_key.startswith((TOKEN, KMS)):
        raise _invalid(
            "seal_key",
            f"{settings.seal_key!r} names no module and no service.",
            "Write pkcs11:token=LABEL;object=LABEL?module-path=LIBRARY&pin-source=FILE, or awskms:ARN.",
        )
    for name in settings.seal_key_paths:
        if not Path(name).is_absolute() or not Path(name).exists():
            raise _invalid("seal_key_paths", f"There is no {name}.", "Write whole paths of what is there.")
    login = [name for name in environment if name.startswith(_LOGIN) and settings.seal_key.startswith(KMS)]
    for name in settings.seal_key_variables:
        if name not in environment:
            raise _invalid("seal_key_variables", f"The environment has no {name}.", "Set it for the server.")
    handed = {name: environment[name] for name in (*login, *settings.seal_key_variables)}
    return SealPlace(place=settings.seal_key, paths=settings.seal_key_paths, environment=handed)


def _invalid(name: str, text: str, remedy: str) -> errors.Invalid:
    return errors.Invalid("settings.invalid", text, field=name, remedy=remedy)
