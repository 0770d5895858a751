"""The SBOM that is made of what a guest holds, and what is read of it again."""

import json

from crossport.certify.sbom import Package, differing, packages_in, sbom_of
from crossport.model.inspection import Guest, GuestPackage, PackageKind

SHELL = GuestPackage(kind=PackageKind.DEB, name="bash", version="5.2.15-2+b7", architecture="amd64")
LIBRARY = GuestPackage(kind=PackageKind.DEB, name="libstdc++6", version="1:12~rc1", architecture="")
GUEST = Guest(system="debian", release="12", listed=True, packages=(LIBRARY, SHELL))


def test_it_is_cyclonedx_with_the_urls_of_the_packages():
    document = json.loads(sbom_of(GUEST))
    assert (document["bomFormat"], document["specVersion"], document["version"]) == ("CycloneDX", "1.5", 1)
    assert [one["purl"] for one in document["components"]] == [
        "pkg:deb/debian/bash@5.2.15-2%2Bb7?arch=amd64&distro=debian-12",
        "pkg:deb/debian/libstdc%2B%2B6@1:12~rc1?distro=debian-12",
    ]
    assert len({one["bom-ref"] for one in document["components"]}) == len(GUEST.packages)


def test_what_was_written_is_read_again():
    found = packages_in(sbom_of(GUEST))
    assert [(one.name, one.version) for one in found] == [
        ("bash", "5.2.15-2+b7"),
        ("libstdc++6", "1:12~rc1"),
    ]


def test_the_same_guest_gives_the_same_bytes_in_whatever_order_it_lists():
    assert sbom_of(GUEST) == sbom_of(
        Guest(system="debian", release="12", listed=True, packages=(SHELL, LIBRARY))
    )


def test_packages_that_only_one_side_names_are_counted():
    mine = [Package("a", "1", ""), Package("b", "1", "")]
    assert differing(mine, mine[::-1]) == 0
    assert differing(mine, [Package("a", "2", ""), Package("b", "1", "")]) == 2
