"""What a site is told of an OpenStack cloud, checked before anything is asked of it.

A cloud is named in a clouds.yaml, whose content comes with the entry, or by its address and a credential.
Nothing here reads a file: a path would be one of the site's machine, and name what is not the tenant's.
Certificates are always verified, and what openstacksdk would do beyond that list is refused, not guessed.
"""

from collections.abc import Mapping
from dataclasses import field
from typing import Any, cast
from urllib.parse import urlsplit

import yaml

from crossport import errors
from crossport.model.record import record
from crossport.spi.secret import Secret

__all__ = ["Access", "checked"]

_LOGIN = {
    "auth-url": "auth_url",
    "username": "username",
    "user-domain": "user_domain_name",
    "password": "password",
    "project": "project_name",
    "project-domain": "project_domain_name",
    "application-credential-id": "application_credential_id",
    "application-credential-secret": "application_credential_secret",
}
"""Our settings, and what keystoneauth calls them."""
_PLACE = frozenset({"region", "interface", "ca", "unencrypted"})
_NAMED = frozenset({"cloud", "clouds-yaml"})
_FILE_KEYS = frozenset({"auth", "auth_type", "region_name", "interface", "verify", "identity_api_version"})
_FILE_LOGIN = frozenset(
    {
        *_LOGIN.values(),
        "user_id",
        "user_domain_id",
        "project_id",
        "project_domain_id",
        "application_credential_name",
    }
)
_WAYS = {
    "password": "password",
    "v3password": "password",
    "v3applicationcredential": "application credential",
}
INTERFACES = ("public", "internal", "admin")


@record()
class Access:
    """How a cloud is reached. ``login`` are keystoneauth's own words, its secrets as `Secret`.

    ``ca`` is a PEM text, empty for the certificates that the machine trusts. ``unencrypted`` admits http.
    """

    login: Mapping[str, str | Secret] = field(default_factory=dict[str, str | Secret])
    region: str = ""
    interface: str = "public"
    ca: str = ""
    unencrypted: bool = False

    @property
    def address(self) -> str:
        """Where the identity service is."""
        return str(self.login["auth_url"])

    @property
    def by_application(self) -> bool:
        """Whether the credential is an application's."""
        return "application_credential_secret" in self.login


def checked(settings: Mapping[str, str], secrets: Mapping[str, Secret]) -> Access:
    """Return the access that the settings describe; raise Invalid or Refused, with the setting at fault.

    ``secrets`` are the settings that are kept sealed, opened.
    """
    known = {*_LOGIN, *_PLACE, *_NAMED}
    for name in {*settings, *secrets}:
        if name not in known:
            raise _wrong(name, "is none of this driver's", f"Its settings are: {', '.join(sorted(known))}.")
    if _NAMED & {*settings, *secrets}:
        login, place = _from_file(settings, secrets)
    else:
        login = {
            word: secrets.get(name) or settings[name]
            for name, word in _LOGIN.items()
            if name in settings or name in secrets
        }
        place = {}
    access = Access(
        login=_login(login),
        region=settings.get("region", place.get("region_name", "")),
        interface=settings.get("interface", place.get("interface", "public")),
        ca=settings.get("ca", ""),
        unencrypted=_accepted(settings.get("unencrypted", "")),
    )
    _check_place(access)
    return access


def _from_file(
    settings: Mapping[str, str], secrets: Mapping[str, Secret]
) -> tuple[dict[str, str | Secret], dict[str, str]]:
    mixed = sorted(set(_LOGIN) & {*settings, *secrets})
    if mixed:
        raise _wrong(mixed[0], "is in the clouds.yaml already", "Give either the file or the login.")
    name = settings.get("cloud", "")
    if not name or "clouds-yaml" not in secrets:
        missing = "clouds-yaml" if name else "cloud"
        raise _wrong(
            missing,
            "is missing",
            "Give both: --set cloud=NAME --set-file clouds-yaml=clouds.yaml",
        )
    entry = _entry(secrets["clouds-yaml"].reveal(), name)
    for key in sorted(set(entry) - _FILE_KEYS):
        raise _wrong(
            "clouds-yaml", f"has {key} for {name}, which is not understood here", _instead_of(str(key))
        )
    if entry.get("verify", True) is not True:
        raise _unverified()
    way = str(entry.get("auth_type", "password"))
    if way not in _WAYS:
        raise _wrong("clouds-yaml", f"has auth_type {way} for {name}", f"Understood are: {', '.join(_WAYS)}.")
    login = _table(entry.get("auth"), "clouds-yaml")
    for key in sorted(set(login) - _FILE_LOGIN):
        raise _wrong("clouds-yaml", f"has auth.{key} for {name}, which is not understood here", "Remove it.")
    place = {key: str(entry[key]) for key in ("region_name", "interface") if key in entry}
    return {key: _sealed(key, str(value)) for key, value in login.items()}, place


def _sealed(key: str, value: str) -> str | Secret:
    return Secret(value) if key in {"password", "application_credential_secret"} else value


def _instead_of(key: str) -> str:
    return {
        "cacert": "A path there is not one of the site: give the certificates with --set-file ca=FILE.",
        "regions": "Name one with --set region=NAME, and remove it from the file.",
    }.get(key, "Remove it from the file.")


def _entry(text: str, name: str) -> dict[str, Any]:
    try:
        read: object = yaml.safe_load(text)
    except yaml.YAMLError:
        raise _wrong("clouds-yaml", "is no YAML", "Give a clouds.yaml as openstacksdk reads it.") from None
    clouds = _table(_table(read, "clouds-yaml").get("clouds"), "clouds-yaml")
    if name not in clouds:
        raise _wrong(
            "cloud",
            f"names {name}, which the file does not have",
            f"It has: {', '.join(map(str, clouds)) or 'none'}.",
        )
    return _table(clouds[name], "clouds-yaml")


def _table(found: object, setting: str) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise _wrong(setting, "is no clouds.yaml", "It has clouds, and each of them has auth.")
    return cast("dict[str, Any]", found)


def _login(login: dict[str, str | Secret]) -> dict[str, str | Secret]:
    names = {word: name for name, word in _LOGIN.items()}
    wanted = ["auth_url"]
    if "application_credential_secret" in login or "application_credential_id" in login:
        wanted += ["application_credential_secret"]
        if not {"application_credential_id", "application_credential_name"} & set(login):
            wanted += ["application_credential_id"]
        if "password" in login:
            raise _wrong("password", "is given beside an application credential", "Give one of them.")
    else:
        wanted += ["password"]
        wanted += [] if "user_id" in login else ["username"]
        wanted += [] if "project_id" in login else ["project_name"]
    for word in wanted:
        if not login.get(word):
            raise _wrong(names[word], "is missing", _how(names[word]))
    if "application_credential_secret" in login:
        return login
    defaults = {
        f"{kind}_domain_name": "Default"
        for kind in ("user", "project")
        if not {f"{kind}_domain_name", f"{kind}_domain_id"} & set(login)
    }
    return {**defaults, **login}


def _how(setting: str) -> str:
    if setting in {"password", "application-credential-secret"}:
        return f"Give it from a file: --set-file {setting}=FILE"
    return f"Give it with --set {setting}=…, or a clouds.yaml: --set cloud=NAME --set-file clouds-yaml=FILE"


def _check_place(access: Access) -> None:
    parts = urlsplit(access.address)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise _wrong("auth-url", "is no address of an identity service", "Give https://HOST:5000/v3.")
    if parts.username or parts.password:
        raise _wrong("auth-url", "has a login in it", "Give the login in settings of its own.")
    if parts.scheme == "http" and not access.unencrypted:
        raise errors.Refused(
            "cloud.tls.none",
            f"{parts.hostname} would be asked without encryption: who listens could take the credential.",
            field="settings.auth-url",
            remedy="Give its https address; in a closed network of your own accept it with "
            "--set unencrypted=accepted.",
        )
    if access.interface not in INTERFACES:
        raise _wrong("interface", f"is {access.interface}", f"It is one of: {', '.join(INTERFACES)}.")
    if access.ca and "-----BEGIN CERTIFICATE-----" not in access.ca:
        raise _wrong("ca", "is no certificate", "Give a PEM file with --set-file ca=FILE.")


def _accepted(word: str) -> bool:
    if word not in {"", "accepted"}:
        raise _wrong("unencrypted", f"is {word}", "Write accepted, or leave it out.")
    return bool(word)


def _unverified() -> errors.Refused:
    return errors.Refused(
        "cloud.tls.unverified",
        "The clouds.yaml switches the verification of certificates off.",
        field="settings.clouds-yaml",
        remedy="Remove verify from it, and give the certificate of its authority with --set-file ca=FILE.",
    )


def _wrong(setting: str, reason: str, remedy: str) -> errors.Invalid:
    return errors.Invalid(
        "cloud.setting.wrong", f"The setting {setting} {reason}.", field=f"settings.{setting}", remedy=remedy
    )
