"""Code in the documentation runs as it is written."""

from __future__ import annotations

import re

import numpy as np
import yaml

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
