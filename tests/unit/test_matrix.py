"""The matrix of settings, passes end to end, and untrained models, on tiny CPU models."""

from __future__ import annotations

import csv
import json
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from qaprune.budget import parse_budget
from qaprune.config import ROOT, load_config
from qaprune.data.examples import Example, open_text
from qaprune.data.prepared import read_examples, write_examples
from qaprune.data.windows import WindowSettings, featurise, load_tokenizer
from qaprune.errors import InputError
from qaprune.evaluate.predictions import contexts_of, predict_spans
from qaprune.gate.registry import GateTask, load_criterion
from qaprune.models.cost import encoder_flops
from qaprune.models.encoder import EncoderShape, model_shape
from qaprune.profile import measure, models, runtimes, stage
from qaprune.profile.end_to_end import Service, make_service
from qaprune.profile.inputs import pack_windows
from qaprune.profile.power import make_meter
from qaprune.profile.settings import Setting, fastest, settings_of
from qaprune.profile.stage import profile_run
from qaprune.prune.select import costs_of, select
from qaprune.report.collect import collect
from qaprune.report.rows import build_rows, matrix_rows
from qaprune.report.stage import build_report
from tests.unit.profile_data import SPEC, tiny_features, write_dev, write_tokenizer

CELLS = [{"batch": 2, "length": 32}]
ALONE = "onnxruntime runs in float32 and uncompiled alone"


def read(path: Path) -> list[dict[str, str]]:
    with open_text(path) as stream:
        return list(csv.DictReader(stream))


def run(spec: dict, variants: dict, features: Path, out: Path, log=lambda line: None, **more: Path) -> dict:
    """The stage's cells.json."""
    profile_run(SPEC | {"cells": CELLS} | spec, variants, features, out, log, **more)
    return json.loads((out / "cells.json").read_text())


@pytest.fixture(autouse=True)
def _no_rapl(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(stage, "make_meter", partial(make_meter, powercap=tmp_path / "absent"))


def test_settings_are_the_product_of_the_axes():
    spec = {"dtype": ["float32", "bfloat16"], "backend": ["sdpa", "eager"], "compile": ["off", "default"]}
    found = settings_of({"batch": 8, "length": 128}, spec)
    assert len(set(found)) == 8
    assert found[0] == Setting(8, 128, "float32", "sdpa", "off")


def test_fastest_is_the_lowest_median_not_the_luckiest_pass():
    slow, quick = Setting(1, 8, "float32", "eager", "off"), Setting(1, 8, "float32", "sdpa", "off")
    rounds = {slow: {0: 1.0, 1: 3.0, 2: 3.1}, quick: {0: 2.0, 1: 2.0, 2: 2.1}}
    assert fastest(rounds) == quick


def test_int8_is_no_fastest_setting_since_its_f1_is_not_known():
    exact, rounded = (Setting(1, 8, "float32", name, "off") for name in ("onnxruntime", "onnxruntime_int8"))
    assert fastest({exact: {0: 2.0}, rounded: {0: 1.0}}) == exact
    assert fastest({rounded: {0: 1.0}}) == rounded


def test_onnxruntime_is_a_backend_in_float32_and_in_int8(checkpoints, tmp_path: Path):
    features, variants = checkpoints
    spec = {
        "dtype": ["float32", "bfloat16"],
        "backend": ["sdpa", "onnxruntime", "onnxruntime_int8"],
        "rounds": 2,
    }
    teacher = {"teacher": variants["teacher"]}
    cells = run(spec, teacher, features, tmp_path)["cells"]
    found = {(cell["dtype"], cell["backend"]): cell for cell in cells}
    for (dtype, backend), cell in found.items():
        refused = dtype == "bfloat16" and backend != "sdpa"
        assert cell["not_measured"] == (ALONE if refused else None)
    assert found["float32", "onnxruntime"]["logit_difference_percent"] < 0.01
    assert 0 < found["float32", "onnxruntime_int8"]["logit_difference_percent"] < 20
    timed = {row["backend"] for row in read(tmp_path / "samples.csv.gz")}
    assert timed == {"sdpa", "onnxruntime", "onnxruntime_int8"}


def test_onnxruntime_says_what_it_lacks(monkeypatch):
    setting = Setting(1, 8, "float32", "onnxruntime", "off")
    assert runtimes.why_not(setting, "cpu") is None
    assert runtimes.why_not(setting._replace(compile="default"), "cpu") == ALONE
    assert runtimes.why_not(setting, "cuda:0") == "onnxruntime is timed on a CPU alone"
    monkeypatch.setattr("qaprune.models.onnx.find_spec", lambda name: None if name == "onnx" else name)
    assert runtimes.why_not(setting, "cpu") == "onnx not installed; pip install -e '.[onnx]'"


def test_every_setting_is_timed_in_every_round(checkpoints, tmp_path: Path):
    features, variants = checkpoints
    spec = {"dtype": ["float32", "bfloat16"], "backend": ["sdpa", "eager"]}
    cells = run(spec, variants, features, tmp_path)["cells"]
    counts = Counter(
        (row["variant"], row["dtype"], row["backend"]) for row in read(tmp_path / "samples.csv.gz")
    )
    assert len(counts) == len(cells) == 8
    assert set(counts.values()) == {SPEC["rounds"]}
    apart = {
        (cell["dtype"], cell["backend"]): cell["logit_difference_percent"]
        for cell in cells
        if cell["variant"] == "teacher"
    }
    assert apart["float32", "sdpa"] == 0, "the first setting is what others differ from"
    assert apart["float32", "eager"] < 0.01
    assert 0 < apart["bfloat16", "sdpa"] < 20


def test_energy_is_measured_at_the_fastest_setting_alone(checkpoints, tmp_path: Path):
    features, variants = checkpoints
    cells = run({"backend": ["sdpa", "eager"]}, variants, features, tmp_path)["cells"]
    reasons = Counter((cell["variant"], cell["energy_reason"]) for cell in cells)
    assert len(reasons) == 4, "of each variant one cell was tried and one was not"
    assert all(reasons[name, "measured at each variant's fastest setting alone"] == 1 for name in variants)


def test_backends_share_one_copy_of_the_weights(checkpoints):
    _, variants = checkpoints
    fleet = models.Fleet(models.trained_loaders(variants, "sdpa"), "cpu", ["float32"])
    settings = settings_of(
        CELLS[0], {"dtype": ["float32"], "backend": ["sdpa", "eager"], "compile": ["off"]}
    )
    first, second = (fleet.model("teacher", setting) for setting in settings)
    assert first is not second
    assert (first.config._attn_implementation, second.config._attn_implementation) == ("sdpa", "eager")
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert one.data_ptr() == other.data_ptr()


def test_a_missing_backend_is_named_and_the_run_goes_on(checkpoints, tmp_path: Path):
    features, variants = checkpoints
    lines: list[str] = []
    described = run({"backend": ["flash_attention_2", "sdpa"]}, variants, features, tmp_path, lines.append)
    refused = [cell for cell in described["cells"] if cell["not_measured"]]
    assert {cell["backend"] for cell in refused} == {"flash_attention_2"}
    assert len(refused) == len(variants)
    assert len([line for line in lines if "flash_attention_2" in line]) == 1, "told once, not by variant"
    assert {row["backend"] for row in read(tmp_path / "samples.csv.gz")} == {"sdpa"}


def test_what_does_not_fit_says_so_and_the_rest_is_timed(checkpoints, tmp_path: Path, monkeypatch):
    import torch

    features, variants = checkpoints
    forward = models.Fleet.forward

    def tight(self, key: str, setting: Setting):
        if key == "teacher" and setting.batch == 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return forward(self, key, setting)

    monkeypatch.setattr(models.Fleet, "forward", tight)
    described = run({"cells": [*CELLS, {"batch": 1, "length": 32}]}, variants, features, tmp_path)
    refused = {(c["variant"], c["batch"]): c["not_measured"] for c in described["cells"]}
    assert refused == {
        ("teacher", 2): "does not fit: out of memory",
        ("teacher", 1): None,
        ("l0-h50-f50/pruned", 2): None,
        ("l0-h50-f50/pruned", 1): None,
    }
    timed = {(row["variant"], int(row["batch"])) for row in read(tmp_path / "samples.csv.gz")}
    assert timed == {cell for cell, reason in refused.items() if reason is None}


def test_where_nothing_runs_the_stage_fails_with_the_reason(checkpoints, tmp_path: Path):
    features, variants = checkpoints
    with pytest.raises(InputError, match=r"nothing runs on cpu: cannot run: .*installed"):
        run({"backend": ["flash_attention_2"]}, variants, features, tmp_path)
    assert not (tmp_path / "cells.json").exists()


def test_a_cell_past_the_models_positions_says_so_and_the_rest_is_timed(checkpoints, tmp_path: Path):
    features, variants = checkpoints
    described = run({"cells": [*CELLS, {"batch": 1, "length": 65}]}, variants, features, tmp_path)
    refused = {(c["length"], c["not_measured"]) for c in described["cells"]}
    assert refused == {(CELLS[0]["length"], None), (65, "the model has positions for 64 tokens alone")}


BROKEN = RuntimeError("CUDA error: an illegal memory access was encountered")
CAPTURE = RuntimeError("CUDA error: operation not permitted when stream is capturing")


def test_a_broken_gpu_is_no_cell_that_does_not_fit():
    with pytest.raises(InputError, match="the GPU failed: CUDA error: an illegal memory access"):
        models.Fleet({}, "cuda:0", []).reason_of(BROKEN)


def test_an_error_after_which_the_gpu_still_computes_is_one_settings(monkeypatch):
    monkeypatch.setattr(models.Fleet, "still_computes", lambda _: True)
    reason = models.Fleet({}, "cuda:0", []).reason_of(CAPTURE)
    assert reason == f"cannot run: {CAPTURE}"


def test_what_does_not_fit_beside_the_others_says_so_and_the_rest_is_timed(
    checkpoints, tmp_path: Path, monkeypatch
):
    """A pass that was tried out and fails later: the try-out cannot know all that the rounds allocate."""
    import torch

    features, variants = checkpoints
    warm_up = measure.warm_up

    def tight(calls, *more):
        if any(setting.batch == 2 for _, setting in calls):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return warm_up(calls, *more)

    monkeypatch.setattr(measure, "warm_up", tight)
    described = run({"cells": [*CELLS, {"batch": 1, "length": 32}]}, variants, features, tmp_path)
    reasons = {cell["batch"]: cell["not_measured"] for cell in described["cells"]}
    assert reasons == {2: "does not fit: out of memory, beside the other variants", 1: None}
    assert {row["batch"] for row in read(tmp_path / "samples.csv.gz")} == {"1"}


def test_questions_end_to_end_that_do_not_fit_leave_the_passes(checkpoints, tmp_path: Path, monkeypatch):
    import torch

    features, variants = checkpoints
    lines: list[str] = []

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(Service, "answer", full)
    run({}, variants, features, tmp_path, lines.append, dev=write_dev(tmp_path / "dev.jsonl"))
    assert "  batch 2 x 32, questions end to end: does not fit: out of memory" in lines
    assert read(tmp_path / "samples.csv.gz")
    assert not read(tmp_path / "end_to_end.csv.gz")


def test_a_gpu_that_fails_while_timing_ends_the_run_in_one_line(checkpoints, tmp_path: Path, monkeypatch):
    features, variants = checkpoints

    def lost(*_: object) -> None:
        raise BROKEN

    monkeypatch.setattr(measure, "warm_up", lost)
    with pytest.raises(InputError, match=r"^profile: the GPU failed: CUDA error: an illegal memory access"):
        run({}, variants, features, tmp_path)
    assert not list(tmp_path.glob("*.json"))


def test_logits_that_are_no_numbers_are_not_timed(checkpoints, tmp_path: Path, monkeypatch):
    features, variants = checkpoints
    convert = models.Fleet._converted

    def overflowing(self, key: str, setting: Setting):
        model = convert(self, key, setting)
        if key == "teacher":
            model.qa_outputs.bias.data.fill_(float("inf"))
        return model

    monkeypatch.setattr(models.Fleet, "_converted", overflowing)
    cells = run({}, variants, features, tmp_path)["cells"]
    assert [cell["not_measured"] for cell in cells] == ["its logits are not finite numbers", None]


def test_compiled_passes_have_code_of_their_own_and_end_with_their_cell(
    checkpoints, tmp_path: Path, monkeypatch
):
    import torch

    features, variants = checkpoints
    seen: list[tuple[object, str | None]] = []

    def recorded(function, mode=None, dynamic=None):
        seen.append((function.__code__, mode))
        assert dynamic is False
        return function

    monkeypatch.setattr(torch, "compile", recorded)
    spec = {"compile": ["off", "default", "max-autotune"], "cells": [*CELLS, {"batch": 1, "length": 32}]}
    described = run(spec, variants, features, tmp_path)
    assert Counter(mode for _, mode in seen) == {None: 4, "max-autotune": 4}
    assert len({id(code) for code, _ in seen}) == 8, "torch looks compiled code up by code object"
    assert len(described["cells"]) == 12


def test_a_compile_that_fails_is_a_reason(checkpoints, tmp_path: Path, monkeypatch):
    import torch
    from torch._dynamo.exc import Unsupported

    def failing(function, mode=None, dynamic=None):
        def forward(**inputs):
            raise Unsupported("no compiler here")

        return forward

    monkeypatch.setattr(torch, "compile", failing)
    features, variants = checkpoints
    cells = run({"compile": ["off", "default"]}, variants, features, tmp_path)["cells"]
    reasons = {cell["compile"]: cell["not_measured"] for cell in cells}
    assert reasons == {"off": None, "default": "torch.compile failed: no compiler here"}


def test_questions_are_timed_end_to_end_beside_the_passes(checkpoints, tmp_path: Path):
    features, variants = checkpoints
    run({"backend": ["sdpa", "eager"]}, variants, features, tmp_path, dev=write_dev(tmp_path / "dev.jsonl"))
    rows = read(tmp_path / "end_to_end.csv.gz")
    assert Counter(row["variant"] for row in rows) == dict.fromkeys(variants, SPEC["rounds"])
    counts = np.bincount(tiny_features().question_index)
    assert set(counts) == {1, 2}
    assert {row["questions"] for row in rows} == {"1", "2"}, "two windows hold one question or two"
    assert len({(row["variant"], row["backend"]) for row in rows}) == 2, "each at its fastest setting alone"


@pytest.mark.parametrize("batch", [1, 4, 8, 500])
def test_questions_of_a_call_fit_into_one_batch(batch: int, checkpoints, tmp_path: Path):
    _, variants = checkpoints
    examples = [Example(f"q{n}", "who", "mara", f"p{n}", "a") for n in range(60)]
    write_examples(tmp_path / "dev.jsonl", examples)
    service = make_service(SPEC, tmp_path / "dev.jsonl", variants["teacher"], "bert", "cpu")
    windows = np.random.default_rng(batch).integers(1, 4, 60)
    sets = service.calls(batch, windows, 0)
    held = [[int(example.id[1:]) for example in found] for found in sets]
    assert all(windows[found].sum() <= batch or len(found) == 1 for found in held)
    if batch < 500:
        assert len(held) == 4
        assert all(windows[found].sum() > batch - 3 for found in held), "none is a rest"
    else:
        assert sorted(held[0]) == list(range(60)), "what there is"
    assert len({number for found in held for number in found}) == sum(map(len, held))


def test_the_timed_service_answers_as_evaluation_does(checkpoints, tmp_path: Path):
    """Fixed batches filled up with repeats change no answer."""
    import torch

    _, variants = checkpoints
    examples = list(read_examples(write_dev(tmp_path / "dev.jsonl")))
    service = make_service(SPEC, tmp_path / "dev.jsonl", variants["teacher"], "bert", "cpu")
    model = models.trained_loaders(variants, "eager")["teacher"]().eval()
    windows = WindowSettings(**SPEC["windows"])
    tokenizer = load_tokenizer(variants["teacher"])
    features = featurise(examples, tokenizer, "bert", windows, labels=False)
    assert features.windows > len(examples)
    from qaprune.train.compute import Compute
    from qaprune.train.predict import predict_logits

    logits = predict_logits(model, features, Compute(torch.device("cpu"), torch.float32, "eager"))
    wanted = predict_spans(features, contexts_of(examples), logits, SPEC["max_answer_tokens"]).answers(0.0)
    with torch.inference_mode():
        found = service.answer(model, examples, 4, 32)
    assert found == wanted
    assert len(found) == 6


def test_packed_windows_are_full_and_begin_as_they_did():
    features = tiny_features()
    packed = pack_windows(features, 40)
    assert set(packed.lengths()) == {40}
    for window in range(features.windows):
        own = features.input_ids[features.row_ptr[window] : features.row_ptr[window + 1]]
        new = packed.input_ids[packed.row_ptr[window] : packed.row_ptr[window + 1]]
        assert np.array_equal(new[: len(own) - 1], own[:-1])
        assert new[-1] == own[-1]


def test_packed_windows_cut_what_is_too_long():
    packed = pack_windows(tiny_features(), 8)
    assert set(packed.lengths()) == {8}


def test_windows_without_context_cannot_be_packed():
    features = tiny_features()
    features.context_end = features.context_start
    with pytest.raises(InputError, match="no context tokens"):
        pack_windows(features, 40)


@pytest.fixture
def shape_only(tmp_path: Path) -> Path:
    """A config and a tokenizer, no weights."""
    from transformers import BertConfig

    folder = tmp_path / "encoder"
    BertConfig(
        vocab_size=50,
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
    ).save_pretrained(folder)
    write_tokenizer(folder / "tokenizer.json")
    return folder


UNTRAINED = {"untrained": {"criterion": "uniform", "budgets": ["h50-f25"]}}


def test_untrained_models_are_cut_evenly_and_timed_without_padding(
    checkpoints, shape_only: Path, tmp_path: Path
):
    out = tmp_path / "out"
    out.mkdir()
    described = run(UNTRAINED, {}, checkpoints[0], out, encoder=shape_only, dev=tmp_path / "unread")
    assert {cell["fill_percent"] for cell in described["cells"]} == {100.0}
    facts = json.loads((out / "variants.json").read_text())
    assert facts["run"] == SPEC["run"]
    cut = facts["variants"]["uniform-h50-f25/pruned"]
    assert (cut["heads_kept"], cut["ff_kept"], cut["hidden_kept"]) == (50, 25, 100)
    assert cut["flops"] < facts["variants"]["teacher"]["flops"]
    assert cut["params"] < facts["variants"]["teacher"]["params"]
    assert not (out / "end_to_end.csv.gz").exists(), "packed windows hold no questions"


@pytest.mark.parametrize("criterion", ["uniform", "random", "first_layers"])
def test_every_budget_that_a_plan_lets_through_cuts_untrained_models(criterion, shape_only: Path):
    budgets = ("h50-f50-d50", "flops60")
    untrained = models.Untrained(shape_only, criterion, budgets, 3, "sdpa", 32)
    full, *cuts = (model_shape(load()) for load in untrained.loaders("cpu").values())
    for budget, shape in zip(budgets, cuts, strict=True):
        assert encoder_flops(shape, 32) < 0.8 * encoder_flops(full, 32)
        narrowed = budget.endswith("d50") and criterion != "first_layers"
        assert shape.hidden == full.hidden // (2 if narrowed else 1)


def test_untrained_models_are_kept_at_multiples(checkpoints, shape_only: Path, tmp_path: Path):
    cut = "uniform-h50-f25/pruned"
    shapes = {}
    for multiples in ({}, {"round_to": [1, 24]}):
        spec = {"untrained": {"criterion": "uniform", "budgets": ["h50-f25"], **multiples}}
        out = tmp_path / str(len(multiples))
        out.mkdir()
        run(spec, {}, checkpoints[0], out, encoder=shape_only)
        shapes[len(multiples)] = json.loads((out / "variants.json").read_text())["variants"][cut]
    assert shapes[0]["ff_kept"] == 25
    assert 0 < shapes[1]["ff_kept"] < 25
    assert shapes[0]["heads_kept"] == shapes[1]["heads_kept"]


def test_the_speed_configs_cuts_keep_the_published_per_cents_in_multiples_of_8():
    config = load_config([ROOT / "config" / "speed.yaml"])
    for name in ("bert-base", "bert-large"):
        sizes = config["models"][name]["source"]["scratch"]
        shape = EncoderShape(
            sizes["hidden"],
            sizes["hidden"] // sizes["heads"],
            (sizes["heads"],) * sizes["layers"],
            (sizes["intermediate"],) * sizes["layers"],
        )
        multiples = tuple(config["prune"]["round_to"].get(kind, 1) for kind in ("heads", "ff", "hidden"))
        for budget in map(parse_budget, config["budgets"]):
            scores = load_criterion("uniform").score(GateTask(shape, {}, 13))
            costs = costs_of(budget, shape, 384, None, None)
            mask = select(scores, 0, budget, shape, "uniform", costs, multiples)
            widths = [np.count_nonzero(layer) for layer in mask.ff]
            assert all(width % 8 == 0 for width in widths)
            assert 100 * sum(widths) / sum(shape.ff) == pytest.approx(budget.ff, abs=0.025)


def test_a_teacher_that_fits_nowhere_leaves_its_cuts_their_rows(
    checkpoints, shape_only: Path, tmp_path: Path, monkeypatch
):
    import torch

    forward = models.Fleet.forward

    def tight(self, key: str, setting: Setting):
        if key == "teacher":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return forward(self, key, setting)

    monkeypatch.setattr(models.Fleet, "forward", tight)
    out = tmp_path / "tiny-squad2-s3"
    out.mkdir()
    run(UNTRAINED, {}, checkpoints[0], out, encoder=shape_only)
    facts = json.loads((out / "variants.json").read_text())["variants"]
    assert facts["teacher"]["heads_kept"] == 100
    runs = collect([], [out])
    rows = {row["variant"]: row for row in build_rows(runs)}
    assert rows["pruned"]["latency_ms"] > 0
    assert rows["pruned"]["speedup"] is None
    assert rows["teacher"]["latency_ms"] is None
    reasons = {row["variant"]: row["not_measured"] for row in matrix_rows(runs)}
    assert reasons["teacher"] == "does not fit: out of memory"
    assert "speedup: the teacher was not timed at this batch and length" in reasons["pruned"]
    build_report({"resamples": 100, "published": True}, [], [out], tmp_path / "report")
    assert "does not fit" in (tmp_path / "report" / "report.html").read_text()


def test_untrained_models_need_an_encoder_and_no_variants(checkpoints, shape_only: Path, tmp_path: Path):
    features, variants = checkpoints
    for given in ({"encoder": None}, {"encoder": shape_only, "variants": variants}):
        with pytest.raises(InputError, match="--encoder"):
            run(UNTRAINED, given.get("variants", {}), features, tmp_path, encoder=given["encoder"])
    with pytest.raises(InputError, match="--variant"):
        run({}, {}, features, tmp_path)
