"""URLs to fetch: their published form and the guard that judges them agree, on any text."""

import ipaddress
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from crossport import errors
from crossport.model.exchange import FetchRequest
from crossport.model.url import WEB_URL
from crossport.transfer.egress import Egress

REQUEST = TypeAdapter(FetchRequest)
NOBODY = Egress(())


@given(st.from_regex(re.compile(WEB_URL, re.ASCII), fullmatch=True))
@example("HTTPS://[::FFFF:1.2.3.4]:65535?#")
def test_whatever_has_the_form_is_judged_and_never_malformed(url: str):
    REQUEST.validate_python({"url": url})
    with pytest.raises(errors.Refused, match=r"egress\.denied"):
        NOBODY.endpoint(url)


@given(st.ip_addresses(v=6), st.booleans())
def test_every_address_can_be_written(address: ipaddress.IPv6Address, long: bool):
    text = address.exploded if long else str(address)
    assert Egress([f"{address}/128"]).endpoint(f"https://[{text}]/x").address == text


@pytest.mark.parametrize(
    "host", ["::", "1::", "::8", "1:2:3:4:5:6:7::", "::2:3:4:5:6:7:8", "1::3:4:5:6:7:8", "1:2::1.2.3.4"]
)
def test_addresses_are_shortened_anywhere(host: str):
    ipaddress.IPv6Address(host)
    assert re.fullmatch(WEB_URL, f"https://[{host}]")


@given(st.text("0123456789abcdef:.", max_size=45))
@example("1:2:3:4:5:6:7:8::")
@example("1::2::3")
@example("::1.2.3.256")
@example("1:2:3:4:5:6:7:1.2.3.4")
def test_nothing_else_is_taken_for_an_address(host: str):
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        assert not re.fullmatch(WEB_URL, f"https://[{host}]/")


@pytest.mark.parametrize(
    "url", ["", "ftp://a/", "https://u:p@a/", "https://a:0/", "https://a:65536/", "http://a b"]
)
def test_what_has_another_form_is_refused_by_both(url: str):
    with pytest.raises(ValueError, match="url"):
        REQUEST.validate_python({"url": url})
    with pytest.raises(errors.Invalid, match=r"egress\.url\.invalid"):
        NOBODY.endpoint(url)
