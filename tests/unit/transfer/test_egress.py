"""The egress guard: what may be fetched, by name and address, and every way around it that is known."""

import pytest

from crossport import errors
from crossport.transfer.egress import Egress

PUBLIC = "93.184.216.34"
NAMES = {
    "images.example.org": [PUBLIC],
    "a.cdn.example.net": ["2606:2800:220:1:248:1893:25c8:1946"],
    "inside.example.org": ["10.1.2.3"],
    "both.example.org": [PUBLIC, "127.0.0.1"],
    "nothing.example.org": [],
    "mapped.example.org": ["::ffff:169.254.169.254"],
    "tunnel.example.org": ["2002:7f00:1::"],
    "translated.example.org": ["64:ff9b::a00:1"],
    "fine-translated.example.org": ["64:ff9b::5db8:d822"],
    "plain.example.org": [PUBLIC],
}


def guard(*more: str) -> Egress:
    allowed = ["*.example.org", "*.cdn.example.net", "http://plain.example.org:8080", *more]
    return Egress(allowed, resolve=lambda host, _: NAMES[host])


@pytest.mark.parametrize(
    ("url", "address", "port"),
    [
        ("https://images.example.org/a/b.raw?x=1", PUBLIC, 443),
        ("https://IMAGES.example.org./", PUBLIC, 443),
        ("https://a.cdn.example.net/x", "2606:2800:220:1:248:1893:25c8:1946", 443),
        ("http://plain.example.org:8080/x", PUBLIC, 8080),
        ("https://fine-translated.example.org/", "64:ff9b::5db8:d822", 443),
    ],
)
def test_what_is_allowed_goes_to_the_address_that_was_judged(url: str, address: str, port: int) -> None:
    endpoint = guard().endpoint(url)
    assert (endpoint.address, endpoint.port) == (address, port)
    assert endpoint.target.startswith("/")


@pytest.mark.parametrize(
    "url",
    [
        "https://other.example.com/",
        "https://example.org/",
        "https://evilexample.org/",
        "https://images.example.org.evil.net/",
        "https://images.example.org:8443/",
        "http://images.example.org/",
        "https://plain.example.org:8080/",
        "https://inside.example.org/",
        "https://both.example.org/",
        "https://mapped.example.org/",
        "https://tunnel.example.org/",
        "https://translated.example.org/",
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
        f"https://{PUBLIC}/",
    ],
)
def test_what_is_not_allowed_is_refused(url: str) -> None:
    with pytest.raises(errors.Refused, match=r"egress\.denied"):
        guard().endpoint(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "images.example.org/x",
        "ftp://images.example.org/",
        "file:///etc/passwd",
        "https://",
        "https://user@images.example.org/",
        "https://user:word@images.example.org/",
        "https://images.example.org:0/",
        "https://images.example.org:99999/",
        "https://images.example.org/a b",
        "https://images.example.org/\r\nHost: x",
        "https://images.example.org\\@evil.net/",
        "https://ímages.example.org/",
        "https://*.example.org/",
        "https://0x7f000001.example.org\x00/",
        "https://" + "a" * 5000,
    ],
)
def test_what_is_no_url_is_invalid(url: str) -> None:
    with pytest.raises(errors.Invalid, match=r"egress\.url\.invalid"):
        guard().endpoint(url)


def test_a_private_network_is_open_to_those_who_allow_it() -> None:
    assert guard("10.1.0.0/16").endpoint("https://inside.example.org/").address == "10.1.2.3"
    assert guard("10.1.0.0/16").endpoint("https://10.1.9.9:8443/").port == 8443
    assert guard("127.0.0.0/8").endpoint("https://both.example.org/").address == PUBLIC
    with pytest.raises(errors.Refused):
        guard("10.2.0.0/16").endpoint("https://inside.example.org/")


def test_a_name_that_resolves_to_nothing_is_unavailable() -> None:
    with pytest.raises(errors.Unavailable, match=r"egress\.name\.unknown"):
        guard().endpoint("https://nothing.example.org/")


@pytest.mark.parametrize("entry", ["", "exa mple.org", "ftp://host", "host:port", "a*b.org", "10.0.0.1/8"])
def test_an_entry_that_names_nothing_is_refused(entry: str) -> None:
    with pytest.raises(errors.Invalid, match=r"egress\.rule\.invalid"):
        Egress([entry])
