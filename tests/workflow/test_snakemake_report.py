"""`snakemake --report`: what is flagged, and that its captions are there and render. No DAG runs."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from qaprune.config import load_config
from qaprune.plan import make_plan
from tests.conftest import ROOT

RULES = ROOT / "workflow" / "rules"
CAPTIONS = ROOT / "workflow" / "report"


def test_everything_flagged_has_a_caption_and_every_caption_is_used():
    used = {"workflow.rst"}
    for rules in RULES.glob("*.smk"):
        text = rules.read_text(encoding="utf-8")
        named = re.findall(r'caption="([^"]+)"', text)
        assert len(re.findall(r"\breport\(", text)) == len(named), rules.name
        for caption in named:
            assert (rules.parent / caption).resolve().parent == CAPTIONS
            used.add(Path(caption).name)
    assert {path.name for path in CAPTIONS.iterdir()} == used
    assert 'report: "workflow/report/workflow.rst"' in (ROOT / "Snakefile").read_text(encoding="utf-8")


def finished(folder: Path, config: Path) -> list[str]:
    """What a finished run leaves of the report's inputs and outputs, without its content; its plots."""
    plan = make_plan(load_config([config]))
    stages = ["profile"] if plan.untrained else ["profile", "evaluate"]
    pairs = list(dict.fromkeys(run.pair for run in plan.runs))
    inputs = [f"{stage}/{run.id}/stage.json" for run in plan.runs for stage in stages]
    plots = [f"plots/{pair}.{kind}" for pair in pairs for kind in ("svg", "png")]
    tables = [f"tables/{name}" for name in ("points.csv", "points.md", "matrix.csv")]
    for name in [*inputs, *plots, *tables, "report.html", "stage.json"]:
        path = folder / plan.out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}\n{}\n" if name.endswith(".csv") else "{}")
    return [Path(plot).name for plot in plots if plot.endswith(".svg")]


@pytest.mark.parametrize(
    ("name", "caption"),
    [("embedded", "one marker an operating point"), ("speed", "speedups of untrained models")],
)
def test_captions_render_for_every_flagged_output(name: str, caption: str, tmp_path: Path):
    config = ROOT / "config" / f"{name}.yaml"
    plots = finished(tmp_path, config)
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "-s",
        str(ROOT / "Snakefile"),
        "--directory",
        str(tmp_path),
    ]
    command += ["--cores", "1", "--nolock", "--configfile", str(config), "--allowed-rules", "report", "all"]
    done = subprocess.run(
        [*command, "--report", "r.zip"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not re.search(r"\((WARNING|ERROR|SEVERE)/\d\)", done.stderr + done.stdout), "reStructuredText"
    with zipfile.ZipFile(tmp_path / "r.zip") as archive:
        names = {Path(member).name for member in archive.namelist() if "/raw/" in member}
        text = next(archive.read(m) for m in archive.namelist() if m.endswith("r/report.html")).decode()
    assert names == {"report.html", "points.csv", "matrix.csv", *plots}
    for words in ("whole report in one file", "One row a variant", "Every variant at every batch", caption):
        assert words in text
    for words in ("Page", "Tables", "Plots", "data set", "one config, whose name"):
        assert words in text
