"""Reading what stages left: tables of any form, per-question scores that must agree."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qaprune.errors import InputError
from qaprune.report.csvfile import read_columns, split_plain, split_quoted
from qaprune.report.scores import read_questions

WORDS = st.text(st.characters(exclude_characters='",\r\n\x00', exclude_categories=["Cs"]), max_size=4)


@given(st.lists(st.tuples(WORDS, WORDS, WORDS), min_size=1, max_size=5))
def test_both_ways_to_split_a_table_agree(body: list[tuple[str, ...]]):
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows([("a", "b", "c"), *body])
    text = stream.getvalue()
    plain = split_plain(text)
    assert plain is None or plain == split_quoted(text, Path("x"))
    assert (plain is None) == ('"' in text)


def table(folder: Path, text: str) -> Path:
    path = folder / "table.csv"
    path.write_bytes(text.encode())
    return path


def test_quotes_line_ends_of_windows_and_a_missing_last_one(tmp_path: Path):
    assert read_columns(table(tmp_path, 'a,b\n"x,y",2\n')) == {"a": ["x,y"], "b": ["2"]}
    assert read_columns(table(tmp_path, "a,b\r\n1,2\r\n")) == {"a": ["1"], "b": ["2"]}
    assert read_columns(table(tmp_path, "a,b\n1,2")) == {"a": ["1"], "b": ["2"]}
    assert read_columns(table(tmp_path, "a\n1\n")) == {"a": ["1"]}
    assert read_columns(table(tmp_path, "a,b\n")) == {"a": [], "b": []}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a header line"),
        ("a,b\n1,2\n3\n4,5\n", r"table\.csv:3: expected 2 fields, found 1"),
        ("a,b\n1,2,3\n4\n", r"table\.csv:2: expected 2 fields, found 3"),
        ("a,b\n1,2\n\n3,4\n", r"table\.csv:3: expected 2 fields, found 0"),
    ],
)
def test_ragged_tables_are_named_by_their_line(text: str, message: str, tmp_path: Path):
    with pytest.raises(InputError, match=message):
        read_columns(table(tmp_path, text))


HEADER = "variant,id,group,em,f1,has_answer\n"


def test_the_order_of_questions_does_not_matter_but_which_were_asked_does(tmp_path: Path):
    same = HEADER + "t,q1,p,1,1,1\nt,q2,p,0,0.5,1\nv,q2,p,0,0,1\nv,q1,p,0,0,1\n"
    found = read_questions(table(tmp_path, same))
    assert (found.asked, found.long) == ((("q1", "p"), ("q2", "p")), None)
    assert found.sums.f1().tolist() == [75, 0]
    for other in (same.replace("v,q1", "v,q3"), same.replace("v,q1", "v,q2"), same + "v,q1,p,0,0,1\n"):
        with pytest.raises(InputError, match="variants 't' and 'v' did not answer the same questions"):
            read_questions(table(tmp_path, other))


@pytest.mark.parametrize(
    "text", [HEADER + "t,q1,p,1,half,1\n", HEADER + "t,q1,p,1,nan,1\n", "variant,id,group\nt,q1,p\n"]
)
def test_scores_that_are_none_are_named(text: str, tmp_path: Path):
    with pytest.raises(InputError, match="expected numbers in the columns"):
        read_questions(table(tmp_path, text))
