"""Figures that no clock decides are what benchmarks/exact.json says, and a change of one is named."""

from __future__ import annotations

import json

import pytest

from benchmarks import exact
from qaprune.errors import InputError
from qaprune.models import cost


def test_flops_and_parameters_are_the_kept_ones():
    found = exact.model_figures()
    changed = exact.differences({key: exact.read_exact()[key] for key in found}, found)
    assert not changed, exact.explain(changed)


def test_windows_and_bytes_are_the_kept_ones(tmp_path):
    found = exact.file_figures(tmp_path)
    changed = exact.differences({key: exact.read_exact()[key] for key in found}, found)
    assert not changed, exact.explain(changed)


def test_every_kind_of_figure_and_every_config_is_kept():
    kept = exact.read_exact()
    assert set(kept) == {"bytes", "flops", "jobs", "parameters", "windows"}
    assert set(kept["jobs"]) == {config.stem for config in exact.CONFIGS}, "make exact"
    assert all(isinstance(value, int) and value > 0 for _, value in exact.flat(kept))


def test_a_changed_formula_is_caught(monkeypatch):
    """One FLOP too many a feed-forward unit: every budget and length must say so."""
    honest = cost.unit_flops
    monkeypatch.setattr(cost, "unit_flops", lambda shape, length: honest(shape, length) + 1)
    monkeypatch.setattr(exact, "SIZES", ["bert-2x128"])
    found = dict(exact.flat({"flops": exact.model_figures()["flops"]}))
    kept = {name: value for name, value in exact.flat(exact.read_exact()) if name in found}
    changed = exact.differences(kept, found)
    assert len(changed) == len(kept) == len(exact.BUDGETS) * len(exact.LENGTHS)


def test_the_message_names_figure_expected_and_found():
    before = {"jobs": {"small": {"teacher": 1, "prune": 5}}, "flops": {"a": 1_000}}
    after = {"jobs": {"small": {"teacher": 2, "prune": 5}, "new": {"total": 7}}, "flops": {}}
    assert exact.differences(before, before) == []
    text = exact.explain(exact.differences(before, after))
    assert "make exact" in text
    assert "jobs.small.teacher: expected 1, found 2" in text
    assert "jobs.new.total: expected no such figure, found 7" in text
    assert "flops.a: expected 1,000, found no such figure" in text
    assert "prune" not in text


def test_check_and_renewal(tmp_path, monkeypatch, capsys):
    """The check fails on a planted change and leaves the file; the renewal writes it; then all is well."""
    path = tmp_path / "exact.json"
    path.write_text(json.dumps({"flops": {"a": 1}}))
    monkeypatch.setattr(exact, "EXACT", path)
    monkeypatch.setattr(exact, "all_figures", lambda: {"flops": {"a": 2}})
    assert exact.main([]) == 3
    assert "flops.a: expected 1, found 2" in capsys.readouterr().out
    assert json.loads(path.read_text()) == {"flops": {"a": 1}}
    assert exact.main(["--renew"]) == 0
    assert "flops.a: expected 1, found 2" in capsys.readouterr().out
    assert json.loads(path.read_text()) == {"flops": {"a": 2}}
    assert exact.main([]) == 0
    assert "as expected" in capsys.readouterr().out
    assert [file.name for file in tmp_path.iterdir()] == ["exact.json"]


@pytest.mark.parametrize("content", ["{", "[1]"])
def test_a_damaged_file_is_one_line(tmp_path, monkeypatch, content):
    path = tmp_path / "exact.json"
    path.write_text(content)
    monkeypatch.setattr(exact, "EXACT", path)
    with pytest.raises(InputError, match=r"exact\.json"):
        exact.read_exact()


def test_jobs_are_counted_from_the_table_of_a_dry_run():
    text = (
        "Job stats:\njob   count\n----  -----\nall       1\nteacher_plus     24\ntotal    25\n\nReasons:\n"
    )
    assert exact.count_jobs(text) == {"all": 1, "teacher_plus": 24, "total": 25}
