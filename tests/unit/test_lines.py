"""Lines of large files: whole, in order, bounded in memory, and the same by any number of processes."""

from __future__ import annotations

import gzip
import os
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qaprune.data.lines import AHEAD, Chunk, Damage, chunks, ordered_map, shards
from qaprune.errors import InputError

LINES = st.lists(st.binary(max_size=30).map(lambda line: line.replace(b"\n", b" ")), max_size=20)


@settings(max_examples=80)
@given(
    lines=LINES, size=st.integers(1, 60), end=st.booleans(), packed=st.booleans(), block=st.integers(1, 80)
)
def test_chunks_hold_every_line_once_with_its_number(tmp_path_factory, lines, size, end, packed, block):
    path = tmp_path_factory.mktemp("lines") / ("f.jsonl.gz" if packed else "f.jsonl")
    data = b"\n".join(lines) + b"\n" * end
    path.write_bytes(gzip.compress(data[:7]) + gzip.compress(data[7:]) if packed else data)
    with mock.patch("qaprune.data.lines.BLOCK_BYTES", block):
        found = list(chunks(path, "f", size))
    assert not any(isinstance(chunk, Damage) for chunk in found)
    assert b"".join(chunk.data for chunk in found) == data
    expected = [(f"f:{number}", line) for number, line in enumerate(lines, 1) if line.strip()]
    assert [pair for chunk in found for pair in chunk.lines()] == expected
    assert all(len(chunk.data) >= size and chunk.data.endswith(b"\n") for chunk in found[:-1])
    assert all(chunk.data[:-1].rfind(b"\n") + 1 < size for chunk in found), "less than a line too many"


def test_a_file_that_is_not_there_or_cut_is_a_damage_behind_what_was_read(tmp_path):
    (gone,) = chunks(tmp_path / "none.jsonl")
    assert "no such file" in gone.error
    whole = gzip.compress(os.urandom(40_000).hex().encode() + b"\nlast\n")
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(b"a\nb\n") + whole[: len(whole) // 2])
    first, damage = chunks(tmp_path / "cut.jsonl.gz")
    assert first.data == b"a\nb\n"
    assert "damaged or cut gzip file" in damage.error
    assert "behind line 2" in damage.error


def test_shards_are_taken_by_name_and_nothing_else(tmp_path):
    for name in ("b.jsonl", "a.jsonl.gz", "c.json", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "folder.jsonl").mkdir()
    assert [path.name for path in shards(tmp_path)] == ["a.jsonl.gz", "b.jsonl"]
    assert shards(tmp_path / "c.json") == [tmp_path / "c.json"]
    with pytest.raises(InputError, match="no such file or folder"):
        shards(tmp_path / "none")


def doubled(number: int) -> int:
    if number == 13:
        raise InputError("f:13: unlucky")
    return 2 * number


@pytest.mark.parametrize("processes", [1, 2])
def test_results_come_in_order_and_errors_come_through(processes):
    assert list(ordered_map(doubled, iter(range(12)), processes)) == [2 * n for n in range(12)]
    with pytest.raises(InputError, match="f:13: unlucky"):
        list(ordered_map(doubled, iter(range(20)), processes))


def test_no_more_is_read_ahead_than_is_worked_on():
    read = []

    def numbers():
        for number in range(12):
            read.append(number)
            yield number

    for done, _ in enumerate(ordered_map(doubled, numbers(), 2), 1):
        assert len(read) <= done + 2 * AHEAD


def test_lines_may_end_as_windows_ends_them():
    assert list(Chunk("f", 3, b"a\r\n\r\nb").lines()) == [("f:3", b"a\r"), ("f:5", b"b")]
