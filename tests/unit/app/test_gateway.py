"""Where a site's gateways are told to dial, and which gateway a process is."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from crossport import errors
from crossport.app.gateway import run_gateway
from crossport.app.gateway_doors import doors_of
from crossport.app.settings import Settings
from crossport.cli.surroundings import GatewayOptions


def told(listen: str, **more: Any) -> tuple[str, ...]:
    return doors_of(Settings(home=Path("/srv"), gateway_listen=listen, **more), Path("/srv/gate")).told


def test_gateways_dial_where_the_site_listens_and_by_its_names():
    assert told("192.0.2.7:8444") == ("192.0.2.7:8444",)
    assert told("[2001:db8::1]:8444") == ("[2001:db8::1]:8444",)
    assert told("0.0.0.0:8444", hosts=("cloud.example", "192.0.2.7")) == (
        "cloud.example:8444",
        "192.0.2.7:8444",
    )


@pytest.mark.parametrize(
    ("listen", "field"),
    [
        ("8444", "gateway_listen"),
        ("host:", "gateway_listen"),
        ("host:99999", "gateway_listen"),
        ("0.0.0.0:1", "hosts"),
    ],
)
def test_an_address_that_nobody_can_dial_is_refused_with_its_setting(listen: str, field: str):
    with pytest.raises(errors.Invalid) as caught:
        told(listen)
    assert caught.value.field == field
    assert caught.value.remedy


def test_a_gateway_is_soon_back_because_it_loads_nothing_of_a_server():
    words = "import sys, crossport.app.gateway; print([one for one in sys.modules if one in sys.argv])"
    heavy = ["dbos", "sqlalchemy", "fastapi", "uvicorn"]
    told = subprocess.run([sys.executable, "-c", words, *heavy], check=True, capture_output=True, text=True)
    assert told.stdout == "[]\n"


def test_a_machine_without_a_gateway_says_how_to_get_one(tmp_path: Path):
    with pytest.raises(errors.Invalid) as caught:
        run_gateway({}, GatewayOptions(home=tmp_path))
    assert (caught.value.code, caught.value.field) == ("gateway.state.which", "join")


def test_a_machine_with_several_gateways_asks_which(tmp_path: Path):
    for name in ("gw-1", "gw-2"):
        folder = tmp_path / "gateway" / name
        folder.mkdir(parents=True, mode=0o700)
        (folder / "certificate.pem").touch(mode=0o600)
    (tmp_path / "gateway" / "gw-3").mkdir()
    with pytest.raises(errors.Invalid) as caught:
        run_gateway({}, GatewayOptions(home=tmp_path))
    assert (caught.value.field, "gw-1, gw-2" in caught.value.text) == ("gateway", True)
