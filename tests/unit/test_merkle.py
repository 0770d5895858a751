"""The Merkle tree against the RFC's recursive definition, the slowest correct program."""

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from crossport import merkle
from crossport.testing.mover import slow_root

SIZE = 8
chunk_lists = st.lists(st.one_of(st.just(bytes(SIZE)), st.binary(min_size=SIZE, max_size=SIZE)), max_size=70)


@given(chunk_lists, st.binary(max_size=SIZE))
def test_the_streamed_root_is_the_recursive_one(chunks: list[bytes], last: bytes) -> None:
    tree = merkle.Tree(SIZE)
    for chunk in [*chunks, last]:
        tree.add(merkle.leaf(chunk))
    assert tree.root() == slow_root([*chunks, last])
    assert tree.leaf_count == len(chunks) + 1


@given(st.lists(st.one_of(st.integers(0, 40), st.binary(min_size=SIZE, max_size=SIZE)), max_size=12))
def test_a_run_of_zero_chunks_counts_as_its_chunks_one_by_one(parts: list[int | bytes]) -> None:
    tree, chunks = merkle.Tree(SIZE), list[bytes]()
    for part in parts:
        if isinstance(part, int):
            tree.add_zeros(part)
            chunks += [bytes(SIZE)] * part
        else:
            tree.add(merkle.leaf(part))
            chunks.append(part)
    assert tree.root() == slow_root(chunks)


@given(chunk_lists.filter(bool), st.data())
def test_a_changed_swapped_or_missing_chunk_changes_the_root(
    chunks: list[bytes], data: st.DataObject
) -> None:
    def root(of: list[bytes]) -> bytes:
        tree = merkle.Tree(SIZE)
        for chunk in of:
            tree.add(merkle.leaf(chunk))
        return tree.root()

    position = data.draw(st.integers(0, len(chunks) - 1))
    changed = bytes([chunks[position][0] ^ 1]) + chunks[position][1:]
    assert root([*chunks[:position], changed, *chunks[position + 1 :]]) != root(chunks)
    assert root(chunks[:-1]) != root(chunks)
    if chunks[0] != chunks[-1]:
        assert root([chunks[-1], *chunks[1:-1], chunks[0]]) != root(chunks)


def test_a_node_is_not_mistaken_for_a_chunk() -> None:
    left, right = merkle.leaf(b"a"), merkle.leaf(b"b")
    assert merkle.leaf(left + right) != slow_root([b"a", b"b"])


def test_the_empty_disk_has_the_hash_of_nothing() -> None:
    assert merkle.Tree().root() == hashlib.sha256(b"").digest()


def test_two_tebibytes_of_zeros_take_no_time_and_no_memory() -> None:
    tree = merkle.Tree()
    tree.add(merkle.leaf(b"x" * merkle.CHUNK))
    tree.add_zeros((2 << 40) // merkle.CHUNK - 1)
    assert tree.leaf_count == 8 << 20
    assert len(tree._roots) == 1  # pyright: ignore[reportPrivateUsage]


@given(st.lists(st.binary(min_size=SIZE, max_size=SIZE), min_size=1, max_size=70, unique=True), st.data())
def test_a_path_leads_from_its_own_leaf_to_the_root_and_from_no_other_place(
    chunks: list[bytes], data: st.DataObject
) -> None:
    leaves = [merkle.leaf(chunk) for chunk in chunks]
    index = data.draw(st.integers(0, len(leaves) - 1))
    way = merkle.path(leaves, index)
    assert merkle.root_along(leaves[index], index, len(leaves), way) == slow_root(chunks)
    other = data.draw(st.integers(-1, len(leaves)).filter(lambda place: place != index))
    assert merkle.root_along(leaves[index], other, len(leaves), way) != slow_root(chunks)
    for wrong in ((*way, leaves[0]), way[:-1]):
        if wrong != way:
            assert merkle.root_along(leaves[index], index, len(leaves), wrong) != slow_root(chunks)
