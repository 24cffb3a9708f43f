"""The page's parts that are text: headline, figures, environment, provenance, gaps, column dictionary."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from qaprune.report.checkpoints import CONFIG
from qaprune.report.columns import Row
from qaprune.report.headline import Headline
from qaprune.report.provenance import Provenance
from qaprune.report.rows import name_of, pairs, untrained
from qaprune.report.tables import reasons

if TYPE_CHECKING:
    from qaprune.report.page.build import Figure


def text(value: object) -> str:
    """Anything as HTML text or a quoted attribute."""
    return html.escape(str(value), quote=True)


def headlines(found: Sequence[Headline], generated: Sequence[str] = ()) -> str:
    """One sentence a pair, with what it rests on."""
    parts = []
    for one in found:
        details = list(one.details)
        if one.dataset in generated:
            details.append("The questions are generated: this shows that the pipeline works, no more.")
        parts.append(
            f'<article class="claim"><h3>{text(one.pair)}</h3>'
            f'<p class="lead">{_claim(one.claim)}</p>'
            + "".join(f"<p>{text(line)}</p>" for line in details)
            + "</article>"
        )
    kind = "claims several" if len(found) > 1 else "claims"
    return f'<div class="{kind}">{"".join(parts)}</div>'


def _claim(claim: str) -> str:
    """The sentence; what follows its colon, and its brackets, are quieter."""
    head, colon, tail = claim.partition(":")
    body = text(head).replace("[", '<span class="quiet">[').replace("]", "]</span>")
    return body + (f'<span class="quiet">{colon}{text(tail)}</span>' if tail else "")


def reading(rows: list[Row]) -> str:
    """How to read the chart, and what its intervals leave out."""
    if untrained(rows):
        return "Bars are 95 % bootstrap intervals over resampled rounds. Nothing was trained."
    count = len({row["seed"] for row in rows})
    noise = (
        "One seed: noise of training and threshold is in none of them."
        if count == 1
        else f"Each is that of one of {count} seeds; noise of training and threshold is in none of them."
    )
    return (
        "Bars are 95 % bootstrap intervals: of F1 over resampled paragraphs or documents, of speedup over "
        f"resampled rounds. {noise} A difference inside its interval is no difference. A dotted ring marks "
        "the row of the headline, thin lines lead from a pruned model to its best recovered one on the "
        "hold-out. Random masks are drawn at their mean, with their range."
    )


def figures(found: Sequence[Figure]) -> str:
    """Figures as images inside the page, so that their styles and ids stay apart from it and each other."""
    if not found:
        return "<p>No figures were made.</p>"
    return '<div class="figures">' + "".join(map(_figure, found)) + "</div>"


def _title(figure: Figure) -> str:
    """Without the full stop that the page sets itself."""
    return figure.title.rstrip(".")


def _figure(figure: Figure) -> str:
    title = _title(figure)
    if figure.svg is None:
        body = f'<p class="gap">Not drawn: {text(figure.reason or "nothing to draw")}</p>'
    else:
        body = (
            f'<div class="scroll" tabindex="0" role="region" aria-label="{text(title)}">'
            f'<img loading="lazy" decoding="async" alt="{text(figure.caption)}" '
            f'src="{text(_data_uri(figure.svg))}"></div>'
        )
    caption = f"<figcaption><b>{text(title)}.</b> {text(figure.caption)}</figcaption>"
    return f'<figure id="figure-{text(figure.name)}">{body}{caption}</figure>'


def _data_uri(svg: str) -> str:
    """Escaped, not base64: the paths that an SVG is made of need no escapes, and a third is saved."""
    return "data:image/svg+xml," + quote(" ".join(svg.split()), safe=" /:;=,.-+()!*$@")


def environment(found: Mapping[str, Mapping[str, Any]]) -> str:
    """What timings were taken on; runs on equal machines stand together."""
    if not found:
        return "<p>Not recorded: no run was profiled.</p>"
    groups: list[tuple[Mapping[str, Any], list[str]]] = []
    for run, facts in found.items():
        known = next((runs for other, runs in groups if other == facts), None)
        if known is None:
            groups.append((facts, [run]))
        else:
            known.append(run)
    return "".join(_machine(facts, runs) for facts, runs in groups)


def _machine(facts: Mapping[str, Any], runs: list[str]) -> str:
    known = {key: value for key, value in sorted(facts.items()) if value is not None}
    unknown = [key for key, value in sorted(facts.items()) if value is None]
    lines = "".join(
        f"<div><dt>{text(key)}</dt><dd>{text(value)}</dd></div>" for key, value in known.items()
    )
    rest = f'<p class="note">Not there or not readable: {text(", ".join(unknown))}.</p>' if unknown else ""
    return f'<h3>{text(", ".join(runs))}</h3><dl class="facts">{lines}</dl>{rest}'


def provenance(rows: list[Row], origin: Provenance) -> str:
    """A table of runs, and one of rows with the command that makes each again."""
    runs = "".join(
        _line(run, commits.get("evaluate") or "-", commits.get("profile") or "-")
        for run, commits in origin.commits.items()
    )
    body = "".join(
        f'<tr id="from-{number}"><th scope="row">{text(name_of(row))}</th><td>{text(row["seed"])}</td>'
        f"<td>{text(entry.run)}</td>{_codes(entry.folder, entry.digest, entry.commit, entry.command)}</tr>"
        for number, (row, entry) in enumerate(zip(rows, origin.origins, strict=True))
    )
    unknown = any(entry.command.endswith(CONFIG) for entry in origin.origins)
    own = f" <code>{CONFIG}</code>: the files that this run was configured by." if unknown else ""
    return (
        '<p class="note">A digest is that of a stage\'s spec and inputs: rows with the same one come from '
        "the same. A <code>-</code> stands where the results folder no longer holds the stage's record. A "
        f"<code>+</code> after a commit: with uncommitted changes.{own}</p>"
        + _table("Commits of scores and timings", ("run", "evaluate", "profile"), runs)
        + "<details><summary>Every row: stage folder, digest, commit, command</summary>"
        + _table(
            "The command that makes one row again",
            ("row", "seed", "run", "stage folder", "digest", "commit", "command"),
            body,
        )
        + "</details>"
    )


def _codes(*values: str) -> str:
    return "".join(f"<td><code>{text(value or '-')}</code></td>" for value in values)


def _line(*cells: str) -> str:
    first, *rest = cells
    return (
        f'<tr><th scope="row">{text(first)}</th>' + "".join(f"<td>{text(c)}</td>" for c in rest) + "</tr>"
    )


def _table(caption: str, header: Iterable[str], body: str) -> str:
    head = "".join(f'<th scope="col">{text(name)}</th>' for name in header)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{text(caption)}"><table class="plain">'
        f"<caption>{text(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def missing(rows: list[Row], figures: Sequence[Figure]) -> str:
    """Each reason once a pair; figures that could not be drawn; and what one seed cannot tell."""
    parts = []
    for (model, dataset), group in pairs(rows).items():
        lines = reasons(group)
        if untrained(group):
            lines.insert(0, "F1 and all other quality: nothing was trained")
        elif len({row["seed"] for row in group}) == 1:
            lines.append("noise of training and threshold: one seed")
        items = "".join(f"<li>{text(line)}</li>" for line in lines)
        parts.append(f"<h3>{text(model)} on {text(dataset)}</h3><ul>{items or '<li>nothing</li>'}</ul>")
    absent = [figure for figure in figures if figure.svg is None]
    if absent:
        items = "".join(
            f"<li>{text(_title(f))}: {text(f.reason or 'no reason given')}</li>" for f in absent
        )
        parts.append(f"<h3>Figures</h3><ul>{items}</ul>")
    return '<div class="reasons">' + "".join(f"<div>{part}</div>" for part in parts) + "</div>"


def columns(found: Iterable[Mapping[str, Any]]) -> str:
    """The dictionary of the columns that this page has."""
    lines = "".join(
        f"<div><dt><code>{text(column['name'])}</code> "
        f"<span>{text(column['unit'])}</span></dt><dd>{text(column['meaning'])}</dd></div>"
        for column in found
    )
    return f'<dl class="dictionary">{lines}</dl>'
