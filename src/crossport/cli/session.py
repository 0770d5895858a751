"""One command's connection to the site: found, or started, at the first call."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

from cyclopts import Parameter

from crossport import errors
from crossport.cli.option import Options
from crossport.cli.output import Output
from crossport.cli.surroundings import Place, Surroundings
from crossport.cli.text import harmless
from crossport.client.call import Call, Page
from crossport.client.client import Client
from crossport.client.embedded import read_token
from crossport.client.endpoint import Endpoint, over_tls
from crossport.client.state_dir import StateDir

if TYPE_CHECKING:
    from crossport.client.credential import Credential
    from crossport.client.login.credential import LoginMeans
    from crossport.model.login import Login
    from crossport.spi.secret import Secret

__all__ = ["Here", "Session"]

T = TypeVar("T")

SHORT_S = 60.0
"""A call that may take longer is one of which a person wants to see that it goes on."""
INTERRUPTED = "The site may do it all the same: look before you ask again."


class Session:
    """What a command works with: the machine, where to write, and the site."""

    def __init__(self, surroundings: Surroundings, options: Options) -> None:
        self.machine = surroundings
        self.out = Output(
            surroundings.stdout, surroundings.stderr, surroundings.environment, as_json=options.as_json
        )
        self._options = options
        self._place: Place | None = None
        self._client: Client | None = None
        self._endpoint: Endpoint | None = None

    @property
    def place(self) -> Place:
        """Where the site is: as the settings say, unless an option says otherwise."""
        if self._place is None:
            said, place = self._options.values, self.machine.place()
            self._place = Place(
                home=Path(said["--home"]).absolute() if "--home" in said else place.home,
                server=said.get("--server", "" if "--home" in said else place.server),
                ca=said.get("--ca", place.ca),
                token_file=said.get("--token-file", place.token_file),
            )
        return self._place

    @property
    def client(self) -> Client:
        """The client of the site, connected at first use."""
        if self._client is None:
            self._client = Client(self.endpoint, self._credential(), self.machine.sleep)
        return self._client

    @property
    def endpoint(self) -> Endpoint:
        """Where the site answers; one of this machine is started at need."""
        if self._endpoint is None:
            place, state = self.place, StateDir(self.place.home)
            self._endpoint = (
                over_tls(place.server, Path(place.ca) if place.ca else None)
                if place.server
                else self.machine.starter(place.home).connect(state)
            )
        return self._endpoint

    @property
    def login_means(self) -> "LoginMeans":
        """What logins work with, and where they are kept."""
        from crossport.cli.login_means import login_means  # noqa: PLC0415 - most have a token, and no login

        return login_means(self.machine, StateDir(self.place.home).logins)

    def used_login(self) -> "Login | None":
        """Return the login that commands use at this site, None when they use a token."""
        if "--token-file" in self._options.values or not StateDir(self.place.home).logins.is_dir():
            return None
        found = self.login_means.logins.at(self.endpoint.name)
        if found or not self.place.server or self.place.token_file:
            return found
        from crossport.client.login.credential import fitting  # noqa: PLC0415 - as below

        return fitting(self.endpoint, self.login_means)

    def _credential(self) -> "Secret | Credential":
        login = self.used_login()
        if login is None:
            self._check_token_is_for_there()
            return read_token(self._token_file)
        from crossport.client.login.credential import LoginCredential  # noqa: PLC0415 - as above

        return LoginCredential(login, self.endpoint, self.login_means)

    def _check_token_is_for_there(self) -> None:
        """Raise Invalid when only the token of this machine's own site is there for another server."""
        if self.place.server and not self.place.token_file:
            raise errors.Invalid(
                "client.token.unnamed",
                f"No token for {self.place.server} is named, and no login is for it.",
                field="--token-file",
                remedy="Name the file of a token of that site, or sign in: `crossport login --server URL`.",
            )

    def send(self, call: Call[T], *, interrupted: str = INTERRUPTED) -> T:
        """Return the answer to ``call``.

        An embedded server may leave between two calls because it was idle. Then a call that can be repeated
        is made once more, to the next server. What changes something says ``interrupted`` when it was: the
        site does not know that nobody waits any more.
        """
        try:
            with self.out.waiting() if call.patience_s > SHORT_S else nullcontext():
                return self._answer(call)
        except KeyboardInterrupt:
            if call.method != "GET":
                self.out.warn(f"\n{interrupted}")
            raise

    def _answer(self, call: Call[T]) -> T:
        try:
            return self.client.send(call)
        except errors.Refused as error:
            raise self._told(error) from error
        except errors.Unavailable as error:
            gone = error.code == "client.server.unreachable" and not self.place.server
            if not gone or not (call.method == "GET" or call.key):
                raise
            self.close()
            return self.client.send(call)

    def begin(self, call: Call[T]) -> T:
        """Return the answer to a call that begins a run. Interrupted, it says that the run may have begun."""
        return self.send(call, interrupted="The run may have begun: see `crossport run list`.")

    def upload(self, call: Call[T], content: Iterator[bytes]) -> T:
        """Return the answer to ``call`` with these bytes as its body."""
        return self.client.upload(call, content)

    def all(self, call: Callable[[str], Call[Page[T]]]) -> tuple[T, ...]:
        """Return the items of all pages; ``call`` makes the call for the page behind a place."""
        page = self.send(call(""))
        items = page.items
        while page.next:
            page = self.send(call(page.next))
            items += page.items
        return items

    def close(self) -> None:
        """End the connection. The next call makes a new one."""
        if self._client:
            self._client.close()
        self._client = self._endpoint = None

    def ask(self, question: str) -> str:
        """Return a person's answer; empty where nobody sits at a terminal."""
        if not (self.machine.stdin.isatty() and self.machine.stderr.isatty()):
            return ""
        self.machine.stderr.write(harmless(question))
        self.machine.stderr.flush()
        return self.machine.stdin.readline().strip().lower()

    def _told(self, error: errors.Refused) -> errors.Refused:
        """Return ``error`` in the words of the command line: here a token is a file."""
        if error.code != "request.token.unknown":
            return error
        return errors.Refused(
            error.code,
            f"The site does not know the token in {self._token_file}, or it is expired or revoked.",
            field="--token-file",
            remedy="Name the file of a valid one; an administrator makes it by `crossport token create`.",
        )

    @property
    def _token_file(self) -> Path:
        return Path(self.place.token_file or StateDir(self.place.home).token_file)


Here = Annotated[Session, Parameter(parse=False)]
"""The type of the parameter by which a command gets its session."""
