"""Percentile bootstrap: over paragraphs for quality, over rounds for speed; one resampling for all."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from qaprune.errors import InputError

LEVEL = 95.0
RESAMPLES = 2000
CHUNK = 250


@dataclass(frozen=True, slots=True)
class GroupSums:
    """Per variant and group, the two sums whose ratio is F1, as arrays of shape (variants, groups).

    SQuAD 2.0: sum of the questions' F1, and their number. NQ short answers: 2 tp, and n_pred + n_gold.
    """

    variants: tuple[str, ...]
    groups: tuple[str, ...]
    numerator: np.ndarray
    denominator: np.ndarray

    def f1(self) -> np.ndarray:
        """F1 of each variant in points (0 to 100), shape (variants,)."""
        return _ratio(self.numerator.sum(axis=1), self.denominator.sum(axis=1))


class Placed(NamedTuple):
    """A column of words: the distinct ones, sorted, and the place of each line's among them."""

    words: tuple[str, ...]
    places: np.ndarray


def placed(words: list[str]) -> Placed:
    """The column as places; no array of text is made."""
    distinct = tuple(sorted(set(words)))
    place = {word: index for index, word in enumerate(distinct)}
    return Placed(distinct, np.fromiter(map(place.__getitem__, words), np.int64, len(words)))


def group_sums(
    variants: list[str], groups: list[str], numerator: np.ndarray, denominator: np.ndarray
) -> GroupSums:
    """Sum per-question values (parallel sequences) into (variant, group) cells; both axes sorted."""
    return sums_of(placed(variants), placed(groups), numerator, denominator)


def sums_of(variants: Placed, groups: Placed, numerator: np.ndarray, denominator: np.ndarray) -> GroupSums:
    """The same of columns whose words have their places already."""
    shape = (len(variants.words), len(groups.words))
    cell = variants.places * shape[1] + groups.places
    parts = (
        np.bincount(cell, values, shape[0] * shape[1]).reshape(shape) for values in (numerator, denominator)
    )
    return GroupSums(variants.words, groups.words, *parts)


def bootstrap_f1(sums: GroupSums, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """F1 points of every variant in every resample, shape (variants, resamples). Row i is variant i.

    All variants see the same resamples, so that differences between rows are paired.
    """
    denominator = sums.denominator
    if (denominator == denominator[:1]).all():  # the number of questions, the same for all
        denominator = denominator[:1]
    parts = [
        _ratio(counts @ sums.numerator.T, counts @ denominator.T)
        for counts in _resampled_counts(sums.numerator.shape[1], resamples, seed)
    ]
    return np.concatenate(parts).T


def _resampled_counts(groups: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """How often each group was drawn, shape (chunk, groups); chunks keep the memory small."""
    if groups < 1:
        raise InputError("bootstrap: no groups to resample")
    generator = np.random.default_rng(seed)
    for start in range(0, resamples, CHUNK):
        rows = min(CHUNK, resamples - start)
        drawn = generator.integers(groups, size=(rows, groups), dtype=np.int32)
        drawn += np.arange(rows, dtype=np.int32)[:, None] * groups
        yield np.bincount(drawn.ravel(), minlength=rows * groups).reshape(rows, groups).astype(np.float64)


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """100 x numerator / denominator, and 0 where nothing was predicted and nothing was there to find."""
    return 100 * np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)


def percentile_interval(values: np.ndarray, level: float = LEVEL) -> tuple[float, float]:
    """The central `level` per cent of bootstrap values."""
    tail = (100 - level) / 2
    low, high = np.percentile(values, [tail, 100 - tail])
    return float(low), float(high)


def paired_ratios(teacher: dict[int, float], variant: dict[int, float]) -> np.ndarray:
    """Teacher seconds / variant seconds of each round that timed both, in the order of the rounds."""
    rounds = sorted(teacher.keys() & variant.keys())
    return np.array([teacher[number] / variant[number] for number in rounds])


def speedup_interval(
    ratios: np.ndarray, resamples: int = RESAMPLES, seed: int = 0, level: float = LEVEL
) -> tuple[float, float, float]:
    """Median of the rounds' paired ratios, and its interval when rounds are resampled."""
    if not len(ratios):
        raise InputError("bootstrap: no round timed both the teacher and this variant")
    low, high = percentile_interval(_row_medians(ratios[_drawn(len(ratios), resamples, seed)]), level)
    return float(np.median(ratios)), low, high


@lru_cache(maxsize=4)
def _drawn(count: int, resamples: int, seed: int) -> np.ndarray:
    """Rounds that each resample drew, shape (resamples, count): the same for all of as many rounds."""
    return np.random.default_rng(seed).integers(count, size=(resamples, count))


def ratio_of_medians(
    baseline: np.ndarray, new: np.ndarray, resamples: int = RESAMPLES, seed: int = 0, level: float = LEVEL
) -> tuple[float, float, float]:
    """Median of `new` / median of `baseline`, two series of rounds that share none, and its interval.

    Each side's rounds are resampled on its own, in blocks of neighbours: a slow spell lasts several rounds,
    and drawing them one by one would take it for that many independent observations.
    """
    if not len(baseline) or not len(new):
        raise InputError("bootstrap: no round to resample")
    generator = np.random.default_rng(seed)
    below, above = (_block_medians(side, resamples, generator) for side in (baseline, new))
    low, high = percentile_interval(above / below, level)
    return float(np.median(new) / np.median(baseline)), low, high


def median_interval(
    values: np.ndarray, resamples: int = RESAMPLES, seed: int = 0, level: float = LEVEL
) -> tuple[float, float]:
    """The interval of a series' median when blocks of neighbouring rounds are resampled."""
    if not len(values):
        raise InputError("bootstrap: no round to resample")
    return percentile_interval(_block_medians(values, resamples, np.random.default_rng(seed)), level)


def _block_medians(values: np.ndarray, resamples: int, generator: np.random.Generator) -> np.ndarray:
    """Medians of resampled series, shape (resamples,); blocks of about sqrt(n) rounds wrap at the end."""
    count = len(values)
    length = round(math.sqrt(count))
    starts = generator.integers(count, size=(resamples, -(-count // length), 1))
    drawn = (starts + np.arange(length)).reshape(resamples, -1)[:, :count] % count
    return _row_medians(values[drawn])


def _row_medians(values: np.ndarray) -> np.ndarray:
    """As `np.median(values, axis=1)`, bit for bit; sorting short rows whole is ten times as fast."""
    ranked = np.sort(values, axis=1)
    middle = values.shape[1] // 2
    return ranked[:, middle] if values.shape[1] % 2 else (ranked[:, middle - 1] + ranked[:, middle]) / 2
