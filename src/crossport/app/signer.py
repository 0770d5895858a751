"""The signer as a process: ``python -m crossport.app.signer SOCKET DIRECTORY``, started by the control plane.

SOCKET is the number of the descriptor on which it listens. Whose keys it holds, and where the seal key lies
if that is elsewhere, is the first line of its standard input. It ends with the control plane.
"""

import os
import socket
import sys
from pathlib import Path

from crossport.app.clock import SystemClock
from crossport.identity import private_file
from crossport.identity.signing.desk import Desk, Start
from crossport.identity.signing.placed import PlacedSigner
from crossport.identity.signing.service import serve
from crossport.identity.signing.vault import Vault
from crossport.model import codec


def main(number: str, place: str) -> None:
    """Answer questions until killed."""
    start = codec.decoded(sys.stdin.readline(), Start)
    vault = Vault(Path(place))
    placed = None
    if start.seal:
        os.environ.update(start.seal.environment)
        placed = PlacedSigner(start.seal.place, vault)
    # A former signer of the same directory may be dying still.
    with private_file.locked(Path(place)), socket.socket(fileno=int(number)) as listener:
        listener.setblocking(True)
        serve(listener, Desk(vault, start.authority, SystemClock(), placed))


if __name__ == "__main__":
    main(*sys.argv[1:])
