"""Training curves: loss against tokens, a panel for the teachers and one for each way of recovery."""

from __future__ import annotations

from typing import Any

from qaprune.report.collect import Run
from qaprune.report.columns import Row
from qaprune.report.rows import place_of
from qaprune.report.seeds import seeds_of
from qaprune.report.style import GREY, SMALL, drawing, ink, looks, room_for, words_of, write_head

PANELS = {"teacher": ("teacher", "teacher+"), "retrained": ("retrained",), "distilled": ("distilled",)}
"""Panel -> variants. A distilled model's loss has the divergence from its teacher in it: not comparable."""
NAMED = 14
"""Up to so many curves of a panel are named one by one, else their criteria are."""
POINTS = 2000
"""Most points of a panel, of all curves together: longer logs are drawn at every n-th line."""
STYLES = ("-", (0, (5, 1.5)), (0, (1.5, 1.5)), (0, (6, 1.5, 1, 1.5)), (0, (3, 3)))
"""A criterion's budgets, in their order."""


def curve_rows(runs: list[Run]) -> list[Row]:
    """The training logs as a tidy table: a row a logged step, with the variant's identity."""
    rows = []
    for run in runs:
        for key in sorted(run.curves, key=lambda key: place_of(key, run.variants[key])):
            scores, lines = run.variants[key], run.curves[key]
            names = {name: scores.get(name) for name in ("criterion", "budget", "variant")}
            names["variant"] = names["variant"] or key
            identity = {"model": run.model, "dataset": run.dataset, "seed": run.seed, **names}
            rows += [identity | line for line in lines]
    return rows


def training_figure(rows: list[Row]) -> Any:
    """The curves of one pair's `curve_rows`, one line a variant and seed."""
    panels = {
        name: curves
        for name, kinds in PANELS.items()
        if (curves := _curves([row for row in rows if row["variant"] in kinds]))
    }
    criteria = [str(row["criterion"]) for row in rows if row["criterion"]]
    look = looks(criteria)
    budgets = list(dict.fromkeys(str(row["budget"]) for row in rows if row["criterion"]))
    names = [
        f"{words_of(key[0])} {key[1]}".strip() or key[2] for curves in panels.values() for key in curves
    ]
    panel = 2.1 + room_for(names, 1.2, SMALL - 1) + 0.3
    width, height = 0.6 + panel * len(panels), 4.3
    with drawing(width, height) as figure:
        seeds = ", ".join(map(str, seeds_of(rows)))
        many = "s" * ("," in seeds)
        lines = [
            f"mean loss of the 50 steps before; seed{many} {seeds}; losses compare within a panel alone"
        ]
        if len(budgets) > 1 and any(_short({key[:3] for key in curves}) for curves in panels.values()):
            lines.append("the smaller the budget, the more broken the line: " + ", ".join(budgets))
        taken = write_head(
            figure, f"Training: {rows[0]['model']} on {rows[0]['dataset']}", lines, left=0.25
        )
        for place, (name, curves) in enumerate(panels.items()):
            left = (0.6 + panel * place) / width
            axes = figure.add_axes((left, 0.5 / height, 2.1 / width, 1 - (0.5 + taken + 0.25) / height))
            axes.set_title(name, fontsize=9.5, loc="left")
            axes.set_xlabel("million tokens")
            if not place:
                axes.set_ylabel("training loss")
            ends = []
            width_of_line = 0.8 if len(curves) > NAMED else 1.2
            for (criterion, budget, variant, _), steps in curves.items():
                colour = look[criterion][0] if criterion else ("black" if variant == "teacher" else GREY)
                style = STYLES[budgets.index(budget) % len(STYLES)] if criterion else "-"
                tokens, losses = zip(*_thinned(steps, POINTS // len(curves)), strict=True)
                axes.plot(tokens, losses, color=colour, ls=style, lw=width_of_line, alpha=0.9)
                full = f"{words_of(criterion)} {budget}".strip() if criterion else variant
                ends.append((losses[-1], full, words_of(criterion) or variant, colour))
            _name_ends(axes, ends)
    return figure


def _curves(rows: list[Row]) -> dict[tuple[str, str, str, object], list[tuple[float, float]]]:
    """(criterion, budget, variant, seed) -> (million tokens, loss) in the order of the steps."""
    found: dict[tuple[str, str, str, object], list[tuple[float, float]]] = {}
    for row in rows:
        key = (str(row["criterion"] or ""), str(row["budget"] or ""), str(row["variant"]), row["seed"])
        found.setdefault(key, []).append((float(row["tokens"]) / 1e6, float(row["loss"])))  # type: ignore[arg-type]
    return found


def _short(names: set) -> bool:
    """Whether so many curves share a panel that only their criteria are named."""
    return len(names) > NAMED


def _thinned(steps: list[tuple[float, float]], most: int) -> list[tuple[float, float]]:
    """Every n-th point, the last one always among them."""
    return steps[:: -max(1, -(-len(steps) // max(most, 10)))][::-1]


def _name_ends(axes: Any, ends: list[tuple[float, str, str, str]]) -> None:
    """Names at the right, in the order of the last losses, moved apart where they would touch.

    Curves of one name (seeds, or a criterion's budgets where there are many) have one text, at the mean.
    """
    short = _short({full for _, full, _, _ in ends})
    groups: dict[str, list[tuple[float, str]]] = {}
    for loss, full, criterion, colour in ends:
        groups.setdefault(criterion if short else full, []).append((loss, colour))
    low, high = axes.get_ylim()
    wanted = sorted((sum(loss for loss, _ in group) / len(group), name) for name, group in groups.items())
    gap = (high - low) * 0.058
    heights: list[float] = []
    for loss, _ in wanted:
        heights.append(max(loss, heights[-1] + gap) if heights else loss)
    over = max(heights[-1] - high, 0.0)
    for (_, name), height in zip(wanted, heights, strict=True):
        axes.annotate(
            name,
            (1.0, height - over),
            xycoords=("axes fraction", "data"),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=SMALL - 1,
            color=ink(groups[name][0][1]),
            annotation_clip=False,
        )
