# pyright: basic
"""Seals and SBOMs before the reference libraries of DSSE, in-toto and CycloneDX, which carry few types."""

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import load_der_public_key
from cyclonedx.model import bom, component
from cyclonedx.output.json import JsonV1Dot6
from google.protobuf.json_format import Parse
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.statement import Statement
from packageurl import PackageURL
from securesystemslib import signer as keys
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from tests.unit.certify.world import NAMES, World

from crossport.certify.sbom import Package, packages_in
from crossport.model.keyring import Algorithm

# What decorators and generators make of them, type checkers do not follow.
Component: Any = component.Component
Bom: Any = bom.Bom
FORMS: Any = statement_pb2
KEYS: Any = keys


@pytest.mark.parametrize("algorithm", Algorithm)
def test_the_libraries_of_dsse_and_in_toto_verify_the_seal_and_read_the_statement(algorithm: Algorithm):
    world = World(algorithm)
    envelope = Envelope.from_dict(json.loads(world.files[NAMES.seal]))
    key = KEYS.SSlibKey.from_crypto(load_der_public_key(world.signer.public_key()), keyid=world.signer.key_id)
    assert list(envelope.verify([key], 1)) == [world.signer.key_id]
    form = Parse(envelope.payload, FORMS.Statement())
    Statement.copy_from_pb(form).validate()
    assert [subject.name for subject in form.subject][-2:] == ["web-disk1.raw", "web-disk2.raw"]
    envelope.payload += b" "
    with pytest.raises(VerificationError):
        envelope.verify([key], 1)


def test_an_sbom_of_the_reference_library_is_read():
    purl = PackageURL("deb", "debian", "openssl", "3.0.17")
    inner = Component(name="xz-utils", version="5.6.1-1")
    outer = Component(name="openssl", version="3.0.17", purl=purl, components=[inner])
    text = JsonV1Dot6(Bom(components=[outer, Component(name="unversioned")])).output_as_string()
    assert set(packages_in(text.encode())) == {
        Package("openssl", "3.0.17", "pkg:deb/debian/openssl@3.0.17"),
        Package("xz-utils", "5.6.1-1", ""),
        Package("unversioned", "", ""),
    }
