"""`crossport login` and what follows: real commands and site, the real provider, a person at its forms."""

import asyncio
import json
import re
import ssl
import stat
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest
import uvicorn
from tests.interop.oidc.person import Person
from tests.interop.oidc.provider import AUDIENCE, COMMAND_LINE, SERVICE, SERVICE_SECRET, Provider
from tests.unit.cli.desk import Desk, Served, served

from crossport.app.clock import SystemClock
from crossport.identity import SiteIdentity
from crossport.model.access import Role
from crossport.model.federation import Ceilings, TrustRule
from crossport.model.federation import Provider as KnownProvider


@dataclass
class Seat(Desk):
    """A desk on the real clock, with a browser when there is a display. ``seen`` is what it opened."""

    person: Person = field(default_factory=Person)
    moved_s: float = 0.0
    seen: list[str] = field(default_factory=list[str])
    visits: list[threading.Thread] = field(default_factory=list[threading.Thread])
    opened: Callable[[str], str] = str

    def wall(self) -> float:
        return time.time() + self.moved_s

    def new_key(self) -> str:
        return f"{time.monotonic_ns():032x}"

    def run_tool(self) -> Callable[[list[str]], tuple[int, str]]:
        def run(words: list[str]) -> tuple[int, str]:
            assert words[0] == "xdg-open"
            self.seen.append(words[1])
            visit = threading.Thread(target=lambda: self.person.visit(self.opened(words[1])))
            visit.start()
            self.visits.append(visit)
            return 0, ""

        return run

    def by_browser(self, *words: str) -> str:
        """Sign in by the browser; return what was printed."""
        self.environment["DISPLAY"] = ":0"
        printed = self.type("login", *words)
        for visit in self.visits:
            visit.join(20)
        return printed

    def by_device(self, *words: str) -> str:
        """Sign in by a code that the person enters as soon as it is waited for."""

        def enter() -> None:
            if found := re.search(r"Open (\S+) on any device, and enter the code (\S+)", self.told):
                self.meanwhile = lambda: None
                self.person.code = found[2]
                self.person.visit(found[1])

        self.meanwhile = enter
        return self.type("login", *words)

    @property
    def told(self) -> str:
        return self.stderr.getvalue()


@dataclass
class Elsewhere:
    """A site at an address, and the words by which commands ask it."""

    site: Served
    words: tuple[str, ...]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, provider: Provider) -> Generator[Served]:
    """A site that believes the provider."""
    with served(tmp_path_factory.mktemp("site"), egress=("127.0.0.0/8",)) as site:
        believe(site, provider)
        yield site


def believe(site: Served, provider: Provider, **changed: Any) -> None:
    """Let a site believe the provider, and make its staff operators and its services viewers."""
    told = KnownProvider(
        name="acme",
        issuer=provider.issuer,
        audience=AUDIENCE,
        client=COMMAND_LINE,
        scope="openid offline_access migrate",
    )
    book = site.site.opened.federation.book
    site.do(book.add_provider(replace(told, **changed)))
    ceilings = Ceilings(clouds=("alpha", "beta"))
    rule = TrustRule(
        name="staff",
        provider="acme",
        claims={"groups": "staff"},
        tenant="default",
        role=Role.OPERATOR,
        ceilings=ceilings,
    )
    site.do(book.add_rule(rule))
    services = {"name": "services", "claims": {"groups": "services"}, "role": Role.VIEWER}
    site.do(book.add_rule(replace(rule, **services, ceilings=Ceilings())))


@pytest.fixture
def seat(home: Served) -> Generator[Seat]:
    one = Seat(home.home)
    yield one
    for each in (home.home / "logins").glob("*.json"):
        each.unlink()


def kept(seat: Seat) -> dict[str, Any]:
    """Return what the machine keeps of the only login."""
    (path,) = (seat.home / "logins").glob("*.json")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    return json.loads(path.read_text())


def spend(seat: Seat, **values: Any) -> None:
    """Let all tokens have ended that the machine keeps; change more of what it keeps."""
    (path,) = (seat.home / "logins").glob("*.json")
    told = json.loads(path.read_text())
    ended = {"tokens": {}, "sites": {site: {"text": "", "until": 0.0} for site in told["sites"]}}
    path.write_text(json.dumps({**told, **ended, **values}))


def test_a_person_signs_in_by_the_browser_and_every_command_acts_as_them(seat: Seat, provider: Provider):
    printed = seat.by_browser()
    assert seat.code == 0, seat.told
    assert f"alice at {provider.issuer}" in printed
    assert "tenant default, role operator" in printed
    assert "clouds alpha, beta" in printed
    asked = parse_qs(urlsplit(seat.seen[0]).query)
    assert (asked["code_challenge_method"], asked["resource"]) == (["S256"], [AUDIENCE])
    assert seat.json("whoami")["subject"] == "alice"
    assert {each["name"] for each in seat.json("vm", "list", "alpha")} >= {"web", "db"}
    seat.type("token", "create", "mine", "--role", "admin")
    assert "identity.ceiling.operation" in seat.told
    told = kept(seat)
    assert (told["method"], told["bound"], bool(told["refresh"])) == ("browser", True, True)


def test_a_code_that_is_entered_elsewhere_signs_in_where_there_is_no_browser(seat: Seat):
    assert "alice" in seat.by_device(), seat.told
    assert "left." in seat.told
    assert kept(seat)["method"] == "device"
    assert len(seat.pauses) <= 3


def test_a_service_signs_in_by_a_secret_from_a_file_or_the_environment(seat: Seat, tmp_path: Path):
    words = ["--client-credentials", "--client", SERVICE]
    seat.type("login", *words)
    assert (seat.code, "login.secret.missing" in seat.told) == (2, True)
    secret = tmp_path / "secret"
    secret.write_text(SERVICE_SECRET + "\n")
    secret.chmod(0o644)
    seat.type("login", *words, "--secret-file", str(secret))
    assert (seat.code, "login.secret.open" in seat.told) == (7, True)
    secret.chmod(0o600)
    assert "role viewer" in seat.type("login", *words, "--secret-file", str(secret)), seat.told
    assert SERVICE_SECRET not in json.dumps(kept(seat))
    spend(seat)
    assert seat.json("whoami")["subject"] == SERVICE, "it asks again with the secret"
    secret.write_text("x" * 32)
    seat.type("login", *words, "--secret-file", str(secret))
    assert "login.client.refused" in seat.told
    seat.environment["CROSSPORT_CLIENT_SECRET"] = SERVICE_SECRET
    assert "role viewer" in seat.type("login", *words), seat.told


def test_the_login_is_renewed_and_each_way_to_renew_is_used_once(seat: Seat):
    seat.by_device()
    before = kept(seat)
    spend(seat)
    assert seat.json("whoami")["subject"] == "alice"
    after = kept(seat)
    assert after["refresh"] != before["refresh"]
    assert after["sites"] != before["sites"]
    spend(seat, refresh=before["refresh"])
    seat.type("whoami")
    assert (seat.code, "login.ended" in seat.told) == (7, True)
    assert "crossport login" in seat.told


def test_logout_ends_it_here_and_at_the_provider(seat: Seat, provider: Provider):
    seat.by_device()
    told = kept(seat)
    assert "at the provider" in seat.type("logout")
    assert not list((seat.home / "logins").glob("*.json"))
    form = {"grant_type": "refresh_token", "refresh_token": told["refresh"], "client_id": COMMAND_LINE}
    assert httpx.post(f"{provider.issuer}/token", data=form).json()["error"] in (
        "invalid_grant",
        "invalid_dpop_proof",
        "invalid_request",
    )
    assert not seat.json("whoami")["issuer"], "the token of the state directory is used again"
    seat.type("logout")
    assert (seat.code, "login.none" in seat.told) == (2, True)


def test_who_denies_or_never_enters_the_code_gets_no_login(seat: Seat):
    seat.person.denies = True
    seat.by_device()
    assert (seat.code, "login.denied" in seat.told) == (7, True)
    seat.by_browser()
    assert (seat.code, "login.denied" in seat.told) == (7, True)
    seat.environment.clear()

    def time_goes_by() -> None:
        seat.moved_s += 1000

    seat.meanwhile = time_goes_by
    seat.type("login")
    assert (seat.code, "login.expired" in seat.told) == (7, True)
    assert not list((seat.home / "logins").glob("*.json"))


def test_whom_no_rule_lets_in_gets_no_login(seat: Seat, home: Served):
    book = home.site.opened.federation.book
    (staff,) = [rule for rule in home.do(book.rules()) if rule.name == "staff"]
    home.do(book.remove_rule("staff"))
    try:
        seat.by_device()
        assert (seat.code, "identity.rule.none" in seat.told) == (7, True)
    finally:
        home.do(book.add_rule(staff))
    assert not list((seat.home / "logins").glob("*.json"))


def test_what_a_changed_rule_ended_is_exchanged_again(seat: Seat, home: Served):
    seat.by_device()
    book = home.site.opened.federation.book
    (staff,) = [rule for rule in home.do(book.rules()) if rule.name == "staff"]
    home.do(book.remove_rule("staff"))
    home.do(book.add_rule(replace(staff, role=Role.VIEWER)))
    try:
        assert seat.json("whoami")["role"] == "viewer"
    finally:
        home.do(book.remove_rule("staff"))
        home.do(book.add_rule(staff))


def test_an_answer_that_is_no_answer_to_this_sign_in_is_passed_over(seat: Seat):
    """Anybody on this machine can send something to the port, also before the provider does."""

    def disturbed(address: str) -> str:
        back = parse_qs(urlsplit(address).query)["redirect_uri"][0]
        for query in ("code=stolen&state=guess", "code=stolen", "code=a&code=b", ""):
            assert httpx.get(f"{back}?{query}").status_code in (200, 404)
        assert httpx.get(back.replace("/callback", "/other")).status_code == 404
        return address

    seat.opened = disturbed
    assert "alice" in seat.by_browser(), seat.told


def test_an_answer_by_another_provider_is_refused(seat: Seat):
    def mixed_up(address: str) -> str:
        asked = parse_qs(urlsplit(address).query)
        query = urlencode({"code": "theirs", "state": asked["state"][0], "iss": "https://evil.example"})
        return f"{asked['redirect_uri'][0]}?{query}"

    seat.opened = mixed_up
    seat.by_browser()
    assert (seat.code, "login.answer.mixed-up" in seat.told) == (7, True)
    unnamed = urlencode({"code": "theirs"})
    seat.opened = lambda address: (
        f"{parse_qs(urlsplit(address).query)['redirect_uri'][0]}?{unnamed}"
        f"&state={parse_qs(urlsplit(address).query)['state'][0]}"
    )
    seat.by_browser()
    assert "login.answer.mixed-up" in seat.told


def test_a_stolen_token_is_worth_nothing_without_its_key(seat: Seat, home: Served):
    """Both that of the site, which every request shows, and the provider's, which is shown to sites."""
    seat.by_device()
    told = kept(seat)
    for token in (told["tokens"][AUDIENCE]["text"], next(iter(told["sites"].values()))["text"]):
        found = home.do(_asked(home, token))
        assert found == (401, "identity.token.bound")


async def _asked(home: Served, token: str) -> tuple[int, str]:
    async with home.site.client(token) as client:
        answer = await client.get("/v1/site")
    return answer.status_code, answer.json()["code"]


def test_names_with_any_characters_can_be_asked_for(seat: Seat):
    seat.by_device()
    seat.type("vm", "show", "alpha/a b/c%2Fd?e#f")
    assert "identity" not in seat.told


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory, provider: Provider) -> Generator[Elsewhere]:
    """Another site that believes the provider, too, at an address."""
    with served(tmp_path_factory.mktemp("other"), egress=("127.0.0.0/8",)) as site:
        believe(site, provider)
        identity = SiteIdentity.open(site.home / "identity", "other", clock=SystemClock())
        leaf = identity.issue("control", "api", hosts=["127.0.0.1"])
        authority, certificate, key = (site.home / name for name in ("ca.pem", "server.pem", "key.pem"))
        authority.write_text(identity.authority_pem)
        certificate.write_text(leaf.certificate_pem)
        key.write_text(leaf.key_pem.reveal())
        config = uvicorn.Config(
            site.site.application.asgi,
            port=0,
            log_config=None,
            lifespan="off",
            ssl_certfile=certificate,
            ssl_keyfile=str(key),
        )
        server = uvicorn.Server(config)
        serving = asyncio.run_coroutine_threadsafe(server.serve(), site.loop)
        while not server.started:
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield Elsewhere(site, ("--server", f"https://127.0.0.1:{port}", "--ca", str(authority)))
        server.should_exit = server.force_exit = True
        serving.result(20)


def test_one_login_is_exchanged_at_each_site_that_believes_its_provider(seat: Seat, other: Elsewhere):
    seat.by_device()
    assert seat.json("whoami", *other.words)["subject"] == "alice", seat.told
    sites = kept(seat)["sites"]
    assert len({token["text"] for token in sites.values()}) == len(sites) == 2
    for address, token in sites.items():
        elsewhere = "https" not in address
        with httpx.Client(verify=ssl.create_default_context(cafile=other.words[3])) as client:
            headers = {"Authorization": f"Bearer {token['text']}"}
            answer = client.get(f"{other.words[1]}/v1/site", headers=headers).json()
        expected = "request.token.unknown" if elsewhere else "identity.token.bound"
        assert answer["code"] == expected, "a token of one site is none at another"
    assert seat.json("whoami")["subject"] == "alice"


def test_a_site_with_another_name_at_the_provider_needs_a_login_of_its_own(
    seat: Seat, other: Elsewhere, provider: Provider
):
    book = other.site.site.opened.federation.book
    (known,) = other.site.do(book.providers())
    renamed = replace(known, audience="https://other.example")
    other.site.do(book.documents.delete("identity-provider", "acme"))
    other.site.do(book.add_provider(renamed))
    seat.by_device()
    seat.type("whoami", *other.words)
    assert (seat.code, "login.audience.refused" in seat.told) == (7, True), seat.told
    assert "alice" in seat.by_device(*other.words), seat.told
    assert seat.json("whoami", *other.words)["subject"] == "alice"
    assert seat.json("whoami")["subject"] == "alice"
    assert len(list((seat.home / "logins").glob("*.json"))) == 2
    seat.by_device()
    assert len(list((seat.home / "logins").glob("*.json"))) == 2, "the login in its place is forgotten"


def test_what_cannot_be_meant_is_told(seat: Seat):
    for words, code in (
        (["--provider", "other"], "login.provider.unclear"),
        (["--browser", "--device"], "login.method.several"),
        (["--client-credentials"], "login.client.missing"),
        (["--secret-file", "x"], "login.secret.unused"),
    ):
        seat.type("login", *words)
        assert (seat.code, code in seat.told, "Remedy" in seat.told) == (2, True, True)
