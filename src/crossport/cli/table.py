"""The commands of the first level, and the page that `crossport --help` shows.

The page is made from this table alone: reading every command's own help would cost more than a third of a
second, and people ask for this page most.
"""

from dataclasses import dataclass

__all__ = ["COMMANDS", "Command", "overview"]


@dataclass(frozen=True, slots=True)
class Command:
    """A command: its name, where it is implemented, one line about it, and the group it is shown in."""

    name: str
    target: str
    about: str
    group: str


def _command(name: str, target: str, about: str, group: str) -> Command:
    return Command(name, f"crossport.cli.{target}", about, group)


MOVE, LOOK, OPERATE = "Move", "Look and prepare", "Operate a site"

COMMANDS = (
    _command("migrate", "migrate:migrate", "Move a VM from one cloud to another.", MOVE),
    _command("test", "test_migration:app", "List and remove test migrations.", MOVE),
    _command("plan", "plan:app", "Move several VMs in waves, from a file.", MOVE),
    _command("run", "run:app", "Watch, decide, report and clean up runs.", MOVE),
    _command("source", "source:app", "Retire the source that a migration left behind.", MOVE),
    _command("cloud", "cloud_making:app", "Make and connect clouds, and see whether they answer.", LOOK),
    _command("limit", "limit:app", "Limit how fast copies are between two clouds.", LOOK),
    _command("vm", "vm:app", "List, make, start and stop VMs.", LOOK),
    _command("assess", "assess:assess", "Judge every VM of a cloud: go, fix or refuse.", LOOK),
    _command(
        "image",
        "image_policy:app",
        "Inspect, convert and certify images, and bring them into clouds.",
        LOOK,
    ),
    _command("login", "login:login", "Sign in at an identity provider that the site believes.", LOOK),
    _command("logout", "login:logout", "End that login.", LOOK),
    _command("whoami", "login:whoami", "Say who you are at the site, and what you may.", LOOK),
    _command("demo", "demo:command", "Migrate a real VM between two clouds on this machine.", LOOK),
    _command("doctor", "doctor:doctor", "Check whether this machine has what Crossport needs.", OPERATE),
    _command("serve", "serve:serve", "Run the site's control plane in the foreground.", OPERATE),
    _command("gateway", "gateway:app", "Let gateways join, run one, see and remove them.", OPERATE),
    _command("inspector", "inspector:app", "Make what looks into guests that come in.", OPERATE),
    _command("key", "key:app", "See, rotate and revoke the keys that the site signs with.", OPERATE),
    _command("trust", "partner_run:app", "Make partners of sites, say what they may, end that.", OPERATE),
    _command("audit", "audit:app", "Read, export and verify the audit log.", OPERATE),
    _command("identity", "identity:app", "Believe identity providers, and say whom that lets in.", OPERATE),
    _command("grant", "grant:app", "See by whose right runs go on, and take it away.", OPERATE),
    _command("token", "token:app", "Hand out and revoke tokens.", OPERATE),
    _command("policy", "policy:app", "Explain who may do what, and check your own policies.", OPERATE),
    _command("completion", "completion:completion", "Print completion for your shell.", OPERATE),
    _command("version", "version:version", "Print the version.", OPERATE),
)

HEAD = """\
Usage: crossport COMMAND [OPTIONS]

Crossport moves virtual machines between clouds of different owners.
"""
TAIL = """\
Options for every command:
  --json             Print JSON on standard output; messages go to standard error.
  --server URL       Talk to the site at this https address.
  --ca FILE          The CA that signed its certificate.
  --token-file FILE  The token to send; not the token itself, which others could see.
  --home DIR         Where this machine's own site keeps its state.
  --help, -h         Explain a command, with examples.

Examples:
  crossport doctor                                 see whether this machine is ready
  crossport demo                                   see a migration from end to end
  crossport cloud add alpha local                  connect a cloud
  crossport migrate web --from alpha --to beta --dry-run

Exit status: 0 done, 2 usage, 3 blocked by findings, 4 rolled back, 5 needs attention,
6 cancelled, 7 refused, 8 unreachable.
"""


def overview() -> str:
    """Return the page."""
    width = max(len(command.name) for command in COMMANDS)
    parts = [HEAD]
    for group in dict.fromkeys(command.group for command in COMMANDS):
        lines = [
            f"  {command.name:<{width}}  {command.about}" for command in COMMANDS if command.group == group
        ]
        parts.append(f"{group}:\n" + "\n".join(lines) + "\n")
    parts.append(TAIL)
    return "\n".join(parts)
