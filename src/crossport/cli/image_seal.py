"""`crossport image seal`, `verify`, `show` and `trust`: certified images, offline, as files."""

import json
import re
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cyclopts import Parameter

from crossport import errors
from crossport.certify.envelope import MAX_ENVELOPE, opened
from crossport.certify.listing import certified_key
from crossport.certify.package import PackageNames, verify_package
from crossport.certify.refusal import REFUSALS, Reason, refused
from crossport.certify.replay import Seen
from crossport.certify.statement import seal_in
from crossport.certify.verify import LONGEST_LIFE_S, Importer, Verification, moment
from crossport.cli.certified_read import opened_package
from crossport.cli.certified_write import Order, certify
from crossport.cli.image import Accept, teller
from crossport.cli.image_conversion import (
    UNCONVERTED,
    Attestation,
    Beside,
    check_conversion,
    conversion_tables,
    shown_conversion,
)
from crossport.cli.image_store import app
from crossport.cli.parameter import Many, pairs
from crossport.cli.session import Here, Session
from crossport.cli.text import Table, fields
from crossport.cli.trust_file import accept as accept_in
from crossport.cli.trust_file import add_key, follow, keyring_in, policy_in, seen_in
from crossport.identity.signers import open_signer
from crossport.model.certified import Check, Manifest, Outcome, PartKind, Seal
from crossport.model.codec import from_plain, plain
from crossport.model.keyring import Key, KeyRole
from crossport.spi.signer import Signer
from crossport.units import size_text

__all__ = ["app", "new_nonce", "seal", "show", "trust", "verify"]

_DAY_S = 86400.0
_MOST_DAYS = 3660
_MOST_LETTERS = 200
_STEM = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._ -]{0,79}")
_MOST_HOURS = round(LONGEST_LIFE_S / 3600)
Extra = Annotated[Path | None, Parameter(show_default=False)]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Terms:
    """Who certifies for whom, and by which key."""

    key: Annotated[str, Parameter(help="Where the sealing key lies, as in `crossport key show`.")]
    site: Annotated[str, Parameter(help="The exporting site: yours.")]
    cloud: Annotated[str, Parameter(help="The cloud that the VM comes from.")]
    importer: Annotated[str, Parameter(name="--for", help="The importing site; no other will take it.")]
    run: Annotated[str, Parameter(help="The run or ticket that it belongs to.")] = "offline"
    hours: Annotated[float, Parameter(help="How long the seal is valid.")] = 24.0
    certificate: Annotated[
        Path | None, Parameter(help="PEM, for the same key; without it, its own.", show_default=False)
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Contents:
    """What goes into the image besides the package."""

    check: Annotated[Many, Parameter(help="A check you made, like malware.scan=passed; repeatable.")] = ()
    variables: Annotated[Extra, Parameter(help="The file with the UEFI variables.")] = None
    tpm: Annotated[Extra, Parameter(help="The file with the virtual TPM's state.")] = None
    sbom: Annotated[Extra, Parameter(help="The guest's packages, CycloneDX JSON.")] = None
    ovf: Annotated[Literal[1, 2], Parameter(help="Version of OVF; some readers know only 1.")] = 2
    accept: Accept = ()

    def more(self) -> dict[PartKind, Path]:
        """Return the files by what they are."""
        given = {PartKind.VARIABLES: self.variables, PartKind.TPM: self.tpm, PartKind.SBOM: self.sbom}
        return {kind: path for kind, path in given.items() if path is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judgement:
    """By what an image is judged."""

    keyring: Annotated[Path, Parameter(help="The keys that are trusted; see `crossport image trust`.")]
    policy: Annotated[Path, Parameter(help="The import policy of this site: TOML, YAML or JSON.")]
    seen: Annotated[Extra, Parameter(help="Accept it once: what was accepted is kept in this file.")] = None
    explain: Annotated[bool, Parameter(negative=(), help="Say what every step found.")] = False
    accept: Accept = ()


@app.command
def seal(
    source: Path,
    target: Path,
    /,
    *,
    terms: Annotated[_Terms, Parameter(name="*")],
    contents: Annotated[_Contents, Parameter(name="*")] = _Contents(),
    session: Here,
) -> None:
    """Certify a package (.ova, .ovf) for another site: inspect it, and sign all of it as it leaves.

    The result is a standard OVF package whose list and certificate other tools can check, with a
    seal that `crossport image verify` checks to the last bit. Nothing is overwritten.

    For example:

      crossport image seal web.ova certified.ova --key seal.key --site alpha --cloud lab --for beta

      crossport image seal web.ova out/web.ovf --key seal.key --site alpha --cloud lab --for beta

    Parameters
    ----------
    source
        The package; `crossport image export` makes one from images.
    target
        The certified image: .ova is one file, .ovf a descriptor with files beside it.
    """
    _require_terms(terms, target)
    now = session.machine.wall()
    draft = Seal(
        site=terms.site,
        cloud=terms.cloud,
        importer=terms.importer,
        run=terms.run,
        nonce=new_nonce(session),
        made=now,
        valid_until=now + terms.hours * 3600,
        manifest=Manifest(vm=target.stem, parts=(), disks=(), checks=_checks(contents.check)),
    )
    signer = open_signer(terms.key)
    certificate = _certificate(terms.certificate, signer)
    order = Order(signer, draft, contents.more(), contents.ovf, certificate)
    made = certify(source, target, order, told=teller(session), accept=contents.accept)
    value = {"path": str(target), "key": signer.key_id, "seal": plain(made)}
    session.out.result(value, fields("", ("sealed", str(target))), *_tables(made, signer.key_id))


@app.command
def verify(
    package: Path,
    /,
    *,
    by: Annotated[_Judgement, Parameter(name="*")],
    beside: Annotated[Beside, Parameter(name="*")] = UNCONVERTED,
    session: Here,
) -> None:
    """Verify a certified image (.ova, .ovf): its seal first, then every byte against it, in numbered steps.

    Exit status 7 when it is refused, with the code of what is wrong. Without --seen nothing is
    remembered, and the same image is accepted again.

    For example:

      crossport image verify certified.ova --keyring keyring.json --policy policy.toml --explain

      crossport image verify certified.ova --keyring keyring.json --policy policy.toml \\
        --conversion web.conversion.json --converted web-root.qcow2

    Parameters
    ----------
    package
        The certified image.
    """
    rules, seen = policy_in(by.policy), seen_in(by.seen) if by.seen else Seen()
    importer = Importer(rules.site, keyring_in(by.keyring), rules, seen, session.machine.wall())
    verification = Verification(importer)
    try:
        with ExitStack() as files:
            held = opened_package(package, files, teller(session), by.accept)
            verified = verify_package(verification, held)
        attested = check_conversion(verification, verified, beside, teller(session), by.accept)
        if by.seen:
            accept_in(by.seen, lambda known: verification.accepted(verified, known))
    except errors.Refused as error:
        _explain_refusal(verification.reasons, error, session, explain=by.explain)
        raise
    found, key = verified.seal, verified.key.id()
    reasons = verification.reasons
    steps = [_steps(reasons)] if by.explain else []
    value = {"verified": True, "key": key, "seal": plain(found), "reasons": [plain(each) for each in reasons]}
    tables = _tables(found, key)
    if attested:
        value["conversion"] = {"key": attested.key.id(), "attested": plain(attested.conversion)}
        tables += conversion_tables(attested.conversion, attested.key.id())
    session.out.result(value, fields("", ("verified", str(package))), *tables, *steps)


@app.command
def show(package: Path, /, *, conversion: Attestation = None, session: Here) -> None:
    """Show what the seal of a certified image says. Nothing of it is verified: anybody can write a seal.

    For example:

      crossport image show certified.ova

    Parameters
    ----------
    package
        The certified image, .ova or .ovf.
    """
    with ExitStack() as files:
        found = opened_package(package, files, teller(session))
        name = PackageNames(found.descriptor).seal
        if name not in found.names:
            raise refused("seal.file.absent", field=name, name=name)
        envelope = opened(found.content(name, MAX_ENVELOPE))
    said = seal_in(envelope.payload)
    value = {"verified": False, "key": envelope.key_id, "seal": plain(said)}
    tables = _tables(said, envelope.key_id)
    if conversion:
        attested, key = shown_conversion(conversion)
        value["conversion"] = {"key": key, "attested": plain(attested)}
        tables += conversion_tables(attested, key)
    session.out.result(value, fields("Not verified", ("file", str(package))), *tables)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trust:
    """For what a key is trusted."""

    site: Annotated[str, Parameter(help="Whose key it is.")]
    role: Annotated[KeyRole, Parameter(help="What a single key may sign.")] = KeyRole.SEAL
    days: Annotated[float, Parameter(help="For how long a single key, from now.")] = 365.0
    root: Annotated[str, Parameter(help="The id of the site's root, the first time.", show_default=False)] = (
        ""
    )


@app.command
def trust(
    keyring: Path, public: Path, /, *, what: Annotated[_Trust, Parameter(name="*")], session: Here
) -> None:
    """Trust a site's key, or its role document with all its keys: what they sign is believed.

    The owner of a single key sends what `crossport key show KEY --json` prints, a site its role document.
    Compare the id of the key, or of the site's root, with its owner over another way. From a role document
    on, the site's keys are those of the newest one alone: bring each new one.

    For example:

      crossport image trust keyring.json alpha-key.json --site alpha

      crossport image trust keyring.json alpha.roles --site alpha --root 805b424f...

    Parameters
    ----------
    keyring
        The file of the keyring; a new one is made.
    public
        The public key, as printed by `crossport key show --json`, or the role document.
    """
    now = session.machine.wall()
    content = _read(public)
    if b'"payloadType"' in content:
        document = follow(keyring, content, what.site, what.root, now)
        session.out.result(document, _keys(document.keys, f"Keys of {document.site}"))
        return
    if not 0 < what.days <= _MOST_DAYS:
        raise _out_of_range("--days", what.days, _MOST_DAYS)
    _require_word("--site", what.site)
    until = now + what.days * _DAY_S
    key = _public(content, public, site=what.site, role=what.role, valid_from=now, valid_until=until)
    add_key(keyring, key)
    session.out.result(key, _keys((key,), f"Keys of {key.site}"))


def _keys(keys: tuple[Key, ...], title: str) -> Table:
    rows = tuple(
        (key.id(), key.role.value, moment(key.valid_until), moment(key.revoked) if key.revoked else "")
        for key in keys
    )
    return Table(("KEY", "ROLE", "UNTIL", "REVOKED"), rows, title)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise errors.NotFound(
            "trust.file.missing",
            f"{path} cannot be read: {error.strerror}.",
            field="public",
            remedy="Name the file that the site has sent.",
        ) from error


def _require_terms(terms: _Terms, target: Path) -> None:
    """Raise Invalid for what no importer would understand."""
    if not 0 < terms.hours <= _MOST_HOURS:
        raise _out_of_range("--hours", terms.hours, _MOST_HOURS)
    for option, word in (
        ("--site", terms.site),
        ("--cloud", terms.cloud),
        ("--for", terms.importer),
        ("--run", terms.run),
    ):
        _require_word(option, word)
    if not _STEM.fullmatch(target.stem):
        raise errors.Invalid(
            "image.seal.name",
            f"Files of a certified image cannot be called {target.stem!r}.",
            field="target",
            remedy="Use letters, digits, dots, dashes, spaces and underscores; no dash or dot first.",
        )


def _require_word(option: str, word: str) -> None:
    if not word.isprintable() or not 0 < len(word) <= _MOST_LETTERS:
        raise errors.Invalid(
            "image.seal.word",
            f"{word[:40]!r} cannot be the name of anything.",
            field=option,
            remedy=f"Write one to {_MOST_LETTERS} printable letters.",
        )


def _out_of_range(option: str, found: float, most: int) -> errors.Invalid:
    return errors.Invalid(
        "image.seal.period",
        f"{found:g} is no period that a seal or a key can be valid for.",
        field=option,
        remedy=f"Write a number above 0, {most} at most.",
    )


def new_nonce(session: Session) -> str:
    """Return 32 hex digits that were never used."""
    return (session.machine.new_key() + session.machine.new_key()).replace("-", "")[:32]


def _checks(texts: tuple[str, ...]) -> tuple[Check, ...]:
    found = pairs(texts, "--check", "malware.scan=passed")
    known = {outcome.value: outcome for outcome in Outcome}
    for name, outcome in found.items():
        if outcome not in known:
            raise errors.Invalid(
                "image.seal.check",
                f"{name} cannot have ended as {outcome!r}.",
                field="--check",
                remedy=f"Write one of {', '.join(known)}.",
            )
    return tuple(Check(name=name, outcome=known[outcome]) for name, outcome in found.items())


def _certificate(path: Path | None, signer: Signer) -> bytes | None:
    if path is None:
        return None
    try:
        found = x509.load_pem_x509_certificate(path.read_bytes()).public_bytes(Encoding.DER)
    except (OSError, ValueError):
        found = b""
    if certified_key(found) != signer.public_key():
        raise errors.Invalid(
            "image.seal.certificate",
            f"{path} is no certificate (PEM) of the sealing key.",
            field="--certificate",
            remedy="Name the certificate of the sealing key, or leave it out.",
        )
    return found


def _public(content: bytes, path: Path, **terms: Any) -> Key:
    try:
        told = json.loads(content)
        return from_plain({"public_key": told["public_key"], "algorithm": told["algorithm"], **terms}, Key)
    except (ValueError, KeyError, TypeError, errors.Invalid) as error:
        raise errors.Invalid(
            "trust.key.unreadable",
            f"{path} is neither a public key as `crossport key show --json` prints it, nor a role document.",
            field="public",
            remedy="Ask the key's owner for the output of: crossport key show KEY --json",
        ) from error


def _explain_refusal(
    reasons: list[Reason], error: errors.Refused, session: Session, *, explain: bool
) -> None:
    step = REFUSALS[error.code].step if error.code in REFUSALS else 0
    if session.out.as_json:
        told = {"code": error.code, "text": error.text, "remedy": error.remedy, "step": step}
        session.out.json({"verified": False, "refused": told, "reasons": [plain(each) for each in reasons]})
    elif explain:
        last = Reason(step, f"REFUSED: {error.text} [{error.code}]")
        session.out.table(_steps([*reasons, last]))


def _steps(reasons: list[Reason]) -> Table:
    rows = tuple((str(reason.step or ""), reason.text) for reason in reasons)
    return Table(("STEP", "WHAT WAS FOUND"), rows, "Steps", right=frozenset({"STEP"}))


def _tables(found: Seal, key: str) -> list[Table]:
    manifest = found.manifest
    disks = tuple(
        (disk.id, disk.file or "", disk.format, size_text(disk.size), disk.root[:16])
        for disk in manifest.disks
    )
    parts = tuple((part.kind.value, part.name, size_text(part.size)) for part in manifest.parts)
    checks = tuple((check.name, check.outcome.value, check.detail) for check in manifest.checks)
    return [
        fields(
            f"Certified image {manifest.vm}",
            ("from", f"{found.site}, cloud {found.cloud}"),
            ("for", found.importer),
            ("run", found.run),
            ("made", moment(found.made)),
            ("valid until", moment(found.valid_until)),
            ("key", key),
            ("nonce", found.nonce),
        ),
        Table(("DISK", "FILE", "FORMAT", "SIZE", "ROOT"), disks, "Disks", right=frozenset({"SIZE"})),
        Table(("PART", "FILE", "SIZE"), parts, "Parts", right=frozenset({"SIZE"})),
        Table(("CHECK", "OUTCOME", "DETAIL"), checks, "Checks"),
    ]
