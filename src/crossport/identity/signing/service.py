"""The signer's socket: one connection after the other, each with one question and one answer."""

import contextlib
import socket

from crossport import errors
from crossport.identity.signing.desk import Desk
from crossport.identity.signing.question import HEAD, Answer, framed, size_in
from crossport.model.failure import Failure

__all__ = ["serve"]

PATIENCE_S = 10.0
"""Who says nothing for so long is hung up on, or nobody else would be answered."""


def serve(listener: socket.socket, desk: Desk) -> None:
    """Answer whoever connects, for ever. An asker that went away ends nothing."""
    while True:
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError, EOFError):
            connection.settimeout(PATIENCE_S)
            connection.sendall(framed(_answer(connection, desk)))


def _answer(connection: socket.socket, desk: Desk) -> Answer:
    try:
        size = size_in(_exactly(connection, HEAD))
    except errors.Invalid as error:
        return Answer(failure=Failure.of(error))
    return desk.answer(_exactly(connection, size))


def _exactly(connection: socket.socket, size: int) -> bytes:
    content = bytearray()
    while len(content) < size:
        piece = connection.recv(min(size - len(content), 1 << 16))
        if not piece:
            raise EOFError
        content += piece
    return bytes(content)
