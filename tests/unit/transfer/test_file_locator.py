"""Locators of plain files: what they say of changes is laid over what the file system says of holes."""

import pytest

from crossport.model.artifact import Extent
from crossport.model.locator import changes_laid_over, file_locator, file_of


@pytest.mark.parametrize("changed", [None, (), ((0, 4096),), ((4096, 10), (8192, 4096))])
def test_a_locator_is_read_as_it_was_written(changed: tuple[tuple[int, int], ...] | None):
    assert file_of(file_locator("/a?b=c/disk", changed)) == ("/a?b=c/disk", changed)


def test_a_path_that_only_looks_like_one_with_changes_is_a_path():
    assert file_of("/disk?changed=all") == ("/disk?changed=all", None)


def test_extents_are_cut_where_changes_begin_and_end():
    extents = [Extent(0, 100, zero=True), Extent(100, 100)]
    assert list(changes_laid_over(extents, ((50, 100), (190, 100)))) == [
        Extent(0, 50, zero=True, changed=False),
        Extent(50, 50, zero=True),
        Extent(100, 50),
        Extent(150, 40, changed=False),
        Extent(190, 10),
    ]


def test_without_knowledge_everything_has_changed():
    assert list(changes_laid_over([Extent(0, 10)], None)) == [Extent(0, 10)]
    assert list(changes_laid_over([Extent(0, 10)], ())) == [Extent(0, 10, changed=False)]
