"""Synthetic timings with the noise of real ones, and whole results folders, for the tests of `compare`."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np

from qaprune.data.examples import open_text
from qaprune.profile.settings import Setting
from qaprune.report.collect import collect
from qaprune.report.rows import build_rows
from qaprune.report.scores import read_questions
from qaprune.report.tables import points_csv
from qaprune.report.timings import Timings
from tests.unit.report_data import write_evaluate, write_profile

RUN = "bert-squad2-s13"
POINT = "l0-h50-f50/distilled"
SETTING = Setting(8, 128, "float32", "sdpa", "off")
MEDIAN_MS = {"teacher": 17.0, "teacher+": 17.0, POINT: 10.0, "l0-h25-f25/distilled": 6.5} | {
    f"gain-h{share}-f{share}/{step}": 5.0 + share / 10
    for share in (25, 50)
    for step in ("pruned", "retrained", "distilled")
}


def noisy_seconds(
    seed: int, slower: dict[str, float] | None = None, rounds: int = 60, noise: float = 0.03
) -> dict[str, dict[int, float]]:
    """variant -> round -> seconds of one run on a machine that others use too.

    Between runs everything shifts by 2.5 %; inside a run it drifts by 4 % with a memory of ten rounds;
    each pass has heavy-tailed noise of its own, and one in thirty is held up by up to several times.
    """
    random = np.random.default_rng(seed)
    drift = np.empty(rounds)
    drift[0] = random.standard_normal()
    for number in range(1, rounds):
        drift[number] = 0.9 * drift[number - 1] + np.sqrt(1 - 0.9**2) * random.standard_normal()
    shared = np.exp(0.025 * random.standard_normal() + 0.04 * drift)
    found = {}
    for variant, median in MEDIAN_MS.items():
        own = np.exp(noise * random.standard_t(3, rounds) / np.sqrt(3))
        held_up = 1 + (random.random(rounds) < 1 / 30) * random.exponential(0.8, rounds)
        seconds = median / 1000 * (slower or {}).get(variant, 1.0) * shared * own * held_up
        found[variant] = dict(enumerate(seconds.tolist()))
    return found


def timings(seconds: dict[str, dict[int, float]], gpu: str | None = None) -> Timings:
    """Timings of one cell."""
    environment = {"device": "Example", "gpu": gpu}
    by_setting = {(SETTING, variant): rounds for variant, rounds in seconds.items()}
    return Timings(by_setting, {}, SETTING[:2], "Example", "abc", environment)


def write_results(folder: Path, questions: int = 200, dataset: str = "squad2") -> Path:
    """A results folder of one profiled run, as a finished report leaves it."""
    evaluate = write_evaluate(folder, "bert", dataset, questions=questions)
    profile = write_profile(folder, evaluate.name)
    keep_timed(profile, ("teacher", POINT, "l0-h25-f25/distilled", "gain-h50-f50/pruned"))
    (folder / "tables").mkdir()
    write_points(folder, evaluate.name)
    return folder


def write_points(folder: Path, run: str) -> None:
    """The table of a run's scores and times."""
    rows = build_rows(collect([folder / "evaluate" / run], [folder / "profile" / run]), resamples=100)
    (folder / "tables" / "points.csv").write_text(points_csv(rows))


def give_up_half(folder: Path, run: str, variants: set[str]) -> None:
    """Let variants of a run of NQ answer no more than every second question, and score them again."""
    evaluate = folder / "evaluate" / run
    path = evaluate / "questions.csv.gz"
    with open_text(path) as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        if row["variant"] in variants and int(row["id"][1:]) % 2:
            row |= {"tp": "0", "n_pred": "0"}
    with open_text(path, "w") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    sums = read_questions(path).sums
    f1 = dict(zip(sums.variants, sums.f1().tolist(), strict=True))
    edit_json(
        evaluate / "scores.json",
        lambda record: [row.update(f1=f1[name]) for name, row in record["variants"].items()],
    )
    write_points(folder, run)


def edit_points(folder: Path, variant: str, /, **changes: object) -> None:
    """Change cells of the row that is `criterion-budget/variant`, or a fixed variant; `all`: every row."""
    path = folder / "tables" / "points.csv"
    rows = list(csv.DictReader(path.open()))
    for row in rows:
        name = (
            f"{row['criterion']}-{row['budget']}/{row['variant']}" if row["criterion"] else row["variant"]
        )
        if variant == "all" or (name == variant and row["draw"] in ("", "0")):
            row |= {key: str(value) for key, value in changes.items()}
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def drop_rows(folder: Path, variant: str) -> None:
    """Take a variant's rows out of the table."""
    path = folder / "tables" / "points.csv"
    criterion, _, step = variant.rpartition("/")
    lines = path.read_text().splitlines(keepends=True)
    name, _, budget = criterion.partition("-")
    path.write_text("".join(line for line in lines if f",{name},{budget},0,{step}," not in line))


def keep_timed(profile: Path, variants: tuple[str, ...]) -> None:
    """Drop the other variants from a profile: a few show as much, and the bootstrap of all takes time."""
    path = profile / "samples.csv.gz"
    with open_text(path) as stream:
        header, *body = stream.readlines()
    with open_text(path, "w") as stream:
        stream.writelines([header, *(line for line in body if line.split(",")[0] in variants)])
    edit_json(
        profile / "cells.json",
        lambda record: record.update(cells=[c for c in record["cells"] if c["variant"] in variants]),
    )


def scale_samples(folder: Path, factors: dict[str, float], default: float = 1.0) -> None:
    """Multiply the timed seconds of variants."""
    path = folder / "profile" / RUN / "samples.csv.gz"
    with open_text(path) as stream:
        header, *body = list(csv.reader(stream))
    with open_text(path, "w") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        for row in body:
            writer.writerow([*row[:-2], f"{float(row[-2]) * factors.get(row[0], default):.9f}", row[-1]])


def replace_in(path: Path, old: str, new: str) -> None:
    """Replace a text in a file, compressed or not."""
    with open_text(path) as stream:
        text = stream.read()
    assert old in text
    with open_text(path, "w") as stream:
        stream.write(text.replace(old, new))


def edit_json(path: Path, edit) -> None:
    """Load, change in place, save."""
    value = json.loads(path.read_text())
    edit(value)
    path.write_text(json.dumps(value))
