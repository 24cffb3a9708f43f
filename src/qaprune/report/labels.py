"""Direct labels that keep clear of markers, lines and each other: a greedy choice around each point."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np


class Label(NamedTuple):
    """A text to place beside the point (x, y) given in data units."""

    text: str
    x: float
    y: float
    colour: str
    size: float = 8.5


SIDES = (
    *((1.0, 0.0), (-1.0, 0.0), (1.0, 0.7), (1.0, -0.7), (-1.0, 0.7), (-1.0, -0.7)),
    *((0.0, 1.0), (0.0, -1.0), (0.5, 1.0), (0.5, -1.0), (-0.5, 1.0), (-0.5, -1.0)),
)
"""Where a text may stand, in its half widths and half heights from the point; best-read first."""
DISTANCES = (9, 15, 24, 36, 50)
"""From the marker's centre to the nearest edge of the text, in pixels."""
MARGIN = 2.0


def place_labels(axes: Any, labels: list[Label], pixels: np.ndarray, boxes: list[np.ndarray]) -> None:
    """Annotate each label where it overlaps least.

    `pixels`: points that no label should cover, shape (n, 2). `boxes`: rectangles already taken, each
    (x0, y0, x1, y1). All in pixels.
    """
    figure = axes.figure
    renderer = figure.canvas.get_renderer()
    frame = axes.get_window_extent(renderer).extents
    taken = list(boxes)
    anchors = axes.transData.transform([(label.x, label.y) for label in labels]) if labels else pixels
    for label in labels:
        probe = axes.annotate(label.text, (label.x, label.y), fontsize=label.size)
        extent = probe.get_window_extent(renderer)
        probe.remove()
        anchor = axes.transData.transform((label.x, label.y))
        place, far = _best_place(anchor, extent.width, extent.height, pixels, taken, frame, anchors)
        taken.append(place)
        middle = (place[:2] + place[2:]) / 2
        offset = (middle - anchor) * 72 / figure.dpi
        axes.annotate(
            label.text,
            (label.x, label.y),
            xytext=tuple(offset),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=label.size,
            color=label.colour,
            zorder=6,
            arrowprops={"arrowstyle": "-", "color": label.colour, "lw": 0.6, "shrinkA": 0, "shrinkB": 4}
            if far
            else None,
        )


def _best_place(
    anchor: np.ndarray,
    width: float,
    height: float,
    pixels: np.ndarray,
    taken: list[np.ndarray],
    frame: np.ndarray,
    anchors: np.ndarray,
) -> tuple[np.ndarray, bool]:
    """The rectangle with the least overlap, nearer ones first; and whether it needs a line to its point."""
    best, best_cost, best_far = None, np.inf, False
    for distance in DISTANCES:
        for turn, side in enumerate(SIDES):
            half = np.array([width, height]) / 2
            middle = anchor + np.array(side) / np.hypot(*side) * distance + np.array(side) * half
            box = np.concatenate([middle - half, middle + half])
            cost = _overlap(box, pixels, taken, frame) + distance / 10 + turn / 20
            cost += 6.0 * _nearer_to_another(box, anchor, anchors)
            if cost < best_cost:
                best, best_cost, best_far = box, cost, distance > DISTANCES[1]
    assert best is not None
    return best, best_far


def _nearer_to_another(box: np.ndarray, own: np.ndarray, anchors: np.ndarray) -> bool:
    """Whether a reader would take the text for another point's name."""
    gaps = np.maximum(np.maximum(box[:2] - anchors, anchors - box[2:]), 0)
    distances = np.hypot(gaps[:, 0], gaps[:, 1])
    mine = distances[np.all(anchors == own, axis=1)].min()
    return bool((distances < mine - 0.5).any())


def _overlap(box: np.ndarray, pixels: np.ndarray, taken: list[np.ndarray], frame: np.ndarray) -> float:
    """How bad a rectangle is: points covered, other texts covered, parts outside the frame."""
    x0, y0, x1, y1 = box + np.array([-MARGIN, -MARGIN, MARGIN, MARGIN])
    covered = (pixels[:, 0] > x0) & (pixels[:, 0] < x1) & (pixels[:, 1] > y0) & (pixels[:, 1] < y1)
    cost = 2.0 * float(covered.sum())
    for other in taken:
        across = min(x1, other[2]) - max(x0, other[0])
        along = min(y1, other[3]) - max(y0, other[1])
        if across > 0 and along > 0:
            cost += 20 + across * along / 20
    outside = max(frame[0] - x0, 0) + max(x1 - frame[2], 0) + max(frame[1] - y0, 0) + max(y1 - frame[3], 0)
    return cost + 5 * outside
