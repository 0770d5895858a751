"""What logins work with on this machine: its clock, its names, and where secrets of services lie."""

import stat
from pathlib import Path

from crossport import errors
from crossport.cli.surroundings import Surroundings
from crossport.client.login.credential import LoginMeans
from crossport.client.login.grant import Moment
from crossport.client.login.store import Logins
from crossport.model.login import Login
from crossport.spi.secret import Secret

__all__ = ["VARIABLE", "login_means", "secret_in"]

VARIABLE = "CROSSPORT_CLIENT_SECRET"


def login_means(machine: Surroundings, folder: Path) -> LoginMeans:
    """Return what logins in ``folder`` work with."""

    def secret(login: Login) -> Secret:
        if login.secret_file:
            return secret_in(Path(login.secret_file))
        if told := machine.environment.get(VARIABLE):
            return Secret(told)
        raise errors.Invalid(
            "login.secret.missing",
            f"The secret of the client {login.client} is in no file, and not in {VARIABLE}.",
            field="--secret-file",
            remedy=f"Name its file by --secret-file, or set {VARIABLE}; an argument is seen by others.",
        )

    moment = Moment(now=machine.wall, new_name=machine.new_key)
    return LoginMeans(logins=Logins(folder), moment=moment, sleep=machine.sleep, secret=secret)


def secret_in(path: Path) -> Secret:
    """Return the secret in a file that not every account can read; raise Invalid and Refused."""
    try:
        if stat.S_IMODE(path.stat().st_mode) & 0o007:
            raise errors.Refused(
                "login.secret.open",
                f"{path} holds a secret, and every account of this machine can read it.",
                field="--secret-file",
                remedy=f"Replace the secret at the provider, then: chmod 600 {path}",
            )
        return Secret(path.read_text().strip())
    except (OSError, UnicodeDecodeError) as error:
        raise errors.Invalid(
            "login.secret.unreadable",
            f"{path} cannot be read as a secret: {getattr(error, 'strerror', None) or 'it is no text'}.",
            field="--secret-file",
            remedy="Correct the path, or who may read it.",
        ) from error
