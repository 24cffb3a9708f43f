"""Published results. Never measured here: shown apart, with source and hardware."""

from __future__ import annotations

from typing import NamedTuple

from qaprune.report.columns import Row

DATASET = "squad2"
NOT_STATED = "hardware not stated"
PAPER = "McCarley, Chakravarti and Sil, arXiv 1910.06360"
PAPER_TEACHER_TIME = 2712
BLOCK = "Lagunas et al., block movement pruning (2021)"
AUTHORS = "as its authors state"


class Claim(NamedTuple):
    """A published statement without exact figures, as its authors word them."""

    work: str
    model: str
    f1: str
    speedup: str
    source: str
    hardware: str = NOT_STATED


NQ = "nq"
NQ_CLAIMS = (
    Claim("McCarley et al.", "roberta-large", "loses under 0.5 in short answers", "near-doubled", PAPER),
)
"""The paper's abstract; distilled. F1 and settings of its models are not in the sources of this page."""


class Published(NamedTuple):
    """One published point on SQuAD 2.0: F1 in points, `speedup` against that work's own teacher."""

    work: str
    point: str
    model: str
    f1: float
    speedup: float
    source: str
    hardware: str = NOT_STATED
    teacher_f1: float | None = None
    f1_pruned: float | None = None

    @property
    def delta_f1(self) -> float | None:
        """F1 minus that work's teacher, in points."""
        return None if self.teacher_f1 is None else self.f1 - self.teacher_f1


def _paper(heads_cut: float, ff_cut: float, before: float | None, after: float, time: float) -> Published:
    point = f"h{100 - heads_cut:.4g}-f{100 - ff_cut:.4g}"
    speedup = round(PAPER_TEACHER_TIME / time, 2)
    return Published(
        "McCarley et al.", point, "bert-large", after, speedup, PAPER, NOT_STATED, 84.6, before
    )


def _block(model: str, teacher: float, f1: float, speedup: float) -> Published:
    return Published("block movement", f"{speedup:g}x", model, f1, speedup, BLOCK, NOT_STATED, teacher)


PUBLISHED = (
    _paper(0, 0, None, 84.6, 2712),
    _paper(44.3, 0, None, 84.2, 2288),
    _paper(0, 48.1, None, 83.2, 2103),
    _paper(44.0, 48.1, 82.6, 83.7, 1667),
    _paper(53.1, 64.9, 80.9, 83.2, 1391),
    _paper(57.6, 73.7, 76.8, 82.4, 1213),
    _paper(60.1, 78.4, 67.8, 81.5, 1128),
    _block("bert-base", 76.70, 76.99, 1.69),
    _block("bert-base", 76.70, 75.63, 1.97),
    _block("bert-base", 76.70, 75.20, 2.21),
    _block("bert-large-wwm", 85.85, 83.22, 2.15),
    _block("bert-large-wwm", 85.85, 82.57, 2.63),
    Published("DistilBERT", "", "6 x 768", 68.18, 2.06, f"measured by {BLOCK}", "RTX 3090"),
    Published("TinyBERT", "", "6 x 768", 77.7, 2.0, AUTHORS),
    Published("MiniLM", "weakest teacher", "6 x 384", 72.9, 5.3, AUTHORS),
    Published("MiniLM", "best teacher", "6 x 384", 76.4, 5.3, AUTHORS),
)


def published_series() -> list[list[Published]]:
    """The points of one work and model together, in the order of their speedup."""
    found: dict[tuple[str, str], list[Published]] = {}
    for point in PUBLISHED:
        found.setdefault((point.work, point.model), []).append(point)
    return [sorted(series, key=lambda point: point.speedup) for series in found.values()]


def published_label(point: Published) -> str:
    """A plot's name of a series; the legend says that hardware which is not named was not stated."""
    hardware = "" if point.hardware == NOT_STATED else f" ({point.hardware})"
    return f"{point.work}, {point.model}{hardware}"


def published_speedup(row: Row) -> float | None:
    """The paper's speedup of bert-large where the row's budget keeps the per cents of one of its cuts."""
    return next((point.speedup for point in PUBLISHED if point.point == row["budget"]), None)
