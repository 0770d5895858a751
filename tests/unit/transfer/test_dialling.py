"""Which end dials the other: the sender, or else the receiver; what worked is tried first the next time."""

from dataclasses import replace

import pytest

from crossport import errors
from crossport.model.artifact import Place
from crossport.transfer.dialling import Dialling

SOURCE = Place(cloud="alpha", subnet="VMExportSubnet", address="192.0.2.1")
TARGET = Place(cloud="beta", subnet="VMImportSubnet", address="192.0.2.2")


class Link:
    """A link over which only those of ``open_`` may dial."""

    def __init__(self, *open_: bool, code: str = "transfer.peer.unreachable") -> None:
        self.open = open_
        self.code = code
        self.tried: list[bool] = []

    async def __call__(self, sender_dials: bool) -> bool:
        self.tried.append(sender_dials)
        if sender_dials not in self.open:
            end = "target" if sender_dials else "source"
            raise errors.Unavailable(self.code, f"The {end} does not answer.")
        return sender_dials


@pytest.mark.parametrize(("open_", "tried"), [((True, False), [True]), ((False,), [True, False])])
async def test_the_sender_dials_first(open_: tuple[bool, ...], tried: list[bool]):
    link = Link(*open_)
    await Dialling().either(SOURCE, TARGET, link)
    assert link.tried == tried


async def test_what_worked_between_two_places_is_tried_first_the_next_time():
    dialling, link = Dialling(), Link(False)
    for _ in range(2):
        await dialling.either(SOURCE, TARGET, link)
    assert link.tried == [True, False, False]
    await dialling.either(SOURCE, replace(TARGET, cloud="gamma"), link)
    assert link.tried[3:] == [True, False]


@pytest.mark.parametrize("end", ["source", "target"])
async def test_an_end_without_an_address_is_not_dialled(end: str):
    source, target = (
        replace(one, address="") if name == end else one
        for name, one in (("source", SOURCE), ("target", TARGET))
    )
    link = Link(True, False)
    await Dialling().either(source, target, link)
    assert link.tried == [end == "source"]


async def test_when_neither_reaches_the_other_both_are_named():
    with pytest.raises(errors.Unavailable) as caught:
        await Dialling().either(SOURCE, TARGET, Link())
    assert caught.value.code == "transfer.peer.unreachable"
    assert "The target does not answer. The source does not answer." in caught.value.text
    assert caught.value.remedy


async def test_another_failure_is_not_tried_the_other_way_round():
    link = Link(code="transfer.link.closed")
    with pytest.raises(errors.Unavailable) as caught:
        await Dialling().either(SOURCE, TARGET, link)
    assert (caught.value.code, link.tried) == ("transfer.link.closed", [True])
