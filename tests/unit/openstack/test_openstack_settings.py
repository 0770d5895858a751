"""Settings of an OpenStack cloud are checked before it is asked: a fault names field, reason and remedy."""

from typing import Any

import pytest
import yaml

from crossport import errors
from crossport.clouds.openstack.settings import Access, checked
from crossport.spi.secret import Secret

LOGIN = {"auth-url": "https://east:5000/v3", "username": "ann", "project": "shop"}
PASSWORD = {"password": Secret("correct horse")}
AUTH = {"auth_url": "https://east:5000/v3", "username": "ann", "password": "p", "project_name": "shop"}


def fault(settings: dict[str, str], **secrets: str) -> errors.Error:
    with pytest.raises(errors.Error) as found:
        checked(settings, {name.replace("_", "-"): Secret(text) for name, text in secrets.items()})
    assert found.value.text
    assert found.value.remedy
    return found.value


def in_file(entry: object, name: str = "east", **settings: str) -> Access:
    text = yaml.safe_dump({"clouds": {"east": entry}})
    return checked({"cloud": name, **settings}, {"clouds-yaml": Secret(text)})


def test_a_login_is_taken_with_the_default_domains():
    access = checked({**LOGIN, "region": "R1"}, PASSWORD)
    assert access.login == {
        "auth_url": "https://east:5000/v3",
        "username": "ann",
        "project_name": "shop",
        "password": Secret("correct horse"),
        "user_domain_name": "Default",
        "project_domain_name": "Default",
    }
    assert (access.region, access.interface, access.by_application) == ("R1", "public", False)


def test_an_application_credential_needs_no_project():
    access = checked(
        {"auth-url": "https://east:5000/v3", "application-credential-id": "abc"},
        {"application-credential-secret": Secret("s")},
    )
    assert access.by_application
    assert "project_domain_name" not in access.login


def test_a_cloud_is_found_in_the_clouds_yaml_and_its_password_stays_hidden():
    access = in_file({"auth": AUTH, "region_name": "R1", "interface": "internal", "identity_api_version": 3})
    assert (access.address, access.region, access.interface) == ("https://east:5000/v3", "R1", "internal")
    assert access.login["password"] == Secret("p")
    assert "'p'" not in repr(access)


def test_what_is_set_beside_the_file_counts_more():
    assert in_file({"auth": AUTH, "region_name": "R1"}, region="R2").region == "R2"


@pytest.mark.parametrize("missing", ["auth-url", "username", "project"])
def test_a_missing_setting_is_named(missing: str):
    found = fault({name: text for name, text in LOGIN.items() if name != missing}, password="p")
    assert (type(found), found.field) == (errors.Invalid, f"settings.{missing}")


def test_a_missing_secret_is_asked_for_from_a_file():
    found = fault(dict(LOGIN))
    assert found.field == "settings.password"
    assert "--set-file password=" in found.remedy


@pytest.mark.parametrize(
    ("entry", "field", "word"),
    [
        ({"auth": {**AUTH, "passcode": "1"}}, "settings.clouds-yaml", "auth.passcode"),
        ({"auth": AUTH, "cacert": "/etc/passwd"}, "settings.clouds-yaml", "cacert"),
        ({"auth": AUTH, "cert": "/etc/x"}, "settings.clouds-yaml", "cert"),
        ({"auth": AUTH, "profile": "vexxhost"}, "settings.clouds-yaml", "profile"),
        ({"auth": AUTH, "auth_type": "v3oidcpassword"}, "settings.clouds-yaml", "v3oidcpassword"),
        ({"region_name": "R1"}, "settings.clouds-yaml", "no clouds.yaml"),
        ([], "settings.clouds-yaml", "no clouds.yaml"),
    ],
)
def test_what_a_clouds_yaml_says_beyond_our_list_is_refused(entry: Any, field: str, word: str):
    text = yaml.safe_dump({"clouds": {"east": entry}})
    found = fault({"cloud": "east"}, clouds_yaml=text)
    assert (type(found), found.field) == (errors.Invalid, field)
    assert word in found.text


def test_verification_cannot_be_switched_off():
    text = yaml.safe_dump({"clouds": {"east": {"auth": AUTH, "verify": False}}})
    found = fault({"cloud": "east"}, clouds_yaml=text)
    assert (type(found), found.code) == (errors.Refused, "cloud.tls.unverified")


def test_a_name_that_the_file_has_not_is_told_with_those_it_has():
    found = fault({"cloud": "west"}, clouds_yaml=yaml.safe_dump({"clouds": {"east": {"auth": AUTH}}}))
    assert (found.field, found.remedy) == ("settings.cloud", "It has: east.")


def test_what_is_no_yaml_is_not_shown():
    found = fault({"cloud": "east"}, clouds_yaml="{password: hunter2")
    assert "hunter2" not in str(found)
    assert found.field == "settings.clouds-yaml"


def test_http_is_refused_until_it_is_accepted():
    plain = {**LOGIN, "auth-url": "http://east:5000/v3"}
    assert fault(dict(plain), password="p").code == "cloud.tls.none"
    assert checked({**plain, "unencrypted": "accepted"}, PASSWORD).unencrypted


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("auth-url", "east"),
        ("auth-url", "https://ann:pw@east:5000"),
        ("interface", "sideways"),
        ("ca", "/etc/ssl/ca.pem"),
        ("unencrypted", "yes"),
        ("insecure", "true"),
    ],
)
def test_a_wrong_setting_is_named(name: str, value: str):
    assert fault({**LOGIN, name: value}, password="p").field == f"settings.{name}"


def test_a_file_and_a_login_are_not_mixed():
    assert fault({"cloud": "east", "username": "ann"}, clouds_yaml="clouds: {}").field == "settings.username"


@pytest.mark.parametrize("given", [{"cloud": "east"}, {}])
def test_a_name_and_its_file_come_together(given: dict[str, str]):
    found = fault(given) if given else fault({}, clouds_yaml="clouds: {}")
    assert "--set cloud=NAME --set-file clouds-yaml=" in found.remedy
