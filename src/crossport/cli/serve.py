"""`crossport serve`: the control plane itself."""

from typing import Annotated

from cyclopts import Parameter

from crossport.cli.parameter import Many
from crossport.cli.session import Here
from crossport.cli.surroundings import ServeOptions

__all__ = ["serve"]


def serve(
    *,
    listen: Annotated[
        str,
        Parameter(help="Also listen on HOST:PORT, always with TLS by the site's own CA.", show_default=False),
    ] = "",
    host: Annotated[
        Many, Parameter(help="A name or address by which clients reach it, for its certificate; repeatable.")
    ] = (),
    database_url_file: Annotated[
        str,
        Parameter(
            help="The file with the address of a PostgreSQL: a password is no argument.", show_default=False
        ),
    ] = "",
    embedded: Annotated[
        bool, Parameter(negative=(), help="End when idle. Commands start a server this way by themselves.")
    ] = False,
    idle: Annotated[float | None, Parameter(help="Seconds after which an embedded server ends.")] = None,
    session: Here,
) -> None:
    """Run the site's control plane in the foreground, until it is told to stop.

    Runs survive it: they continue when it, or another node on the same database, serves again. The first
    token is in the file control/token of the state directory, the CA in control/ca.pem.

    For example:

      crossport serve

      crossport serve --listen 192.0.2.7:8443

      crossport serve --listen 0.0.0.0:8443 --host crossport.example

      crossport serve --listen 192.0.2.7:8443 --database-url-file /etc/crossport/database
    """
    home = session.place.home

    def told() -> None:
        if not embedded:
            token = home / "control" / "token"
            session.out.warn(f"Serving {home}; the first token is in {token}. Ctrl-C stops.")

    session.machine.serve(
        ServeOptions(
            home=home,
            embedded=embedded,
            listen=listen,
            hosts=host,
            database_url_file=database_url_file,
            idle_s=idle,
            told=told,
        )
    )
