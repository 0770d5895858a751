"""`crossport key`: keys to sign with: make one in a file, and see any, wherever it lies, without a site."""

import base64
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from crossport.cli.session import Here, Session
from crossport.cli.text import fields
from crossport.identity.key_signer import KeySigner
from crossport.identity.signers import open_signer
from crossport.model.keyring import Algorithm
from crossport.spi.signer import Signer

__all__ = ["app"]

app = App(name="key", help="Make and see keys to sign with.")


@app.command
def make(
    file: Path,
    /,
    *,
    algorithm: Annotated[Algorithm, Parameter(help="How it signs.")] = Algorithm.ECDSA_P256,
    session: Here,
) -> None:
    """Make a key to sign with, in a new file that only you can read.

    For example:

      crossport key make seal.key

    Parameters
    ----------
    file
        The new file.
    """
    signer = KeySigner.made(algorithm)
    signer.keep(file)
    _tell(signer, str(file), session)


@app.command
def show(key: str, /, *, session: Here) -> None:
    """Show the public half of a key, for whoever has to trust it. The private half stays where it is.

    It may lie in a file, in a hardware module, or in a key service.

    For example:

      crossport key show seal.key

      crossport key show 'pkcs11:token=site;object=seal?module-path=/usr/lib/libhsm.so&pin-source=pin'

      crossport key show awskms:arn:aws:kms:eu-central-1:123456789012:key/378697a7-8bc3-48b3-8078

    Parameters
    ----------
    key
        Where it lies.
    """
    _tell(open_signer(key), key, session)


def _tell(signer: Signer, place: str, session: Session) -> None:
    public_key = base64.b64encode(signer.public_key()).decode()
    session.out.result(
        {"key": signer.key_id, "algorithm": signer.algorithm, "place": place, "public_key": public_key},
        fields(
            "",
            ("key", signer.key_id),
            ("algorithm", signer.algorithm.value),
            ("place", place),
            ("public key", public_key),
        ),
    )
