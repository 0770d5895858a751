"""What every Documents keeps. A test class derives from DocumentsConformance and gives ``documents``.

The documents may be shared by the tests of a class: every test uses a kind of its own.
"""

import asyncio
import itertools

import pytest

from crossport import errors
from crossport.model.record import record
from crossport.spi.document import Document, Documents

__all__ = ["DocumentsConformance"]

_KINDS = itertools.count()
WRITERS = 8


@record()
class Note:
    """Something to keep."""

    text: str
    times: int = 0


class DocumentsConformance:
    """The suite."""

    @pytest.fixture
    def kind(self) -> str:
        """A kind that no other test uses."""
        return f"note-{next(_KINDS)}"

    async def test_what_is_put_is_fetched(self, documents: Documents, kind: str) -> None:
        """Values come back equal, of their class, with the first generation."""
        put = await documents.put(kind, "a/b", Note(text="ä ☃ \" ' % _ \\ \n", times=1 << 53))
        assert put.generation == 1
        assert await documents.fetch(kind, "a/b", Note) == put

    async def test_what_is_unknown_is_not_found(self, documents: Documents, kind: str) -> None:
        """Neither a key nor a kind that was never used is there."""
        await documents.put(kind, "a", Note(text="a"))
        for place in ((kind, "b"), (kind, "A"), (f"{kind}-other", "a")):
            with pytest.raises(errors.NotFound) as refusal:
                await documents.fetch(*place, Note)
            assert refusal.value.code == "document.unknown"

    async def test_generations_count_the_changes(self, documents: Documents, kind: str) -> None:
        """Without a generation the last writer wins, and is counted."""
        for number in range(1, 4):
            put = await documents.put(kind, "a", Note(text=str(number)))
            assert put.generation == number
        assert (await documents.fetch(kind, "a", Note)).value == Note(text="3")

    @pytest.mark.parametrize("expected", [0, 1, 3])
    async def test_a_change_of_another_generation_is_refused(
        self, documents: Documents, kind: str, expected: int
    ) -> None:
        """A writer that has not seen the last change is told so, and changes nothing."""
        await documents.put(kind, "a", Note(text="one"), generation=0)
        await documents.put(kind, "a", Note(text="two"), generation=1)
        for call in (
            documents.put(kind, "a", Note(text="late"), generation=expected),
            documents.delete(kind, "a", generation=expected),
        ):
            with pytest.raises(errors.Conflict) as refusal:
                await call
            assert refusal.value.code == "document.changed"
        assert await documents.fetch(kind, "a", Note) == Document(
            key="a", value=Note(text="two"), generation=2
        )

    async def test_a_change_of_what_is_not_there_is_refused(self, documents: Documents, kind: str) -> None:
        """A generation above 0 says that the document is there."""
        with pytest.raises(errors.Conflict):
            await documents.put(kind, "a", Note(text="late"), generation=1)
        assert await documents.list(kind, Note) == ()

    async def test_what_is_deleted_is_gone_and_may_come_again(self, documents: Documents, kind: str) -> None:
        """Deleting says whether something was there; what is not there is no conflict."""
        await documents.put(kind, "a", Note(text="a"))
        assert await documents.delete(kind, "a", generation=1) is True
        assert await documents.delete(kind, "a") is False
        assert await documents.delete(kind, "a", generation=1) is False
        assert (await documents.put(kind, "a", Note(text="b"), generation=0)).generation == 1

    async def test_a_list_has_one_kind_by_key(self, documents: Documents, kind: str) -> None:
        """Prefixes are plain text, keys go by their characters' numbers, pages follow one another."""
        keys = ["B/1", "a%/2", "a/1", "a/10", "a/2", "a_/1", "b/1"]
        for key in reversed(keys):
            await documents.put(kind, key, Note(text=key))
        await documents.put(f"{kind}-other", "a/1", Note(text="other"))
        assert [one.key for one in await documents.list(kind, Note)] == keys
        assert [one.key for one in await documents.list(kind, Note, prefix="a/")] == ["a/1", "a/10", "a/2"]
        assert [one.key for one in await documents.list(kind, Note, prefix="a%")] == ["a%/2"]
        assert [one.key for one in await documents.list(kind, Note, prefix="a_")] == ["a_/1"]
        page = await documents.list(kind, Note, limit=2)
        rest = await documents.list(kind, Note, after=page[-1].key, limit=100)
        assert [one.key for one in (*page, *rest)] == keys
        assert {one.value.text for one in page} == {"B/1", "a%/2"}

    async def test_of_many_writers_one_is_first(self, documents: Documents, kind: str) -> None:
        """Whoever expects nothing there is told when another was first."""

        won: list[str] = []
        refused: list[str] = []

        async def write(number: int) -> None:
            try:
                await documents.put(kind, "a", Note(text=str(number)), generation=0)
            except errors.Conflict as error:
                refused.append(error.code)
            else:
                won.append(str(number))

        await asyncio.gather(*map(write, range(WRITERS)))
        assert len(won) == 1
        assert refused == ["document.changed"] * (WRITERS - 1)
        assert (await documents.fetch(kind, "a", Note)).value.text == won[0]

    async def test_no_change_is_lost_between_writers(self, documents: Documents, kind: str) -> None:
        """Read, change and put with the generation, again when refused: every change counts."""
        await documents.put(kind, "a", Note(text="a"))

        async def count_up() -> None:
            while True:
                known = await documents.fetch(kind, "a", Note)
                try:
                    more = Note(text="a", times=known.value.times + 1)
                    await documents.put(kind, "a", more, generation=known.generation)
                except errors.Conflict:
                    await asyncio.sleep(0)
                else:
                    return

        await asyncio.gather(*(count_up() for _ in range(WRITERS)))
        assert (await documents.fetch(kind, "a", Note)).value.times == WRITERS

    async def test_what_is_kept_as_something_else_is_refused(self, documents: Documents, kind: str) -> None:
        """A document is read strictly as the class that was asked for."""

        @record()
        class Other:
            number: int

        await documents.put(kind, "a", Note(text="a"))
        with pytest.raises(errors.Error):
            await documents.fetch(kind, "a", Other)
