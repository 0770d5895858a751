"""`crossport image policy`: what the site asks of every certified image before it comes in."""

from collections.abc import Iterator
from pathlib import Path

from cyclopts import App

from crossport import errors
from crossport.cli.image_encryption import app as image_app
from crossport.cli.session import Here
from crossport.cli.text import Table, fields
from crossport.cli.trust_file import policy_request_in
from crossport.client import import_calls
from crossport.model.import_policy import ImportPolicy, KeptImportPolicy, Partner

__all__ = ["app", "asked_of"]

app = image_app
policy_app = App(
    name="policy",
    help="""Say what the site asks of certified images before they come in.

    For example:

      crossport image policy show
    """,
)
app.command(policy_app)


@policy_app.command
def show(*, session: Here) -> None:
    """Show the import policy that the site works by. With --json it is a file that `set` takes.

    For example:

      crossport image policy show

      crossport image policy show --json > policy.json
    """
    kept = session.send(import_calls.import_policy())
    session.out.result(kept, *_tables(kept))


@policy_app.command(name="set")
def set_(file: Path, /, *, session: Here) -> None:
    """Let an import policy hold for everything that is admitted from now on. It needs the right `site`.

    The file is TOML, YAML or JSON, as its name ends, and the one that `crossport image verify --policy`
    takes. What `show --json` wrote is refused when somebody set another policy in the meantime.

    For example:

      crossport image policy set policy.toml

    Parameters
    ----------
    file
        The policy.
    """
    kept = session.send(import_calls.set_import_policy(policy_request_in(file)))
    session.out.result(kept, *_tables(kept))


@policy_app.command
def reset(*, session: Here) -> None:
    """Let the policy hold again that a site begins with: its own seals and those of its partners come in.

    For example:

      crossport image policy reset
    """
    kept = session.send(import_calls.reset_import_policy())
    session.out.result(kept, *_tables(kept))


@policy_app.command
def explain(site: str, /, *, session: Here) -> int:
    """Say in sentences what is asked of images that a site seals. Exit status 7 when none of it comes in.

    A dry run says the same of one VM, as far as it is known beforehand.

    For example:

      crossport image policy explain north

    Parameters
    ----------
    site
        The site that seals: a partner, or this one.
    """
    policy = session.send(import_calls.import_policy()).policy
    asked = tuple(asked_of(policy, site))
    session.out.result(
        {"site": site, "admitted": bool(asked), "asked": asked},
        Table((f"OF IMAGES OF {site}",), tuple((text,) for text in asked or ("Nothing of it is admitted.",))),
    )
    return 0 if asked else errors.Refused.exit_code


def asked_of(policy: ImportPolicy, site: str) -> Iterator[str]:
    """Yield what ``policy`` asks of images of ``site``; nothing when it admits none."""
    partner = next((one for one in policy.partners if one.site == site), None)
    if partner is None:
        return
    keys = ", ".join(f"{key[:16]}…" for key in partner.keys)
    yield f"It is sealed with one of the keys {keys}." if keys else "It is sealed with any key of the site."
    clouds = ", ".join(partner.clouds)
    yield f"It comes from one of the clouds {clouds}." if clouds else "It comes from any cloud of the site."
    age = min(policy.max_age_hours, partner.max_age_hours or policy.max_age_hours)
    yield f"Its seal is not older than {age:g} h."
    formats = ", ".join(policy.formats)
    yield f"Its disks come as one of {formats}." if formats else "Its disks come in any format that is known."
    yield f"A disk has at most {policy.max_disk_gib} GiB, all together at most {policy.max_image_gib} GiB."
    for name in dict.fromkeys((*policy.required_checks, *partner.required_checks)):
        yield f"The seal says that the check {name} passed."
    if policy.sbom_required:
        yield "It has an SBOM."
    for one in policy.forbidden_packages:
        versions = f" ({', '.join(one.versions)})" if one.versions else ""
        yield f"Its guest does not hold {one.name}{versions}{f': {one.why}' if one.why else ''}."
    if policy.conversion_tools:
        tools = ", ".join(f"{image[:16]}…" for image in policy.conversion_tools)
        yield f"Where its guest was converted, the tool ran from one of the images {tools}."
    for check in policy.own_checks:
        yield f"This site checks the guest itself for {check} before it leaves quarantine."


def _tables(kept: KeptImportPolicy) -> Iterator[Table]:
    policy = kept.policy
    since = f"the one that was set, generation {kept.generation}" if kept.generation else "the first one"
    yield fields(
        "",
        ("site", policy.site),
        ("policy", since),
        ("age", f"at most {policy.max_age_hours:g} h"),
        ("a disk", f"at most {policy.max_disk_gib} GiB"),
        ("all disks", f"at most {policy.max_image_gib} GiB"),
        ("formats", ", ".join(policy.formats) or "all"),
        ("checks in the seal", ", ".join(policy.required_checks) or "none required"),
        ("checks made here", ", ".join(policy.own_checks) or "none"),
        ("SBOM", "required" if policy.sbom_required else "not required"),
    )
    yield Table(("SITE", "KEYS", "CLOUDS", "CHECKS", "AGE"), tuple(_row(one) for one in policy.partners))
    if policy.forbidden_packages:
        rows = tuple(
            (one.name, ", ".join(one.versions) or "all", one.why) for one in policy.forbidden_packages
        )
        yield Table(("FORBIDDEN PACKAGE", "VERSIONS", "WHY"), rows)


def _row(partner: Partner) -> tuple[str, ...]:
    return (
        partner.site,
        ", ".join(f"{key[:16]}…" for key in partner.keys) or "all",
        ", ".join(partner.clouds) or "all",
        ", ".join(partner.required_checks),
        f"{partner.max_age_hours:g} h" if partner.max_age_hours else "",
    )
