"""report.html without a browser: whole, offline, safe from what configs say, honest about gaps, small."""

from __future__ import annotations

import base64
import hashlib
import re
import time
import tomllib
from pathlib import Path
from urllib.parse import unquote

import pytest

from qaprune.report.collect import collect
from qaprune.report.columns import NAMES, Row
from qaprune.report.page import build
from qaprune.report.page.build import Figure
from qaprune.report.page.numbers import number
from qaprune.report.rows import build_rows, matrix_rows
from qaprune.report.stage import build_report
from qaprune.report.style import looks
from tests.conftest import ROOT
from tests.unit.page_data import HOSTILE, Parsed, add_batch, hostile, page_of, stage_page
from tests.unit.report_data import write_evaluate, write_profile


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    return stage_page(tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="module")
def parsed(page: str) -> Parsed:
    return Parsed(page)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Row], list[Row]]:
    """Rows and matrix of one timed run."""
    folder = tmp_path_factory.mktemp("rows")
    run = write_evaluate(folder, "bert", "squad2")
    profile = write_profile(folder, run.name, settings=(("eager", 1.5), ("sdpa", 1.0)))
    add_batch(profile)
    runs = collect([run], [profile])
    return build_rows(runs, 200), matrix_rows(runs, 200)


def test_elements_are_nested_and_ids_are_found_once(parsed: Parsed):
    assert parsed.nesting == []
    ids = [attributes["id"] for _, attributes in parsed.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in parsed.elements:
        for name in ("aria-labelledby", "aria-describedby"):
            assert set((attributes.get(name) or "").split()) <= set(ids)
        target = attributes.get("href") or ""
        assert not target.startswith("#") or target[1:] in ids


def test_nothing_is_asked_of_any_network(page: str, parsed: Parsed):
    for _, attributes in parsed.elements:
        for name in ("src", "href", "srcset", "action", "data", "poster", "background"):
            value = attributes.get(name) or "#"
            assert value.startswith(("#", "data:")), (name, value[:60])
    style = next(data for tag, data in parsed.texts if tag == "style")
    assert not re.search(r"@import|url\(", style)
    script = [data for tag, data in parsed.texts if tag == "script"][-1]
    assert not re.search(r"\bfetch\(|XMLHttp|WebSocket|sendBeacon|import\(|innerHTML|eval\(", script)


def test_the_policy_lets_only_this_style_and_script_run(parsed: Parsed):
    policy = next(a["content"] for a in parsed.all("meta") if a.get("http-equiv"))
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    style = next(data for tag, data in parsed.texts if tag == "style")
    script = [data for tag, data in parsed.texts if tag == "script"][-1]
    for text in (style, script):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    for _, attributes in parsed.elements:
        assert not [name for name in attributes if name == "style" or name.startswith("on")]


def test_what_configs_say_is_text(rows):
    figure = Figure("f", HOSTILE, HOSTILE, None, HOSTILE)
    found = Parsed(page_of(hostile(rows[0]), figures=[figure], name=HOSTILE))
    assert len(found.all("script")) == 2
    assert found.nesting == []
    assert not [a for a in found.all("b") if a]
    assert HOSTILE in found.text("h3")
    assert HOSTILE in found.text("title")
    data = found.data()
    place = [column["name"] for column in data["columns"]].index("model")
    assert {values[place] for values in data["rows"]} == {HOSTILE}


def test_braces_in_a_name_are_no_placeholder(rows):
    assert "{{script}}" in Parsed(page_of(rows[0], name="{{script}}")).text("title")


def test_the_block_holds_every_row_with_every_column_that_one_fills(rows):
    data = Parsed(page_of(*rows)).data()
    names = [column["name"] for column in data["columns"]]
    filled = [name for name in NAMES if any(row[name] is not None for row in rows[0])]
    assert set(names) >= set(filled) - {"schema_version"}
    assert "energy_j" not in names
    assert len(data["rows"]) == len(rows[0])
    for values, row in zip(data["rows"], rows[0], strict=True):
        for name, value in zip(names, values, strict=True):
            assert value == (pytest.approx(row[name]) if isinstance(row[name], float) else row[name])


def test_every_batch_has_each_variant_at_its_fastest_setting(rows):
    data = Parsed(page_of(*rows)).data()
    assert [(cell["batch"], cell["length"]) for cell in data["cells"]] == [(8, 128), (1, 128)]
    for cell in data["cells"]:
        backend, latency = (cell["columns"].index(name) for name in ("backend", "latency_ms"))
        assert {values[backend] for values in cell["rows"].values()} == {"sdpa"}
        by_row = {
            place: values[latency] * (1 if cell["batch"] == 8 else 4)
            for place, values in cell["rows"].items()
        }
        for place, value in by_row.items():
            assert value == pytest.approx(rows[0][int(place)]["latency_ms"], rel=1e-6)


def test_the_static_table_has_all_rows_and_their_figures(page: str, rows, parsed: Parsed):
    found = Parsed(page_of(*rows))
    for row in rows[0]:
        assert number("f1", row["f1"]) in found.text("td")
        assert number("speedup", row["speedup"]) in found.text("td")
    headers = {a["data-column"]: a for a in found.all("th") if "data-column" in a}
    assert "threshold chosen on the train hold-out" in headers["f1"]["title"]
    assert {"model", "dataset"} <= {a["data-column"] for a in parsed.all("th") if "data-column" in a}
    assert "model" not in headers, "it stands above the table where all rows share it"
    assert "model bert" in found.text("p")


def test_criteria_look_as_in_the_figures(rows):
    data = Parsed(page_of(*rows)).data()
    criteria = dict.fromkeys(row["criterion"] for row in rows[0] if row["criterion"])
    assert data["looks"] == {name: list(look) for name, look in looks(list(criteria)).items()}


def test_random_masks_carry_their_mean_and_range(rows):
    data = Parsed(page_of(*rows)).data()
    (place, draws), *_ = data["draws"].items()
    masks = [row["f1"] for row in rows[0] if row["criterion"] == "random" and row["variant"] == "pruned"][
        :5
    ]
    assert data["names"][int(place)] == "random-h50-f50/pruned"
    assert (draws["count"], draws["mean"]) == (5, pytest.approx(sum(masks) / 5))
    assert (draws["low"], draws["high"]) == (pytest.approx(min(masks)), pytest.approx(max(masks)))


def test_gaps_have_their_reasons(parsed: Parsed):
    text = parsed.text()
    for reason in (
        "no GPU: timed on the CPU",
        "this run was not profiled",
        "noise of training and threshold: one seed",
    ):
        assert reason in parsed.text("li")
    assert "energy_j: no GPU" in text, "the table says why it has no such column"
    assert "nothing to choose from" in text


def test_a_figure_that_could_not_be_drawn_says_why(rows):
    svg = '<svg xmlns="http://www.w3.org/2000/svg"><path d="M 0 0 L 1 1" style="fill: #0072b2"/></svg>'
    figures = [
        Figure("a", "One.", "First.", svg),
        Figure("b", "Two.", "Second.", None, "no energy counter"),
    ]
    found = Parsed(page_of(rows[0], figures=figures))
    source = found.all("img")[0]["src"]
    assert unquote(source.removeprefix("data:image/svg+xml,")) == svg
    assert found.all("img")[0]["alt"] == "First."
    assert "Not drawn: no energy counter" in found.text("p")
    assert "Two: no energy counter" in found.text("li")


def test_rows_of_no_speed_and_no_quality_make_a_page(rows, tmp_path: Path):
    bare = [
        row | dict.fromkeys(("speedup", "latency_ms", "f1", "holdout_f1", "reference")) for row in rows[0]
    ]
    assert "F1 and all other quality: nothing was trained" in Parsed(page_of(bare)).text("li")
    run = write_evaluate(tmp_path, "roberta", "nq")
    build_report({"resamples": 100}, [run], [], tmp_path / "out")
    text = Parsed((tmp_path / "out" / "report.html").read_text()).text()
    assert "Not recorded: no run was profiled" in text
    assert "long F1" in text


def test_figures_are_written_as_in_the_other_tables():
    assert number("f1", 52.25) == f"{52.25:.1f}" == "52.2"
    assert number("delta_f1", -0.04) == "+0.0"
    assert number("delta_f1", 0.26) == "+0.3"
    assert number("params", 17_249_666) == "17.2 M"
    assert number("flops", 3_020_292_096) == "3.0 G"
    assert number("device", "CPU") == "CPU"
    assert number("f1", None) == ""


def test_five_hundred_rows_are_small_and_quick(rows):
    """Bars of the issue: under 5 MB, and a small part of the report's 20 seconds."""
    headline, matrix = rows
    many, cells = [], []
    for seed in range(500 // len(headline) + 1):
        many += [row | {"seed": seed} for row in headline]
        cells += [row | {"seed": seed} for row in matrix]
    figure = Figure("f", "One.", "First.", "<svg>" + "x" * 120_000 + "</svg>")
    began = time.perf_counter()
    text = page_of(many, cells, figures=[figure] * 8)
    assert len(many) >= 500
    assert time.perf_counter() - began < 2
    assert len(text.encode()) < 5_000_000


def test_an_installed_package_has_all_parts_of_the_page():
    """Built wheels hold what pyproject.toml names, and nothing of the page is named otherwise."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = settings["tool"]["setuptools"]["package-data"]["qaprune.report.page"]
    folder = Path(build.__file__).parent
    parts = [path for path in folder.iterdir() if path.is_file() and path.suffix != ".py"]
    assert parts
    assert {path for pattern in patterns for path in folder.glob(pattern)} == set(parts)
    assert {path.name for path in parts if path.suffix == ".js"} == set(build.SCRIPTS)
