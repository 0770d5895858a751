"""The embedded cloud: small, honest, on one machine, with real virtual machines.

A cloud is a directory owned by a service process of its own; the driver knows only that service's API, as
if it were on another host. `create` and `destroy` make and remove clouds; `connect` is the driver.
"""

from pathlib import Path

from crossport import errors
from crossport.clouds.local.driver import LocalCloud
from crossport.clouds.local.making import create, destroy
from crossport.clouds.local.spec import CloudSpec
from crossport.model.request import CloudEntry
from crossport.spi.secret import Secret, Secrets

__all__ = ["connect", "create", "destroy", "CloudSpec", "LocalCloud"]

_SECRET = "secret:"  # noqa: S105 - the mark of a reference


async def connect(entry: CloudEntry, secrets: Secrets) -> LocalCloud:
    """Connect to the cloud in the directory ``settings.path``.

    ``settings.token`` is the token, as a reference to a secret; without it the file ``token`` in that
    directory is read. Nothing is started before the first call. Raise Invalid for missing settings, Refused
    ``cloud.token.unreadable``.
    """
    path = entry.settings.get("path", "")
    if not path or not Path(path).is_absolute():
        raise errors.Invalid(
            "cloud.setting.missing",
            "An embedded cloud needs the absolute path of its directory.",
            field="settings.path",
            remedy="Give it with --set path=DIRECTORY.",
        )
    root = Path(path)
    given = entry.settings.get("token", "")
    if given.startswith(_SECRET):
        token = await secrets.fetch(given.removeprefix(_SECRET))
    else:
        token = Secret(given) if given else _token_file(root)
    return LocalCloud(entry.name, root, token)


def _token_file(root: Path) -> Secret:
    try:
        return Secret((root / "token").read_text().strip())
    except OSError as error:
        raise errors.Refused(
            "cloud.token.unreadable",
            f"The token of the cloud in {root} cannot be read: {error.strerror}.",
            field="settings.path",
            remedy="Give the directory of an existing cloud that is yours, or settings.token.",
        ) from error
