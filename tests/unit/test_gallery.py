"""The figures of a report: which there are, why one is missing, and what they claim."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib.text import Text

from qaprune.errors import InputError
from qaprune.report.collect import Run, collect
from qaprune.report.columns import MATRIX_NAMES, NAMES
from qaprune.report.figures import ENERGY, chosen, f1_energy_figure, front, plotted_points
from qaprune.report.gallery import Plate, gallery
from qaprune.report.marks import Point
from qaprune.report.matrix_figure import matrix_figure
from qaprune.report.recovery_figure import recovery_figure
from qaprune.report.rows import build_rows, matrix_rows
from qaprune.report.speed_figure import MEASURED, PUBLISHED, speed_figure
from qaprune.report.stage import build_report
from qaprune.report.style import ink, save
from qaprune.report.survived_figure import survived_figure, survivors
from qaprune.report.tables import reasons
from qaprune.report.training_figure import _thinned, curve_rows
from tests.unit.report_data import many_points, write_evaluate, write_profile

KINDS = ("", "-recovery", "-survived", "-matrix", "-energy", "-training")
LARGEST = 300_000
"""Bytes of an SVG."""


def runs_of(
    folder: Path, dataset: str = "squad2", seeds: tuple[int, ...] = (13,), **more: object
) -> list[Run]:
    """Profiled runs of one pair, with energy."""
    shares = {"shares": more["shares"]} if "shares" in more else {}
    evaluate = [write_evaluate(folder, "bert", dataset, seed, **more) for seed in seeds]
    profile = [write_profile(folder, run.name, teacher_joules=0.4, **shares) for run in evaluate]
    return collect(evaluate, profile)


def plates_of(runs: list[Run], published: bool = False) -> dict[str, Plate]:
    """Name -> plate, in the gallery's order."""
    plates = gallery(runs, build_rows(runs, 200), matrix_rows(runs, 200), published)
    return {plate.name: plate for plate in plates}


def words(plate: Plate) -> str:
    """All text of a figure."""
    return " ".join(text.get_text() for text in plate.figure.findobj(Text))


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Plate]:
    """One pair with everything measured."""
    return plates_of(runs_of(tmp_path_factory.mktemp("full")), published=True)


def test_a_pair_with_everything_has_all_plates_in_the_readers_order(full: dict[str, Plate]):
    assert list(full) == [f"bert-squad2{kind}" for kind in KINDS]
    for plate in full.values():
        assert plate.figure is not None
        assert not plate.reason
        assert plate.title.endswith("bert on squad2")
        assert plate.caption.endswith(".")


def test_a_single_point_is_told_of_no_masks_and_its_levels_stand_inside_the_frame(tmp_path: Path):
    plates = plates_of(runs_of(tmp_path, seeds=(13, 14), shares={("l0", "h50-f50"): (0.36, 0.87, 0.88, 2)}))
    survived = plates["bert-squad2-survived"]
    assert "random" not in words(survived) + survived.caption
    assert "Mean of the seeds." in survived.caption
    axes = plates["bert-squad2-recovery"].figure.axes[0]
    low, high = axes.get_xlim()
    levels = [line.get_xdata()[0] for line in axes.lines if list(line.get_ydata()) == [0, 1]]
    assert len(levels) == 3
    assert all(low + 0.5 < level < high - 0.5 for level in levels)


def test_captions_say_what_bars_are_and_where_it_was_timed(full: dict[str, Plate]):
    for kind in ("", "-energy"):
        caption = full[f"bert-squad2{kind}"].caption
        assert "95 % bootstrap" in caption
        assert "Example CPU 3000, batch 8 x 128, float32" in caption
    assert "hardware not stated" in full["bert-squad2"].caption
    assert "energy has no interval" in full["bert-squad2-energy"].caption


def test_without_profile_or_older_files_plates_are_left_out_with_a_reason(tmp_path: Path):
    plates = plates_of(collect([write_evaluate(tmp_path, "bert", "nq", older=True)], []))
    missing = {name.removeprefix("bert-nq-"): p.reason for name, p in plates.items() if p.figure is None}
    assert set(missing) == {"survived", "matrix", "energy", "training"}
    assert "not profiled" in missing["matrix"]
    assert "not profiled" in missing["energy"]
    assert "scored before" in missing["survived"]
    assert not any(plate.caption for plate in plates.values() if plate.figure is None)
    assert "no training log" in missing["training"]
    assert "not measured" in words(plates["bert-nq"]), "the pair's own plot is always there"


def test_an_older_folder_of_natural_questions_gives_one_reason_for_one_gap(tmp_path: Path):
    run = write_evaluate(tmp_path, "bert", "nq", older=True)
    rows = build_rows(collect([run], [write_profile(tmp_path, run.name)]), 100)
    assert sum("long_f1" in reason or "run evaluate" in reason for reason in reasons(rows)) == 1


def test_a_cpu_without_counters_gives_its_own_reason_for_no_energy(tmp_path: Path):
    run = write_evaluate(tmp_path, "bert", "squad2")
    plates = plates_of(collect([run], [write_profile(tmp_path, run.name)]))
    assert plates["bert-squad2-energy"].reason == "no GPU: timed on the CPU"


def test_untrained_models_have_speed_and_matrix_alone(tmp_path: Path):
    run = write_evaluate(tmp_path, "bert", "squad2")
    profile = write_profile(tmp_path, run.name)
    facts = json.loads((run / "scores.json").read_text())
    for scores in facts["variants"].values():
        for name in ("f1", "holdout_f1"):
            scores.pop(name)
    (profile / "variants.json").write_text(json.dumps(facts))
    plates = plates_of(collect([], [profile]))
    drawn = [name for name, plate in plates.items() if plate.figure is not None]
    assert drawn == ["bert-squad2", "bert-squad2-matrix"]
    assert "published" not in words(plates["bert-squad2"]) + plates["bert-squad2"].caption
    assert all("untrained" in plate.reason for plate in plates.values() if plate.figure is None)


def test_the_legend_of_speeds_names_both_kinds_whichever_row_has_them_first():
    row = dict.fromkeys(NAMES) | {"model": "bert", "dataset": "squad2", "criterion": "uniform"}
    timed = {"speedup": 1.5, "speedup_low": 1.4, "speedup_high": 1.6, "latency_ms": 9.0}
    rows = [row | timed | {"budget": "h50-f50"}, row | {"budget": "h56-f52", "speedup_published": 1.63}]
    for order in (rows, rows[::-1]):
        legend = speed_figure(order).axes[0].get_legend()
        assert {text.get_text() for text in legend.get_texts()} == {MEASURED, PUBLISHED}


def test_the_matrix_has_the_tables_order(tmp_path: Path):
    shares = {("random", "h50-f50"): (0.5, 0.8, 0.8, 2), ("l0", "h50-f50"): (0.7, 0.8, 0.9, 2)}
    axes = plates_of(runs_of(tmp_path, shares=shares))["bert-squad2-matrix"].figure.axes[0]
    names = [text.get_text() for text in axes.get_yticklabels()]
    assert names[::3] == ["teacher", "distilled", "distilled"]
    assert [name for name in names if "/" in name] == ["l0-h50-f50/pruned", "random-h50-f50/pruned"]


def test_a_plate_that_is_gone_takes_its_old_files_along(tmp_path: Path):
    run = write_evaluate(tmp_path, "bert", "squad2")
    out, said = tmp_path / "out", []
    build_report({"resamples": 100}, [run], [write_profile(tmp_path, run.name, teacher_joules=1)], out)
    assert (out / "plots" / "bert-squad2-energy.svg").exists()
    build_report({"resamples": 100}, [run], [], out, said.append)
    assert not list((out / "plots").glob("*energy*"))
    assert any("no plot bert-squad2-energy" in line for line in said)


def test_long_names_stay_inside_the_figure_and_apart_from_the_next_panel(tmp_path: Path):
    shares = {("torch_pruning_global@slow-tuned", "h44-f51"): (0.7, 0.8, 0.9, 2)}
    run = write_evaluate(
        tmp_path, "bert-large-uncased-whole-word-masking", "natural.questions", shares=shares
    )
    profile = write_profile(tmp_path, run.name, teacher_joules=0.4, shares=shares)
    for name, plate in plates_of(collect([run], [profile])).items():
        plate.figure.canvas.draw()
        inches = plate.figure.get_tightbbox()
        assert inches.x0 > 0, name
        assert inches.x1 < plate.figure.get_figwidth(), name
        names = [text for axes in plate.figure.axes for text in axes.texts if "@slow" in text.get_text()]
        others = [label for axes in plate.figure.axes[1:] for label in axes.get_yticklabels()]
        for text in names if name.endswith("training") else ():
            box = text.get_window_extent()
            assert not any(box.overlaps(label.get_window_extent()) for label in others)


def test_the_same_input_gives_the_same_bytes(tmp_path: Path):
    runs = runs_of(tmp_path, seeds=(13, 14), questions=60)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for plate in plates_of(runs).values():
            save(plate.figure, tmp_path / name / plate.name)
    files = sorted((tmp_path / "a").iterdir())
    assert len(files) == 2 * len(KINDS)
    for path in files:
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_thirty_points_make_small_files(tmp_path: Path):
    plates = plates_of(runs_of(tmp_path, questions=60, shares=many_points()))
    for name in ("bert-squad2", "bert-squad2-energy"):
        assert "masks" not in words(plates[name]) + plates[name].caption, "no pruned point is drawn"
    for plate in plates.values():
        save(plate.figure, tmp_path / plate.name)
        assert (tmp_path / f"{plate.name}.svg").stat().st_size < LARGEST, plate.name


# --- what the plots claim ---


def point(name: str, x: float, holdout: float | None, bar: float = 0.01) -> Point:
    return Point(name, "", "distilled", x, holdout or 0.0, (x - bar, x + bar), (0, 0), holdout)


def names_of(points: list[Point]) -> list[str]:
    return [point.criterion for point in points]


def test_the_front_holds_what_nothing_beats():
    points = [point("slow", 1.2, 80), point("good", 1.5, 85), point("fast", 2.0, 70), point("bad", 1.9, 60)]
    assert names_of(front(points)) == ["good", "fast"]


def test_a_lead_in_speed_inside_the_bars_is_no_lead():
    ahead, behind = point("ahead", 2.00, 85, bar=0.1), point("behind", 2.05, 70, bar=0.1)
    assert names_of(front([ahead, behind])) == ["ahead"]
    assert names_of(front([ahead, behind._replace(x_span=(2.11, 2.2))])) == ["ahead", "behind"]


def test_of_equal_f1_the_clearly_faster_is_on_the_front():
    slow, fast = point("slow", 1.5, 88), point("fast", 2.0, 88)
    assert names_of(front([slow, fast])) == ["fast"]
    assert names_of(front([slow, fast], more_is_better=False)) == ["slow"]
    tied = [point("one", 2.0, 88, bar=0.1), point("two", 2.1, 88, bar=0.1)]
    assert names_of(front(tied)) == ["one", "two"]


def test_the_front_is_chosen_on_the_holdout_and_needs_it():
    lucky = point("lucky on dev", 2.0, 70)._replace(f1=99.0)
    assert names_of(front([lucky, point("chosen", 2.0, 80)])) == ["chosen"]
    assert front([point("unknown", 2.0, None)]) == []


def test_less_energy_is_better():
    points = [point("cheap", 0.2, 70), point("dear", 0.5, 80), point("worse", 0.6, 75)]
    assert names_of(front(points, ENERGY.more_is_better)) == ["cheap", "dear"]


def test_several_seeds_are_one_marker_at_their_mean_with_their_range(tmp_path: Path):
    rows = build_rows(runs_of(tmp_path, seeds=(13, 14, 15)), 200)
    shown = next(p for p in plotted_points(rows) if p[:3] == ("l0", "h50-f50", "distilled"))
    f1 = [row["f1"] for row in rows if (row["criterion"], row["budget"], row["variant"]) == shown[:3]]
    assert len(f1) == 3
    assert shown.f1 == pytest.approx(np.mean(f1))
    assert shown.f1_span == (min(f1), max(f1))


def test_many_points_show_one_recovery_each_and_name_every_criterion(tmp_path: Path):
    runs = runs_of(tmp_path, questions=400, shares=many_points())
    plate = plates_of(runs)["bert-squad2"]
    assert len(chosen(plotted_points(build_rows(runs, 200)))) == 30
    text = words(plate)
    assert "the recovery with the higher hold-out F1" in text
    assert "below this plot" in text, "no-answer would squeeze the rest"
    for criterion, _ in many_points():
        assert criterion.replace("_", " ") in text


def test_the_recovery_plot_names_the_kinds_that_there_are(tmp_path: Path):
    rows = build_rows(runs_of(tmp_path, questions=40), 200)
    for gone, head in (
        ("", "retrained and distilled both start from pruned"),
        ("retrained", "; distilled starts from pruned"),
    ):
        figure = recovery_figure([row for row in rows if row["variant"] != gone])
        assert head in " ".join(text.get_text() for text in figure.findobj(Text)).replace("\n", " ")


def test_survivors_are_the_lists_of_the_scores(tmp_path: Path):
    runs = runs_of(tmp_path, seeds=(13, 14), questions=40)
    rows = survivors(runs)
    assert [row["criterion"] for row in rows].count(None) == 2
    row = next(r for r in rows if (r["criterion"], r["budget"], r["seed"]) == ("l0", "h50-f50", 14))
    scores = runs[1].variants["l0-h50-f50/pruned"]
    assert row["heads_per_layer"] == scores["heads_per_layer"]


def test_curves_are_the_logs_with_their_identity(tmp_path: Path):
    runs = runs_of(tmp_path, questions=40)
    rows = curve_rows(runs)
    variants = {(row["criterion"], row["variant"]) for row in rows}
    assert {(None, "teacher"), (None, "teacher+"), ("l0", "distilled")} <= variants
    assert (None, "no-answer") not in variants
    first = next(row for row in rows if row["variant"] == "teacher")
    assert (first["step"], first["tokens"]) == (50, 200_000)


def matrix_of(variants: int, settings: int) -> list[dict]:
    """Rows of matrix.csv; every seventh cell did not run."""
    rows = []
    for number in range(variants * settings):
        variant, setting = divmod(number, settings)
        row = dict.fromkeys(MATRIX_NAMES) | {
            "model": "bert",
            "dataset": "squad2",
            "seed": 13,
            "device": "GPU",
        }
        row |= {"criterion": f"c{variant}" if variant else None, "budget": "h50-f50", "variant": "pruned"}
        row |= {"batch": 1 + setting // 4, "length": 128, "dtype": "float32", "backend": "sdpa"}
        row |= {"compile": ("off", "default", "max-autotune", "x")[setting % 4]}
        row |= {"not_measured": "out of memory"} if number % 7 == 6 else {"speedup": 1 + variant / 10}
        rows.append(row)
    return rows


def test_cells_that_did_not_run_say_so():
    figure = matrix_figure(matrix_of(4, 4))
    text = " ".join(found.get_text() for found in figure.findobj(Text))
    assert "did not run (2 cells): out of memory" in text
    assert "1.30" in text


@pytest.mark.parametrize("settings", [5, 12, 48])
def test_the_map_of_fifty_variants_stays_small(settings: int, tmp_path: Path):
    save(matrix_figure(matrix_of(50, settings)), tmp_path / "matrix")
    assert (tmp_path / "matrix.svg").stat().st_size < LARGEST


def test_pale_colours_are_darker_as_text():
    assert ink("#0072B2") == "#0072B2"
    assert ink("#E69F00") != "#E69F00"


def test_a_long_log_is_thinned_and_keeps_its_end():
    steps = [(float(step), 1.0) for step in range(1, 1001)]
    for most in (10, 300, 2000):
        kept = _thinned(steps, most)
        assert len(kept) <= max(most, 10)
        assert kept[-1] == steps[-1]
        assert kept == sorted(kept)


def test_a_broken_training_log_is_named(tmp_path: Path):
    run = write_evaluate(tmp_path, "bert", "squad2", questions=40)
    (run / "training" / "teacher.jsonl").write_text('{"step": 50, "tokens": 1, "seconds": 1}\n')
    with pytest.raises(InputError, match=r"teacher\.jsonl:1: missing key 'loss'"):
        collect([run], [])


def test_a_teacher_whose_energy_is_not_known_is_on_no_axis(tmp_path: Path):
    rows = build_rows(runs_of(tmp_path, questions=60), 200)
    unknown = [row | {"energy_j": None} if row["variant"] == "teacher" else row for row in rows]
    star = [line for line in f1_energy_figure(unknown).axes[0].lines if line.get_marker() == "*"]
    assert star == []
    assert [line.get_marker() for line in f1_energy_figure(rows).axes[0].lines].count("*") == 1


@pytest.mark.parametrize("layers", [1, 2, 6, 24])
def test_what_survived_has_room_for_both_titles(layers):
    shape = {"model": "m", "dataset": "squad2", "seed": 1}
    whole = {"heads_per_layer": [12] * layers, "ff_per_layer": [3072] * layers}
    half = {"heads_per_layer": [6] * layers, "ff_per_layer": [1536] * layers}
    rows = [
        shape | {"criterion": None, "budget": None} | whole,
        shape | {"criterion": "l0", "budget": "h50-f50"} | half,
    ]
    figure = survived_figure(rows)
    renderer = figure.canvas.get_renderer()
    titles = [axes._left_title for axes in figure.axes if axes._left_title.get_text()]
    left, right = sorted((title.get_window_extent(renderer) for title in titles), key=lambda box: box.x0)
    assert left.x1 < right.x0
    assert right.x1 <= figure.bbox.x1
