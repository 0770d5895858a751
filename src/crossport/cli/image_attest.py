"""`crossport image attest`: the attestation of a guest conversion that a person made, offline, as a file."""

import hashlib
import re
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from crossport import errors
from crossport.certify.conversion import as_converted, attested, sealed_statement, verify_conversion
from crossport.certify.disk import measured
from crossport.certify.package import verify_package
from crossport.certify.replay import Seen
from crossport.certify.verify import Importer, Verification
from crossport.cli.certified_read import guest_chunks, opened_package
from crossport.cli.image import Accept, teller
from crossport.cli.image_conversion import conversion_tables, counted
from crossport.cli.image_seal import app, new_nonce
from crossport.cli.parameter import Many, moment, pairs
from crossport.cli.session import Here
from crossport.cli.text import fields
from crossport.cli.trust_file import keyring_in, policy_in
from crossport.convert.formats import OnProgress, Source
from crossport.identity import private_file
from crossport.identity.signers import open_signer
from crossport.model import conversion as model
from crossport.model.codec import plain
from crossport.model.conversion import Conversion, ConvertedDisk, Tool

__all__ = ["app", "attest"]

_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Means:
    """Who attests, and by what the image is judged before."""

    key: Annotated[str, Parameter(help="Where the importing site's sealing key lies.")]
    cloud: Annotated[str, Parameter(help="The cloud that the VM goes to.")]
    keyring: Annotated[Path, Parameter(help="The keys that are trusted, your own among them.")]
    policy: Annotated[Path, Parameter(help="The import policy of this site: TOML, YAML or JSON.")]
    accept: Accept = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """What was done by which tool."""

    converted: Annotated[
        tuple[Path, ...],
        Parameter(help="A converted disk, as an image; one for each, in the guest's order.", negative=()),
    ]
    tool: Annotated[str, Parameter(help="The tool's name.")]
    version: Annotated[str, Parameter(name="--tool-version", help="The tool's version.")]
    image: Annotated[
        str, Parameter(name="--tool-image", help="The file that the tool was started from, or its SHA-256.")
    ]
    began: Annotated[str, Parameter(help="When it began, like 2026-12-31T22:30.")]
    setting: Annotated[Many, Parameter(help="A setting of the tool, like root=first; repeatable.")] = ()


@app.command
def attest(
    package: Path,
    target: Path,
    /,
    *,
    means: Annotated[_Means, Parameter(name="*")],
    work: Annotated[_Work, Parameter(name="*")],
    session: Here,
) -> None:
    """Attest a guest conversion: which certified image went in, what a tool made of its disks, and when.

    The image is verified first, and the attestation last, as `crossport image verify` does. For
    whoever converts by hand; nothing is overwritten.

    For example:

      crossport image attest certified.ova web.conversion.json --converted web-root.qcow2 \\
        --tool virt-v2v --tool-version 2.2.0 --tool-image /usr/bin/virt-v2v --began 2026-12-31T22:30 \\
        --key beta.key --cloud lab --keyring keyring.json --policy policy.toml

    Parameters
    ----------
    package
        The certified image, .ova or .ovf, as it came.
    target
        The new file with the attestation.
    """
    now, rules = session.machine.wall(), policy_in(means.policy)
    importer = Importer(rules.site, keyring_in(means.keyring), rules, Seen(), now)
    verification, told = Verification(importer), teller(session)
    with ExitStack() as files:
        seal = verify_package(verification, opened_package(package, files, told, means.accept)).seal
    sealed = seal.manifest.disks
    counted(len(sealed), work.converted)
    came = tuple(map(as_converted, sealed))
    left = tuple(_left(disk, path, told, means) for disk, path in zip(came, work.converted, strict=True))
    signer = open_signer(means.key)
    conversion = Conversion(
        site=rules.site,
        cloud=means.cloud,
        run=seal.run,
        seal=sealed_statement(seal),
        nonce=new_nonce(session),
        tool=_tool(work),
        input=came,
        output=left,
        started=moment(work.began, now, "--began"),
        finished=session.machine.wall(),
    )
    envelope = attested(conversion, signer)
    verify_conversion(verification, seal, envelope)
    private_file.create(target, envelope)
    value = {"path": str(target), "key": signer.key_id, "attested": plain(conversion)}
    tables = conversion_tables(conversion, signer.key_id)
    session.out.result(value, fields("", ("attested", str(target))), *tables)


def _left(disk: ConvertedDisk, path: Path, told: OnProgress, means: _Means) -> ConvertedDisk:
    """Return what became of ``disk``, as the image at ``path`` holds it."""
    size = disk.chunk_size
    return measured(disk.id, size, guest_chunks(Source(path, None), size, told, means.accept))


def _tool(work: _Work) -> Tool:
    settings = pairs(work.setting, "--setting", "root=first")
    parameters = tuple(model.Parameter(name=name, value=value) for name, value in settings.items())
    return Tool(name=work.tool, version=work.version, image=_digest(work.image), parameters=parameters)


def _digest(said: str) -> str:
    """Return the SHA-256 that is said, or of the file that is named."""
    if _DIGEST.fullmatch(said):
        return said
    try:
        with Path(said).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise errors.NotFound(
            "image.conversion.tool",
            f"{said} cannot be read: {error.strerror}.",
            field="--tool-image",
            remedy="Name the file that the tool was started from, or its SHA-256 in hex.",
        ) from error
