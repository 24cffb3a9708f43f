"""The latency table: from times of whole models to costs of parts, and the stage on a tiny encoder."""

from __future__ import annotations

import json

import numpy as np
import pytest

from qaprune.data.features import save_features
from qaprune.errors import InputError
from qaprune.models.encoder import EncoderShape, model_shape
from qaprune.profile.latency import SHARES, TABLE, grid, latency, load_costs, make_table
from tests.conftest import make_features, make_model

SHAPE = EncoderShape(64, 16, (4,) * 3, (64,) * 3)


def times(noise: float = 0.0, seed: int = 0) -> dict[tuple[int, int], float]:
    """A device on which a head costs 2 ms, the third one nothing, a unit 0.1 ms, and all else 5 ms."""
    random = np.random.default_rng(seed)
    heads = [0, 2, 4, 4, 6]
    return {
        (h, f): (5 + 3 * (heads[h] + 0.1 * f)) * (1 + noise * random.standard_normal())
        for h, f in grid(SHAPE)
    }


def test_the_grid_has_every_head_and_both_ends():
    found = grid(SHAPE)
    assert {(k, 64) for k in range(5)} <= set(found)
    assert {(4, 0), (4, 64), (2, 32), (1, 16)} <= set(found)
    assert len(found) == len(set(found)) <= 5 + len(SHARES) + 2


def test_parts_add_up_to_the_whole_and_predict_what_was_not_in_either_series():
    table = make_table(times(), SHAPE)
    assert table["heads"] == pytest.approx([0, 2, 4, 4, 6])
    assert table["fixed"] == pytest.approx(5)
    assert np.interp(20, table["ff_widths"], table["ff"]) == pytest.approx(2)
    assert [check["apart_percent"] for check in table["checks"]] == pytest.approx([0, 0], abs=1e-9)


def test_no_wider_part_is_cheaper_however_noisy_the_times():
    for seed in range(20):
        table = make_table(times(0.1, seed), SHAPE)
        for name in ("heads", "ff"):
            assert (np.diff(table[name]) >= 0).all()
        whole = table["fixed"] + 3 * (table["heads"][-1] + table["ff"][-1])
        assert whole == pytest.approx(table["full"])


def test_interference_between_parts_shows_in_the_checks():
    slower = times() | {(2, 32): 1.2 * times()[2, 32]}
    apart = {c["heads"]: c["apart_percent"] for c in make_table(slower, SHAPE)["checks"]}
    assert apart[2] == pytest.approx(100 / 1.2 - 100)
    assert apart[1] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("architecture", ["bert", "roberta"])
def test_the_stage_times_a_real_encoder(architecture, tmp_path):
    model = make_model(architecture)
    (tmp_path / "encoder").mkdir()
    model.config.save_pretrained(tmp_path / "encoder")
    features = tmp_path / "features"
    features.mkdir()
    save_features(features / "dev.safetensors", make_features(architecture=architecture))
    out = tmp_path / "out"
    out.mkdir()
    spec = {
        "seed": 0,
        "device": "cpu",
        "cell": {"batch": 2, "length": 32},
        "dtype": "float32",
        "backend": "sdpa",
        "threads": 1,
        "rounds": 2,
        "warmup": {"least": 2, "most": 2, "cv_percent": 5},
    }
    inputs = {"encoder": tmp_path / "encoder", "features": features}
    lines: list[str] = []
    summary = latency(spec, inputs, out, lines.append)["summary"]
    assert "ms unpruned" in summary
    costs = load_costs(out, model_shape(model))
    assert len(costs.heads) == 5
    assert len(costs.ff) == 25
    assert costs.unit == "ms"
    assert costs.full > 0
    assert (out / "samples.csv.gz").exists()
    assert json.loads((out / "environment.json").read_text())["torch_threads"] == 1


def test_a_table_of_another_encoder_is_refused(tmp_path):
    record = make_table(times(), SHAPE)
    (tmp_path / TABLE).write_text(json.dumps(record))
    assert load_costs(tmp_path, SHAPE).full == pytest.approx(record["full"])
    with pytest.raises(InputError, match="a table of another encoder: 3 layers of 4 heads and 64 units"):
        load_costs(tmp_path, EncoderShape(64, 16, (8,) * 3, (64,) * 3))
