"""The master key of a site, made with the site and never again while secrets hang on it."""

import os
from pathlib import Path

from crossport import errors
from crossport.identity import MasterKeys, SealedFiles, private_file

__all__ = ["KEY_FILE", "master_keys"]

KEY_FILE = "master.key"


async def master_keys(directory: Path, secrets: Path) -> MasterKeys:
    """Return the keys kept in ``directory``, made now if there are none and nothing is sealed in ``secrets``.

    Raise Refused ``identity.key.lost`` when they are missing: a new key would open nothing, and whoever finds
    the old one later could not tell which secrets it opens.
    """
    private_file.make_private(directory)
    path = directory / KEY_FILE
    if private_file.read(path) is None and (kept := await SealedFiles(secrets).references()):
        secret = "secret" if len(kept) == 1 else "secrets"
        raise errors.Refused(
            "identity.key.lost",
            f"{secrets} holds {len(kept)} sealed {secret}, and the key that opens them is missing: {path}.",
            remedy=f"Bring {path} back from a backup (mode 0600), and start again. If it is lost, so "
            f"are the logins of the clouds: move {secrets} away, start again, and add the clouds anew.",
        )
    return MasterKeys.open(path, entropy=os.urandom)
