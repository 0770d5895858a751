"""Certified images before programs that know nothing of us: tar, sha256sum, openssl, virt-v2v, qemu-img."""

import subprocess
from pathlib import Path

import pytest
from tests.unit.cli.desk import Desk

from crossport.identity.key_signer import KeySigner
from crossport.model.keyring import Algorithm
from crossport.testing import images


def said(*argv: str, cwd: Path) -> str:
    return subprocess.run(argv, cwd=cwd, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module", params=["1", "2"])
def package(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certified image as one file, in either version of OVF, and unpacked beside it by GNU tar."""
    folder = tmp_path_factory.mktemp("package")
    desk = Desk(folder / "nowhere")
    (folder / "web.ova").write_bytes(images.ova())
    KeySigner.made(Algorithm.ECDSA_P256).keep(folder / "seal.key")
    words = ("--key", folder / "seal.key", "--site", "alpha", "--cloud", "lab", "--for", "beta")
    files = (str(folder / "web.ova"), str(folder / "sealed.ova"))
    desk.type("image", "seal", *files, *map(str, words), "--ovf", request.param)
    assert desk.code == 0, desk.stderr.getvalue()
    said("tar", "--extract", "--file", "sealed.ova", cwd=folder)
    return folder


def test_tar_lists_it_sha256sum_checks_its_list_and_openssl_the_signature(package: Path):
    names = said("tar", "--list", "--file", "sealed.ova", cwd=package).split()
    assert names == ["sealed.ovf", "sealed.mf", "sealed.cert", "sealed.seal.json", "sealed-disk1.vmdk"]
    said("sha256sum", "--check", "--strict", "sealed.mf", cwd=package)
    first = (package / "sealed.cert").read_text().splitlines()[0]
    assert first.startswith("SHA256(sealed.mf)= ")
    (package / "list.sig").write_bytes(bytes.fromhex(first.partition("= ")[2]))
    key = said("openssl", "x509", "-in", "sealed.cert", "-noout", "-pubkey", cwd=package)
    (package / "key.pem").write_text(key)
    verified = ("-verify", "key.pem", "-signature", "list.sig", "sealed.mf")
    assert said("openssl", "dgst", "-sha256", *verified, cwd=package) == "Verified OK\n"
    own = ("-CAfile", "sealed.cert", "-partial_chain", "-x509_strict", "-no_check_time", "sealed.cert")
    assert said("openssl", "verify", *own, cwd=package) == "sealed.cert: OK\n"


def test_qemu_reads_the_disk_that_the_descriptor_describes(package: Path):
    said("qemu-img", "convert", "-f", "vmdk", "-O", "raw", "sealed-disk1.vmdk", "disk.raw", cwd=package)
    assert (package / "disk.raw").read_bytes() == images.DATA.ljust(images.DISK_SIZE, b"\0")


def test_virt_v2v_reads_the_vm_with_its_disk_and_checks_the_list(package: Path):
    told = said("virt-v2v", "-i", "ova", "sealed.ova", "-o", "null", "--print-source", cwd=package)
    if b"envelope/2" in (package / "sealed.ovf").read_bytes():
        assert "0 [scsi]" not in told  # it knows OVF 1 only: the reason for `--ovf 1`
        return
    for line in ("source name: web", "nr vCPUs: 1", "memory: 67108864 (bytes)", "0 [scsi]"):
        assert line in told, told
    other = package / "other"
    other.mkdir()
    said("tar", "--extract", "--file", "../sealed.ova", cwd=other)
    (other / "sealed-disk1.vmdk").write_bytes(b"another")
    wrong = subprocess.run(
        ["virt-v2v", "-i", "ova", "other", "-o", "null", "--print-source"],
        cwd=package,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "corrupt OVA: checksum of disk" in wrong.stderr
