"""Code in the documentation runs as it is written; links, commands and names in it exist."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from qaprune import __version__
from qaprune.cli import PEOPLE, build_parser
from qaprune.gate import registry
from qaprune.gate.stage import check_scores
from qaprune.models.encoder import model_shape
from tests.conftest import ROOT, make_model


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_the_example_of_a_criterion_scores_as_the_config_says(monkeypatch):
    namespace: dict = {}
    exec(blocks("criteria.md", "python")[0], namespace)

    class Point:
        name = "closeness"

        def load(self):
            return namespace["Closeness"]

    monkeypatch.setattr(
        registry, "entry_points", lambda group: [Point()] if group == registry.GROUP else []
    )
    settings = yaml.safe_load(blocks("criteria.md", "yaml")[0])["criteria"]["closeness"]["settings"]
    model = make_model("bert")
    task = registry.GateTask(model_shape(model), settings, 3, model=model)
    scores = registry.load_criterion("closeness").score(task)
    check_scores(scores, model_shape(model), "closeness")
    into = model.bert.encoder.layer[1].intermediate.dense.weight.detach().numpy()
    out = model.bert.encoder.layer[1].output.dense.weight.detach().numpy()
    assert np.allclose(scores.ff[0, 1, 4], float(into[4] @ out[:, 4]) ** 2, rtol=1e-4)
    assert f'[project.entry-points."{registry.GROUP}"]' in blocks("criteria.md", "toml")[0]


@pytest.mark.slow
def test_the_example_is_held_to_the_contract_by_the_pages_command(tmp_path: Path):
    package, facts = tmp_path / "my_package", tmp_path / "my_package-0.1.dist-info"
    for folder in (package, facts):
        folder.mkdir()
    (package / "__init__.py").touch()
    (package / "closeness.py").write_text(blocks("criteria.md", "python")[0])
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 0.1\n")
    points = f"[{registry.GROUP}]\ncloseness = my_package.closeness:Closeness\n"
    (facts / "entry_points.txt").write_text(points)
    command = blocks("criteria.md", "bash")[0].splitlines()[0]
    setting, *words = shlex.split(command)
    name, _, value = setting.partition("=")
    assert words[0] == "pytest"
    done = subprocess.run(
        [sys.executable, "-m", *words, "-n0", "-p", "no:cacheprovider"],
        env=os.environ | {name: value, "PYTHONPATH": str(tmp_path)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert re.search(r"\d+ passed", done.stdout)


PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES += sorted((ROOT / "results" / "reference").glob("*/README.md"))


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        found = (page.parent / name).resolve() if name else page
        assert found.exists(), target
        assert not anchor or anchor in anchors(found), target


def test_the_readme_stays_short_and_its_commands_exist(capsys):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) < 200
    commands = re.findall(r"^qaprune .*|(?<=`)qaprune [^`]*", text, re.MULTILINE)
    words = {command.split()[1] for command in commands}
    assert len(words) > 8
    for word in words:
        with pytest.raises(SystemExit) as caught:
            build_parser().parse_args([word, "--help"])
        assert caught.value.code == 0, word
    for config in re.findall(r"config/\w+\.yaml", text):
        assert (ROOT / config).exists(), config


def test_every_criterion_and_command_for_people_is_described():
    method = (ROOT / "docs" / "method.md").read_text(encoding="utf-8")
    assert [name for name in registry.BUILT_IN if f"`{name}`" not in method] == []
    pages = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert [name for name, *_ in PEOPLE if not re.search(f"(qaprune|make) {name}", pages)] == []


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors", "references", "license"} <= set(citation)
    assert citation["version"] == __version__
    assert f"What {__version__}," in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
