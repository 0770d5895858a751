"""`crossport image encrypt`, `decrypt` and `encryption-key`: packages that only the importing site reads."""

import re
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from crossport import errors
from crossport.cli.image_attest import app
from crossport.cli.session import Here
from crossport.cli.text import fields
from crossport.identity import encrypted_file

__all__ = ["app", "decrypt", "encrypt", "encryption_key"]

_RECIPIENT = re.compile(rb"\bage1[02-9ac-hj-np-z]{58}\b")
_MAX_FILE = 1 << 16


@app.command(name="encryption-key")
def encryption_key(file: Path, /, *, session: Here) -> None:
    """Make a key to which others encrypt packages for this site, in a new file that only you can read.

    What is printed is not secret: give it to who exports to you.

    For example:

      crossport image encryption-key north.key

      crossport image encryption-key north.key --json > north.json

    Parameters
    ----------
    file
        The new file. Without it nothing can be read that is encrypted to it: keep a copy.
    """
    recipient = encrypted_file.make_key(file)
    told = {"key": str(file), "recipient": recipient}
    session.out.result(told, fields("", ("key", str(file)), ("recipient", recipient)))


@app.command
def encrypt(
    file: Path,
    target: Path,
    /,
    *,
    to: Annotated[
        str, Parameter(help="The importing site's recipient, age1…, or a file.", show_default=False)
    ],
    session: Here,
) -> None:
    """Encrypt a package to the importing site, in the format age. Seal it first: encryption proves no origin.

    For example:

      crossport image encrypt web.ova web.ova.age --to age1pr0kq82m0xd2pc7ksmj5j9k4u822zdhck2w0l…

      crossport image encrypt web.ova web.ova.age --to north.json

    Parameters
    ----------
    file
        The package, or any other file.
    target
        The new file.
    """
    with session.out.waiting():
        encrypted_file.encrypt(file, target, _recipient(to))
    session.out.result({"path": str(target)}, fields("", ("made", str(target))))


@app.command
def decrypt(
    file: Path,
    target: Path,
    /,
    *,
    key: Annotated[Path, Parameter(help="The file with this site's key.")],
    session: Here,
) -> None:
    """Decrypt what was encrypted to this site. The new file appears once all of it is proven to be whole.

    Exit status 7 when the file was changed or cut, or is encrypted to somebody else.

    For example:

      crossport image decrypt web.ova.age web.ova --key north.key

    Parameters
    ----------
    file
        The encrypted file.
    target
        The new file.
    """
    with session.out.waiting():
        encrypted_file.decrypt(file, target, key)
    session.out.result({"path": str(target)}, fields("", ("made", str(target))))


def _recipient(to: str) -> str:
    """Return a recipient as it was typed, or the only one in the file that was named."""
    path = Path(to)
    if to.startswith("age1") or not path.is_file():
        return to
    with path.open("rb") as file:
        found = set(_RECIPIENT.findall(file.read(_MAX_FILE)))
    if len(found) != 1:
        raise errors.Invalid(
            "encryption.recipient.file",
            f"{path} holds {len(found)} recipients.",
            field="--to",
            remedy="Name a file with the one that the importing site gave you, or type it.",
        )
    return found.pop().decode()
