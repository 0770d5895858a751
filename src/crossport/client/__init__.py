"""Reach a site: over the socket of its state directory or over TLS, as the same errors and records.

``Client`` waits, ``AsyncClient`` awaits; both send the calls that ``calls`` makes::

    with Client(over_socket(state), token) as client:
        run = client.send(calls.migrate(request, key="move-web-1"))
        for event in client.follow(run.id):
            print(event)
"""

from crossport.client.call import Call, Page
from crossport.client.client import AsyncClient, Client
from crossport.client.endpoint import Endpoint, over_socket, over_tls

__all__ = ["Client", "AsyncClient", "Call", "Page", "Endpoint", "over_socket", "over_tls"]
