"""Settings: environment before file, unknown names refused, secrets from files."""

from pathlib import Path

import pytest

from crossport import errors
from crossport.app.compose import site_settings
from crossport.app.master_key import MasterSource
from crossport.app.settings import Settings, host_and_port, load


def settings(tmp_path: Path, text: str = "", **environment: str) -> Settings:
    path = tmp_path / "settings.toml"
    path.write_text(text)
    return load({"HOME": "/h", "CROSSPORT_SETTINGS": str(path)} | environment, root=False)


@pytest.mark.parametrize(
    ("environment", "root", "home"),
    [
        ({"HOME": "/h"}, False, "/h/.local/state/crossport"),
        ({"HOME": "/h", "XDG_STATE_HOME": "/s"}, False, "/s/crossport"),
        ({"HOME": "/h", "XDG_STATE_HOME": "/s"}, True, "/var/lib/crossport"),
        ({"HOME": "/h", "CROSSPORT_HOME": "/x"}, True, "/x"),
    ],
)
def test_the_home_follows_account_and_environment(environment: dict[str, str], root: bool, home: str):
    assert load(environment, root=root).home == Path(home)


def test_the_environment_wins_over_the_file(tmp_path: Path):
    text = 'home = "/f"\nidle_s = 10\nhosts = ["a", "b"]\n'
    chosen = settings(tmp_path, text, CROSSPORT_IDLE_S="20", CROSSPORT_HOSTS="c, d")
    assert (chosen.home, chosen.idle_s, chosen.hosts) == (Path("/f"), 20.0, ("c", "d"))
    assert settings(tmp_path, text).hosts == ("a", "b")


def test_an_address_with_a_password_comes_from_a_file_and_is_not_shown(tmp_path: Path):
    (tmp_path / "database").write_text("postgresql://u:hush@db/x\n")
    chosen = settings(tmp_path, CROSSPORT_DATABASE_URL_FILE=str(tmp_path / "database"))
    assert chosen.database_url == "postgresql://u:hush@db/x"
    assert "hush" not in repr(chosen)


@pytest.mark.parametrize(
    ("text", "environment", "field"),
    [
        ("colour = 1", {}, "colour"),
        ("idle_s = ", {}, "settings"),
        ("", {"CROSSPORT_IDLE_S": "soon"}, "idle_s"),
        ("", {"CROSSPORT_IDLE_S": "-1"}, "idle_s"),
        ("", {"CROSSPORT_HOME": "here"}, "home"),
        ("", {"CROSSPORT_HOSTS": "a.example,,b.example"}, "hosts"),
        ('hosts = ["10.0.0.0/8"]', {}, "hosts"),
        ('hosts = ["https://a.example"]', {}, "hosts"),
        ("", {"CROSSPORT_DATABASE_URL_FILE": "/nowhere"}, "database_url_file"),
        ("", {"CROSSPORT_SETTINGS": "/nowhere"}, "settings"),
        ('egress = ["ftp://host"]', {}, "egress"),
        ("", {"CROSSPORT_CLAMD": "clamd.ctl"}, "clamd"),
        ("clamd_file_size = 0", {}, "clamd_file_size"),
        ("", {"CROSSPORT_EGRESS": "images.example.org,not a host"}, "egress"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, text: str, environment: dict[str, str], field: str):
    with pytest.raises(errors.Invalid) as caught:
        settings(tmp_path, text, **environment)
    assert caught.value.field == field
    assert caught.value.remedy


def test_a_webhook_whose_secret_cannot_be_read_is_named(tmp_path: Path):
    text = '[hooks.tell]\nurl = "https://hooks.example/"\nsecret_file = "/nowhere"\n'
    with pytest.raises(errors.Invalid) as caught:
        site_settings(settings(tmp_path, text), MasterSource())
    assert caught.value.field == "hooks.tell.secret_file"


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("192.0.2.7:8443", ("192.0.2.7", 8443)),
        ("[2001:db8::7]:8443", ("[2001:db8::7]", 8443)),
        ("192.0.2.7", ("", 0)),
        (":8443", ("", 8443)),
        ("192.0.2.7:http", ("", 0)),
        ("192.0.2.7:65536", ("", 0)),
        ("192.0.2.7:²", ("", 0)),
    ],
)
def test_an_address_to_listen_on_is_a_host_and_a_port(address: str, parts: tuple[str, int]):
    assert host_and_port(address) == parts
