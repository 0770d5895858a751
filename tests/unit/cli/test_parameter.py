"""How the texts of options become probes."""

import pytest

from crossport.cli.parameter import probes
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
