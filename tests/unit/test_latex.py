"""LaTeX: tables and commands that compile with booktabs alone, and say what points.csv says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from qaprune.report.collect import collect
from qaprune.report.columns import NAMES
from qaprune.report.latex import escape, points_tex, signed
from qaprune.report.macros import letters, macros_tex
from qaprune.report.rows import build_rows, name_of
from tests.unit.report_data import SHARES, write_evaluate, write_profile

KNOWN = {
    *("begin", "end", "centering", "caption", "label", "footnotesize", "setlength", "tabcolsep"),
    *("toprule", "midrule", "bottomrule", "newcommand"),
    *("textbackslash", "textasciitilde", "textasciicircum"),
}
"""Commands of plain LaTeX and booktabs that may occur; escaped signs besides."""


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    """SQuAD 2.0 with two seeds, NQ with one that was not profiled."""
    folder = tmp_path_factory.mktemp("results")
    squad = [write_evaluate(folder, "bert", "squad2", seed) for seed in (13, 14)]
    profile = [write_profile(folder, run.name) for run in squad]
    return build_rows(collect([*squad, write_evaluate(folder, "my_bert", "nq")], profile), 200)


def check_syntax(text: str) -> None:
    """Balanced braces and environments, known commands, no sign that LaTeX would act on."""
    assert text.isascii()
    code = "\n".join(re.sub(r"(?<!\\)%.*", "", line) for line in text.splitlines())
    bare = re.sub(r"\\[&%$#_{}\\]", "", code)
    depth = 0
    for letter in bare:
        depth += {"{": 1, "}": -1}.get(letter, 0)
        assert depth >= 0
    assert depth == 0
    assert not set(bare) & set("#~^_")
    assert bare.count("$") % 2 == 0
    commands = set(re.findall(r"\\([A-Za-z]+)", bare))
    own = set(re.findall(r"\\newcommand\{\\([A-Za-z]+)\}", bare))
    assert commands - own <= KNOWN
    begun, ended = (re.findall(rf"\\{word}\{{(\w+)\}}", bare) for word in ("begin", "end"))
    assert sorted(begun) == sorted(ended)


def test_syntax_of_both_files(rows: list[dict]):
    check_syntax(points_tex(rows))
    check_syntax(macros_tex(rows))


@pytest.mark.parametrize("fault", [r"\begin{table}", "{", r"\unknown", "50 # of", "a_b", r"$-1"])
def test_the_check_finds_a_planted_fault(fault: str, rows: list[dict]):
    with pytest.raises(AssertionError):
        check_syntax(points_tex(rows) + fault)


def test_every_line_of_a_table_has_as_many_cells_as_its_head(rows: list[dict]):
    tables = points_tex(rows).split(r"\begin{table}")[1:]
    assert len(tables) == 2
    for table in tables:
        columns = len(re.search(r"\{@\{\}(l?r+)@\{\}\}", table)[1])
        lines = [line for line in table.splitlines() if line.endswith(r"\\")]
        assert {len(re.split(r"(?<!\\)&", line)) for line in lines} == {columns}


def test_several_seeds_are_one_table_of_means(rows: list[dict]):
    squad, nq = points_tex(rows).split(r"\begin{table}")[1:]
    assert squad.count("l0-h50-f50/distilled") == 1
    assert "standard deviation between the seeds" in squad
    assert "95" not in squad.partition(r"\toprule")[2]
    assert r"longest\_candidate" in nq
    assert "long F1" in nq


def test_a_command_is_a_number_of_the_table(rows: list[dict]):
    found = dict(re.findall(r"\\newcommand\{\\(\w+)\}\{(.*)\}$", macros_tex(rows), flags=re.M))
    row = next(r for r in rows if r["seed"] == 13 and name_of(r) == "l0-h50-f50/pruned")
    stem = "qapBertSquadTwoSeedOneThreeLZeroHFiveZeroFFiveZeroPruned"
    assert found[f"{stem}FOne"] == f"{row['f1']:.1f}"
    assert found[f"{stem}FOneInterval"] == f"{row['f1_low']:.1f} to {row['f1_high']:.1f}"
    assert found[f"{stem}FOneDelta"] == f"${row['delta_f1']:+.1f}$"
    assert found[f"{stem}Speedup"] == f"{row['speedup']:.2f}"
    assert f"{stem}SpeedupInterval" in found
    assert f"{stem}LongFOne" not in found
    assert "qapMyBertNqSeedOneThreeTeacherLongFOneInterval" in found
    assert "qapMyBertNqSeedOneThreeTeacherSpeedup" not in found, "not measured: no command"
    other = next(r for r in rows if r["seed"] == 14 and name_of(r) == "l0-h50-f50/pruned")
    mean = stem.replace("SeedOneThree", "Mean")
    assert found[f"{mean}FOne"] == f"{(row['f1'] + other['f1']) / 2:.1f}"
    assert float(found[f"{mean}FOneSd"]) == pytest.approx(abs(row["f1"] - other["f1"]) / 2**0.5, abs=0.06)


def test_names_of_commands_are_unique_and_of_letters(rows: list[dict]):
    names = re.findall(r"\\newcommand\{\\([^}]*)\}", macros_tex(rows))
    assert len(names) == len(set(names)) > 6 * len(SHARES)
    assert all(name.isascii() and name.isalpha() for name in names)


def test_rows_that_would_share_a_name_have_no_command():
    common = dict.fromkeys(NAMES) | {"dataset": "nq", "seed": 1, "variant": "teacher"}
    text = macros_tex([common | {"model": name, "f1": 50.0} for name in ("a-b", "a_b")])
    assert r"\newcommand" not in text
    assert "left out, 2 rows would share the name qapABNqSeedOneTeacherFOne" in text


def test_digits_and_signs_are_words():
    assert letters("h50-f40.5") == "HFiveZeroFFourZeroPointFive"
    assert letters("teacher+") == "TeacherPlus"
    assert letters("no-answer") == "NoAnswer"


def test_signs_of_latex_are_escaped_and_numbers_get_a_minus():
    assert escape(r"a_b & 5 % {x} #1 $ ~^\ é") == (
        r"a\_b \& 5 \% \{x\} \#1 \$ \textasciitilde{}\textasciicircum{}\textbackslash{} ?"
    )
    assert signed("-6.8 to +0.3") == "$-6.8$ to $+0.3$"
    assert signed("46.2 to 49.6") == "46.2 to 49.6"


def test_the_files_are_beside_the_other_tables(tmp_path: Path):
    from qaprune.report.stage import build_report

    build_report({"resamples": 100}, [write_evaluate(tmp_path, "bert", "squad2")], [], tmp_path / "out")
    for name in ("points.tex", "macros.tex"):
        check_syntax((tmp_path / "out" / "tables" / name).read_text())
