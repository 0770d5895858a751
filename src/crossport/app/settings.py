"""What a person can set: by the environment, by one TOML file, in that order. Read here and nowhere else.

The file is ``CROSSPORT_SETTINGS``, else ``/etc/crossport/settings.toml`` for root and
``crossport/settings.toml`` below the XDG configuration directory for others. Unknown names are refused, so
that a typing error does not look like a setting.
"""

import ipaddress
import re
import tomllib
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from crossport import errors
from crossport.model import codec
from crossport.model.inspection import LookMode
from crossport.model.record import record
from crossport.transfer.egress import Egress

__all__ = [
    "Count",
    "HookSetting",
    "Limit",
    "Settings",
    "checked_hosts",
    "host_and_port",
    "load",
    "secret_text",
]

Above = Annotated[float, Field(gt=0)]
Whole = Annotated[int, Field(gt=0)]
Limit = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=0)]

PREFIX = "CROSSPORT_"
HOST = re.compile(r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")
SECRET_FILE_SUFFIX = "_file"  # noqa: S105 - the end of a setting's name


@record()
class HookSetting:
    """What a hook's name stands for: a ``command`` (program and arguments), or a ``url`` to post to.

    What is posted is signed with the secret in ``secret_file``.
    """

    command: tuple[str, ...] = ()
    url: str = ""
    secret_file: str = ""
    timeout_s: Above = 60.0


@record()
class Settings:
    """``home`` holds everything that is kept. ``server`` is another site's address; empty is this machine.

    ``database_url`` is empty for SQLite; it may come from the file that ``database_url_file`` names.
    ``site_name`` and ``hosts`` go into certificates. ``idle_s`` is when an embedded server ends.
    ``gateway_listen`` (``HOST:PORT``) is where gateways of other machines dial; one nearby needs none.
    ``client_ca`` is a file with authorities: who sends something to ``listen`` may show a certificate of
    theirs, and have tokens bound to it.
    ``partner_listen`` (``HOST:PORT``) is where other sites that are partners reach this one.
    Ended runs are kept for ``keep_days``, at most ``keep_runs`` of them (0: no limit), and longer as long as
    something of them is left in a cloud or retained. ``hooks`` are what migrations may name. ``body_size``
    bounds what the API takes at once, ``upload_size`` images. ``stock_size`` bounds how many bytes of content
    that passed through are kept for each tenant, so that they are not sent again; 0 keeps nothing.
    ``published_images`` is how many images of its cloud a target that has such a stock looks into for each
    disk, because what a VM still has of its image need not be sent either.
    ``egress`` lists what the site may fetch from the web:
    ``images.example.org``, ``*.example.org``, ``https://host:8443``, ``http://host``, and networks that are
    not public (``10.1.0.0/16``); nothing without it. ``egress_ca`` is a file with certificates that are
    trusted for that beside the machine's. The audit log has whatever changes something; with ``audit_reads``
    what was only looked at, too. ``policies`` is a folder with files ``*.cedar``: policies that hold beside
    the shipped ones; one that is wrong lets the site not start.
    A run that somebody began whom an identity provider knows may go on for ``grant_hours``, unless the trust
    rule says otherwise, and one of a partner for ``partner_grant_hours``. Every ``grant_look_s`` it is looked
    which runs have lost their right. ``clamd`` (the path of a socket, or ``HOST:PORT``) is the clamd that
    scans guests that come in, where the import policy asks for it. A guest with a file larger than
    ``clamd_file_size`` stays out then: a clamd passes in silence over what is larger than its own limits.
    ``master_key`` is where the key comes from that opens the site's secrets: ``env:NAME`` for a variable that
    holds 32 bytes in base64 (the newest behind a comma), ``awskms:ARN`` for a key of AWS's key service that
    encrypts the site's own file; empty for that file alone.
    ``seal_key`` is where the key lies that seals certified images: ``pkcs11:…`` for a hardware module,
    ``awskms:ARN`` for a key service; empty for the signer's own file. The signer sees ``seal_key_paths``,
    which belong to its user, and gets the variables ``seal_key_variables``, as the module's library needs.
    ``look`` says whether the site looks into guests that leave it, so that its seal tells what is in them:
    ``auto`` where it can and no outage gets longer that is to be short, ``never``, or ``required``: it seals
    nothing that it could not read.
    """

    home: Path
    site_name: str = "local"
    server: str = ""
    ca: str = ""
    token_file: str = ""
    listen: str = ""
    client_ca: str = ""
    gateway_listen: str = ""
    partner_listen: str = ""
    hosts: tuple[str, ...] = ()
    database_url: str = field(default="", repr=False)
    node: str = ""
    idle_s: Above = 300.0
    log_level: str = "info"
    body_size: Whole = 4 * 1024 * 1024
    upload_size: Whole = 256 * 1024 * 1024 * 1024
    stock_size: Count = 2 * 1024 * 1024 * 1024
    published_images: Count = 4
    hooks: Mapping[str, HookSetting] = field(default_factory=dict[str, HookSetting])
    keep_days: Limit = 90.0
    keep_runs: Count = 10_000
    rate: Above = 50.0
    burst: Whole = 200
    egress: tuple[str, ...] = ()
    egress_ca: str = ""
    audit_reads: bool = False
    grant_hours: Above = 24.0
    partner_grant_hours: Above = 192.0
    grant_look_s: Annotated[float, Field(ge=1, le=30)] = 15.0
    policies: str = ""
    master_key: str = ""
    seal_key: str = ""
    seal_key_paths: tuple[str, ...] = ()
    seal_key_variables: tuple[str, ...] = ()
    clamd: str = ""
    clamd_file_size: Whole = 25 * 1024 * 1024
    look: LookMode = LookMode.AUTO


def load(environment: Mapping[str, str], *, root: bool) -> Settings:
    """Return the settings; raise Invalid naming the setting and where it stands."""
    path = _file(environment, root=root)
    values: dict[str, Any] = _from_file(path, required=PREFIX + "SETTINGS" in environment)
    known = set(Settings.__dataclass_fields__) | {"database_url_file"}
    for name in values.keys() - known:
        raise _invalid(name, f"{path} has an unknown setting.", f"Known are: {', '.join(sorted(known))}.")
    for name in known & {key.removeprefix(PREFIX).lower() for key in environment if key.startswith(PREFIX)}:
        values[name] = environment[PREFIX + name.upper()]
    values.setdefault("home", _home(environment, root=root))
    if secret_file := values.pop("database_url_file", ""):
        values["database_url"] = secret_text(str(secret_file), "database_url_file")
    return _typed(values)


def _file(environment: Mapping[str, str], *, root: bool) -> Path:
    if named := environment.get(PREFIX + "SETTINGS"):
        return Path(named)
    if root:
        return Path("/etc/crossport/settings.toml")
    config = environment.get("XDG_CONFIG_HOME") or f"{environment.get('HOME', '/')}/.config"
    return Path(config, "crossport", "settings.toml")


def _home(environment: Mapping[str, str], *, root: bool) -> str:
    if root:
        return "/var/lib/crossport"
    state = environment.get("XDG_STATE_HOME") or f"{environment.get('HOME', '/')}/.local/state"
    return f"{state}/crossport"


def _from_file(path: Path, *, required: bool) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except FileNotFoundError:
        if required:
            raise _invalid("settings", f"There is no file {path}.", "Correct CROSSPORT_SETTINGS.") from None
        return {}
    except (OSError, ValueError) as error:
        raise _invalid("settings", f"{path} cannot be read: {error}.", "Correct the file.") from error


def secret_text(path: str, name: str) -> str:
    """Return what the file holds that the setting ``name`` names; raise Invalid when it cannot be read."""
    try:
        return Path(path).read_text().strip()
    except OSError as error:
        raise _invalid(name, f"{path} cannot be read: {error.strerror}.", "Correct the path.") from error


def _typed(values: dict[str, Any]) -> Settings:
    """Return the settings; texts of the environment become numbers and lists where such are wanted."""
    for name in ("hosts", "egress", "seal_key_paths", "seal_key_variables"):
        if isinstance(values.get(name), str):
            values[name] = [entry.strip() for entry in values[name].split(",")]
    values["home"] = str(Path(str(values["home"])).expanduser())
    try:
        settings = codec.from_plain(values, Settings)
    except errors.Invalid as error:
        raise _invalid(error.field, error.text, "Correct this setting.") from error
    for name, hook in settings.hooks.items():
        _check_hook(name, hook)
    checked_hosts(settings.hosts)
    _check_egress(settings.egress)
    _check_clamd(settings.clamd)
    if not settings.home.is_absolute():
        raise _invalid("home", f"{settings.home} is not an absolute path.", "Begin it with a slash.")
    return settings


def host_and_port(address: str) -> tuple[str, int]:
    """Return both parts of ``HOST:PORT``; the host is empty where the address is of another form."""
    host, _, port = address.rpartition(":")
    if not port.isdecimal() or int(port) > 65535:
        return "", 0
    return host, int(port)


def checked_hosts(hosts: tuple[str, ...]) -> tuple[str, ...]:
    """Return ``hosts``; raise Invalid for one that is neither a DNS name nor an address."""
    for host in hosts:
        try:
            ipaddress.ip_address(host)
        except ValueError:
            if not HOST.fullmatch(host):
                raise _invalid(
                    "hosts",
                    f"{host!r} is no DNS name and no IP address.",
                    "Write for instance crossport.example or 192.0.2.7, in small letters.",
                ) from None
    return hosts


def _check_egress(entries: tuple[str, ...]) -> None:
    try:
        Egress(entries)
    except errors.Invalid as error:
        raise _invalid("egress", error.text, error.remedy) from error


def _check_clamd(address: str) -> None:
    if address and not Path(address).is_absolute() and not all(host_and_port(address)):
        raise _invalid(
            "clamd",
            f"{address!r} is neither the path of a socket nor HOST:PORT.",
            "Write for instance /run/clamav/clamd.ctl, or 192.0.2.9:3310.",
        )


def _check_hook(name: str, hook: HookSetting) -> None:
    if bool(hook.command) == bool(hook.url):
        raise _invalid(
            f"hooks.{name}", "A hook has a command or a url.", 'For instance: command = ["/usr/bin/drain"].'
        )
    if hook.url and not hook.secret_file:
        raise _invalid(
            f"hooks.{name}.secret_file", "What is posted has to be signed.", "Name a file with a secret."
        )


def _invalid(name: str, text: str, remedy: str) -> errors.Invalid:
    return errors.Invalid("settings.invalid", text, field=name, remedy=remedy)
