"""The logins that this machine keeps for its user: a private file for each."""

import hashlib
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from crossport import errors
from crossport.identity import private_file
from crossport.model import codec
from crossport.model.login import Login

__all__ = ["Logins"]

NAME_SIZE = 16


class Logins:
    """Keeps logins in ``folder`` (0700). Files of other accounts, or open to them, are not read."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def any(self) -> bool:
        """Whether somebody signed in."""
        return next(self._folder.glob("*.json"), None) is not None

    def all(self) -> tuple[Login, ...]:
        """Return all logins."""
        found = (self._read(path) for path in sorted(self._folder.glob("*.json")))
        return tuple(each for each in found if each)

    def at(self, address: str) -> Login | None:
        """Return the login that is used at the site ``address``."""
        return next((each for each in self.all() if address in each.sites), None)

    def again(self, login: Login) -> Login:
        """Return ``login`` as it is kept now; raise Refused (``login.gone``) when it was ended."""
        kept = self._read(self._path(login))
        if kept is None:
            raise errors.Refused(
                "login.gone",
                f"The login at {login.issuer} was ended, or another one took its place.",
                remedy="Run the command again; sign in before if you have to: `crossport login`.",
            )
        return kept

    def keep(self, login: Login) -> None:
        """Write ``login``. Where another one was used at one of its sites, it is not any more.

        One that is used nowhere any more is forgotten.
        """
        for other in self.all():
            left = {site: token for site, token in other.sites.items() if site not in login.sites}
            if other.key == login.key or len(left) == len(other.sites):
                continue
            if left:
                self._write(replace(other, sites=left))
            else:
                self.remove(other)
        self._write(login)

    def remove(self, login: Login) -> None:
        """Forget ``login``. Not an error when it is gone."""
        private_file.remove(self._path(login))

    @contextmanager
    def held(self) -> Generator[None]:
        """Hold all logins: of several commands at once one renews them."""
        private_file.make_private(self._folder)
        with private_file.locked(self._folder):
            yield

    def _path(self, login: Login) -> Path:
        name = hashlib.sha256(login.key.encode()).hexdigest()[:NAME_SIZE]
        return self._folder / f"{name}.json"

    def _write(self, login: Login) -> None:
        private_file.write(self._path(login), codec.encoded(login).encode())

    def _read(self, path: Path) -> Login | None:
        content = private_file.read(path)
        if content is None:
            return None
        try:
            return codec.decoded(content, Login)
        except errors.Invalid as error:
            raise errors.Refused(
                "login.file.broken",
                f"{path} is no login of this release: {error.text}",
                field=error.field,
                remedy="Remove the file, and sign in again: `crossport login`.",
            ) from error
