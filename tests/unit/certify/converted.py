"""The image of `tests.unit.certify.world`, converted by the importing site, and how it verifies that."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.unit.certify.world import CHUNK, DISKS, HOUR, NOW, World, key, root_of

from crossport.certify.conversion import Attested, as_converted, attested, sealed_statement, verify_conversion
from crossport.certify.disk import InOrder, check_in_order
from crossport.certify.envelope import wrapped
from crossport.identity.key_signer import KeySigner
from crossport.model.certified import Check, Outcome
from crossport.model.conversion import Conversion, ConvertedDisk, Parameter, Tool
from crossport.model.keyring import Algorithm
from crossport.model.statement import canonical, conversion_payload

TOOL = Tool(
    name="virt-v2v",
    version="2.2.0",
    image="7a" * 32,
    parameters=(Parameter(name="root", value="first"), Parameter(name="drivers", value="virtio")),
)
CONVERTED = {"disk1": DISKS["disk1"].replace(b"r", b"v", 5), "disk2": DISKS["disk2"]}


class ConvertedWorld(World):
    """The site beta has converted the image that alpha sealed for it, and kept what became of its disks."""

    def __init__(self, algorithm: Algorithm = Algorithm.ECDSA_P256) -> None:
        super().__init__(algorithm)
        self.own = KeySigner.made(algorithm)
        self.keys.append(key(self.own, site="beta"))
        self.converted = dict(CONVERTED)
        self.tools = {TOOL.image}
        self.conversion = Conversion(
            site="beta",
            cloud="compute",
            run=self.seal.run,
            seal=sealed_statement(self.seal),
            nonce="c0" * 16,
            tool=TOOL,
            input=tuple(as_converted(disk) for disk in self.seal.manifest.disks),
            output=tuple(disk_of(name, content) for name, content in CONVERTED.items()),
            started=NOW - HOUR / 2,
            finished=NOW - HOUR / 4,
            boot=Check(name="boot.test", outcome=Outcome.PASSED),
        )
        self.attestation = attested(self.conversion, self.own)

    def attest(self, *, signer: KeySigner | None = None, **changes: Any) -> None:
        """Attest anew, with these fields changed, whatever sense that makes."""
        self.conversion = replace(self.conversion, **changes)
        self.attestation = wrapped(conversion_payload(self.conversion), signer or self.own)

    def attest_plain(self, payload: dict[str, Any]) -> None:
        """Sign any payload at all, as only who holds the key can."""
        self.attestation = wrapped(canonical(payload), self.own)

    def change_own_key(self, **changes: Any) -> None:
        """Know the importing site's key otherwise."""
        self.keys[-1] = replace(self.keys[-1], **changes)

    def verify_conversion(self) -> Attested:
        """Verify the package, the attestation, and what is started; raise Refused."""
        verification = self.verification()
        verified = self.verify_by(verification)
        found = verify_conversion(verification, verified.seal, self.attestation, self.tools)
        for disk in found.conversion.output:
            content = self.converted[disk.id]
            chunks = [content[at : at + CHUNK] for at in range(0, len(content), CHUNK)]
            check_in_order(InOrder(disk, "conversion"), chunks)
        return found


def disk_of(name: str, content: bytes) -> ConvertedDisk:
    """Return a converted disk that holds ``content``."""
    return ConvertedDisk(id=name, size=len(content), chunk_size=CHUNK, root=root_of(content))


Plant = Callable[[ConvertedWorld], None]
