"""The signer as a process: ``python -m crossport.app.signer SOCKET DIRECTORY``, started by the control plane.

SOCKET is the number of the descriptor on which it listens. Whose keys it holds is the first line of its
standard input. It ends with the control plane.
"""

import socket
import sys
from pathlib import Path

from crossport.app.clock import SystemClock
from crossport.identity import private_file
from crossport.identity.signing.desk import Authority, Desk
from crossport.identity.signing.service import serve
from crossport.identity.signing.vault import Vault
from crossport.model import codec


def main(number: str, place: str) -> None:
    """Answer questions until killed."""
    authority = codec.decoded(sys.stdin.readline(), Authority)
    directory = Path(place)
    # A former signer of the same directory may be dying still.
    with private_file.locked(directory), socket.socket(fileno=int(number)) as listener:
        listener.setblocking(True)
        serve(listener, Desk(Vault(directory), authority, SystemClock()))


if __name__ == "__main__":
    main(*sys.argv[1:])
