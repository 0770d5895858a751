"""How the texts of options become probes and times."""

from datetime import UTC, datetime

import pytest

from crossport import errors
from crossport.cli.parameter import moment, probes
from crossport.model.health import Probe, ProbeKind


@pytest.mark.parametrize(
    ("text", "command", "expect"),
    [
        ("command:true", "true", ""),
        ("command:systemctl is-active shop=active", "systemctl is-active shop", "active"),
        ("command:A=1 shop --port=80=ready", "A=1 shop --port=80", "ready"),
        ("command:A=1 shop=", "A=1 shop", ""),
        ("command:echo a:b", "echo a:b", ""),
    ],
)
def test_the_last_equals_sign_parts_a_command_from_what_it_must_print(text: str, command: str, expect: str):
    assert probes([text]) == (Probe(kind=ProbeKind.COMMAND, command=command, expect=expect),)


NOON = datetime(2026, 11, 30, 12, 0, 0).astimezone().timestamp()


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("12:30", NOON + 1800),
        ("11:30", NOON + 23.5 * 3600),
        ("2026-11-30T13:00", NOON + 3600),
        ("2026-11-30 13:00:30", NOON + 3630),
        ("2026-11-30T12:00+00:00", datetime(2026, 11, 30, 12, tzinfo=UTC).timestamp()),
    ],
)
def test_a_time_is_the_next_one_in_our_zone_unless_it_says_more(text: str, wanted: float):
    assert moment(text, NOON, "--cutover-at") == wanted


@pytest.mark.parametrize("text", ["soon", "25:00", "2026-13-01T00:00", "T"])
def test_what_is_no_time_is_told_with_the_option(text: str):
    with pytest.raises(errors.Invalid) as refusal:
        moment(text, NOON, "--cutover-at")
    assert refusal.value.field == "--cutover-at"
