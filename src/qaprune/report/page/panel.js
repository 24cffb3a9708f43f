// One panel a model and data set: F1 against speedup, or speedup alone where nothing was trained.
const LEVELS = { teacher: "", "teacher+": "6 3", "no-answer": "1.5 3", longest_candidate: "1.5 5" };

/** Draw all panels and return the number of points of this project's own. */
function drawPanels(shown) {
  const box = document.getElementById("panels");
  const pairs = new Map();
  for (const row of shown) {
    const key = JSON.stringify([row.model, row.dataset]);
    if (!pairs.has(key)) pairs.set(key, []);
    pairs.get(key).push(row);
  }
  box.replaceChildren();
  box.classList.toggle("single", pairs.size === 1);
  const panels = [...pairs.values()].map((group) => {
    const title = `${group[0].model} on ${group[0].dataset}`;
    const panel = make("figure", { class: "panel" });
    panel.append(make("figcaption", {}, make("b", {}, title), ` ${settingOf(group)}`));
    box.append(panel);
    return { panel, group, title };
  });
  if (!panels.length) box.append(make("p", { class: "gap" }, "No row is left by these filters."));
  // All stand before the first is drawn: a panel is as wide as the others leave it.
  return panels.reduce((drawn, { panel, group, title }) => drawn + drawPanel(panel, group, title), 0);
}

function settingOf(group) {
  const timed = group.filter((row) => row.speedup != null);
  const found = new Set(
    timed.map((row) => `${row.device}, batch ${row.batch} x ${row.length}, ${row.dtype}, ${row.backend}, compile ${row.compile}`),
  );
  if (!found.size) return "";
  return [...found][0] + (found.size > 1 ? "; some rows at a setting of their own" : "");
}

function drawPanel(panel, group, title) {
  const scored = rows.some((row) => row.model === group[0].model && row.dataset === group[0].dataset && row.f1 != null);
  const spots = scored ? scoredSpots(group) : speedSpots(group);
  if (!spots.length) {
    const reason = group.map((row) => row.not_measured).find(Boolean) ?? "no row of these was timed";
    panel.append(make("p", { class: "gap" }, `No point to draw: ${reason}`));
    return 0;
  }
  const width = Math.max(280, panel.clientWidth);
  const single = panel.parentElement.classList.contains("single");
  const lines = new Set(spots.map((spot) => spot.line)).size;
  const height = scored ? Math.round(Math.min(single ? 460 : 360, Math.max(280, width * 0.75))) : 70 + 30 * lines;
  const levels = scored ? levelsOf(group) : [];
  const plot = plotArea(spots, levels, width, height, scored);
  const svg = make("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "group", "aria-label": `${title}: points by speedup, left and right arrow keys move between them` });
  drawAxes(svg, plot, spots, scored);
  drawLevels(svg, plot, levels);
  drawLinks(svg, plot, spots);
  for (const spot of spots) drawBars(svg, plot, spot);
  for (const spot of spots) svg.append((spot.element = drawSpot(plot, spot)));
  if (scored) drawLabels(svg, plot, spots, levels);
  panel.append(svg);
  listen(svg, spots);
  return spots.filter((spot) => spot.row).length;
}

/** Points of trained rows and of published ones: x, y, and the ends of their bars. */
function scoredSpots(group) {
  const spots = [];
  for (const row of group) {
    if (row.speedup == null || row.f1 == null) continue;
    const draws = row.variant === "pruned" ? data.draws[row.index] : null;
    spots.push({
      row,
      x: row.speedup,
      y: draws ? draws.mean : row.f1,
      across: spanOf(row, "speedup"),
      along: draws ? [draws.low, draws.high] : spanOf(row, "f1"),
      look: lookOf(row),
      fill: fillOf(row.variant),
      radius: RADII[row.variant] ?? 6,
    });
  }
  return spots.length ? [...spots, ...publishedSpots(group[0].dataset)] : spots;
}

function publishedSpots(dataset) {
  if (!isOn("published", "on other hardware")) return [];
  return data.published
    .filter((point) => point.dataset === dataset)
    .map((point) => ({ published: point, x: point.speedup, y: point.f1, look: ["#7a7a7a", "p"], fill: "none", radius: 5 }));
}

/** Models that nothing trained: a line a cut, the paper's speedup of the same cut beside the measured one. */
function speedSpots(group) {
  const spots = [];
  for (const row of group.filter((one) => one.criterion != null && one.speedup != null)) {
    const place = { line: row.name, y: null };
    spots.push({ ...place, row, x: row.speedup, across: spanOf(row, "speedup"), look: lookOf(row), fill: fillOf(row.variant), radius: 6 });
    if (row.speedup_published != null && isOn("published", "on other hardware")) {
      const published = { label: "McCarley et al., bert-large", f1: null, speedup: row.speedup_published, point: row.budget, hardware: "hardware not stated", source: "arXiv 1910.06360" };
      spots.push({ ...place, published, x: row.speedup_published, look: ["#7a7a7a", "p"], fill: "none", radius: 6 });
    }
  }
  return spots;
}

/** Mean F1 over the seeds of the rows without a criterion. */
function levelsOf(group) {
  return Object.keys(LEVELS).flatMap((variant) => {
    const found = group.filter((row) => row.variant === variant && row.f1 != null).map((row) => row.f1);
    return found.length ? [{ variant, f1: found.reduce((sum, value) => sum + value) / found.length }] : [];
  });
}

function plotArea(spots, levels, width, height, scored) {
  const narrow = width < 430;
  const lines = [...new Set(spots.map((spot) => spot.line))];
  const left = scored ? 42 : Math.min(width * 0.4, 16 + 6.6 * Math.max(...lines.map((line) => line.length)));
  const names = Math.max(0, ...levels.map((level) => level.variant.length + 5));
  const margin = narrow || !scored ? 12 : 14 + 6.4 * names;
  const area = { left, right: width - margin, top: 12, bottom: height - 40, narrow, lines };
  const xs = spots.flatMap((spot) => [spot.x, ...(spot.across ?? [])]).concat(1);
  const ys = spots.flatMap((spot) => [spot.y, ...(spot.along ?? [])]).concat(levels.map((level) => level.f1));
  const [lowX, highX] = padded(xs, 0.2, 0.06);
  area.x = (value) => area.left + ((value - lowX) / (highX - lowX)) * (area.right - area.left);
  area.xTicks = ticks(lowX, highX, Math.max(3, Math.floor((area.right - area.left) / 80)));
  if (scored) {
    const [lowY, highY] = padded(ys, 1, 0.07);
    area.y = (spot) => area.bottom - ((spot.y - lowY) / (highY - lowY)) * (area.bottom - area.top);
    area.yTicks = ticks(lowY, highY, Math.max(3, Math.floor((area.bottom - area.top) / 55)));
  } else {
    const step = (area.bottom - area.top) / lines.length;
    area.y = (spot) => area.top + (lines.indexOf(spot.line) + 0.5) * step;
  }
  return area;
}

function padded(values, least, share) {
  const low = Math.min(...values);
  const high = Math.max(...values);
  const size = Math.max(high - low, least);
  return [low - share * size, high + share * size];
}

function ticks(low, high, count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((value) => value >= rough);
  const found = [];
  for (let place = Math.ceil(low / step); place * step <= high; place++) found.push(Number((place * step).toPrecision(10)));
  return found;
}

function drawAxes(svg, plot, spots, scored) {
  const { left, right, top, bottom } = plot;
  for (const value of plot.xTicks) {
    const x = plot.x(value);
    svg.append(make("line", { x1: x, x2: x, y1: top, y2: bottom, class: "grid" }));
    svg.append(make("text", { x, y: bottom + 16, class: "tick", "text-anchor": "middle" }, `${value}x`));
  }
  if (scored) {
    for (const value of plot.yTicks) {
      const y = plot.y({ y: value });
      svg.append(make("line", { x1: left, x2: right, y1: y, y2: y, class: "grid" }));
      svg.append(make("text", { x: left - 7, y: y + 4, class: "tick", "text-anchor": "end" }, String(value)));
    }
    svg.append(make("text", { x: 11, y: (top + bottom) / 2, class: "axis", "text-anchor": "middle", transform: `rotate(-90 11 ${(top + bottom) / 2})` }, "F1 on dev"));
  } else {
    for (const name of plot.lines) {
      svg.append(make("text", { x: left - 10, y: plot.y({ line: name }) + 4, class: "tick", "text-anchor": "end" }, name.replace(/\/pruned$/, "")));
    }
    svg.append(make("line", { x1: plot.x(1), x2: plot.x(1), y1: top, y2: bottom, class: "level" }));
  }
  svg.append(make("line", { x1: left, x2: right, y1: bottom, y2: bottom, class: "base" }));
  svg.append(make("text", { x: (left + right) / 2, y: bottom + 34, class: "axis", "text-anchor": "middle" }, "speedup over the teacher"));
}

function drawLevels(svg, plot, levels) {
  let last = Infinity;
  for (const level of [...levels].sort((a, b) => a.f1 - b.f1)) {
    const y = plot.y({ y: level.f1 });
    svg.append(make("line", { x1: plot.left, x2: plot.right, y1: y, y2: y, class: "level", "stroke-dasharray": LEVELS[level.variant] }));
    last = Math.min(last - 14, plot.narrow ? y - 4 : y + 4);
    level.box = [plot.narrow ? plot.right - 110 : plot.right, last - 11, plot.narrow ? plot.right : plot.right + 120, last + 3];
    const at = plot.narrow ? { x: plot.right, "text-anchor": "end" } : { x: plot.right + 6 };
    svg.append(make("text", { ...at, y: last, class: "level-name" }, `${level.variant.replace("_", " ")} ${fixed(level.f1, 1)}`));
  }
}

const pointOf = (row) => JSON.stringify([row.seed, row.criterion, row.budget]);

/** A thin line from a pruned point to the best recovered one (by the hold-out) of the same point and seed. */
function drawLinks(svg, plot, spots) {
  const own = spots.filter((spot) => spot.row?.criterion);
  for (const start of own.filter((spot) => spot.row.variant === "pruned")) {
    const later = own.filter((spot) => spot !== start && pointOf(spot.row) === pointOf(start.row));
    const end = later.sort((a, b) => (b.row.holdout_f1 ?? 0) - (a.row.holdout_f1 ?? 0))[0];
    if (!end || start.line) continue;
    svg.append(make("line", { x1: plot.x(start.x), y1: plot.y(start), x2: plot.x(end.x), y2: plot.y(end), class: "link", color: end.look[0] }));
  }
}

function drawBars(svg, plot, spot) {
  const [x, y] = [plot.x(spot.x), plot.y(spot)];
  const group = make("g", { class: "bars", color: spot.look[0] === "#000000" ? null : spot.look[0] });
  if (spot.across) group.append(make("line", { x1: plot.x(spot.across[0]), x2: plot.x(spot.across[1]), y1: y, y2: y }));
  if (spot.along) {
    const [low, high] = spot.along.map((value) => plot.y({ y: value }));
    group.append(make("line", { x1: x, x2: x, y1: low, y2: high }));
  }
  svg.append(group);
}

function drawSpot(plot, spot) {
  const chosen = spot.row && data.headline.includes(spot.row.index);
  const kind = ["point", !spot.row && "published", chosen && "chosen"].filter(Boolean).join(" ");
  const element = make("g", { class: kind, transform: `translate(${plot.x(spot.x).toFixed(2)} ${plot.y(spot).toFixed(2)})`, role: "img", tabindex: "-1", "aria-label": spotText(spot) });
  element.append(make("circle", { r: 11, class: "halo" }), marker(spot.look, spot.fill, spot.radius));
  return element;
}

const manySeeds = new Set(rows.map((row) => row.seed)).size > 1;

function spotText(spot) {
  if (spot.published) {
    const { label, point, speedup, f1, hardware } = spot.published;
    return `published: ${label} ${point}, ${speedup}x${f1 == null ? "" : `, F1 ${f1}`}, ${hardware}`;
  }
  const { row } = spot;
  const draws = spot.along && data.draws[row.index] && row.variant === "pruned" ? data.draws[row.index] : null;
  const parts = [manySeeds ? `${row.name}, seed ${row.seed}` : row.name, `${format("speedup", row.speedup)}x [${spanText(row, "speedup")}]`];
  if (draws) parts.push(`F1 ${fixed(draws.mean, 1)}, mean of ${draws.count} masks [${fixed(draws.low, 1)} to ${fixed(draws.high, 1)}]`);
  else if (row.f1 != null) parts.push(`F1 ${format("f1", row.f1)} [${spanText(row, "f1")}]`);
  if (row.delta_f1 != null) parts.push(`${format("delta_f1", row.delta_f1)} to ${row.reference ?? "the teacher"} [${spanText(row, "delta_f1")}]`);
  return parts.join(", ");
}

/** Each operating point's budget (its criterion where all budgets are one), at its best point by the hold-out, where there is room for it. */
function drawLabels(svg, plot, spots, levels) {
  const best = new Map();
  for (const spot of spots) {
    const key = spot.row ? `${spot.row.criterion} ${spot.row.budget}` : spot.published.label;
    const known = best.get(key);
    if (spot.row && !spot.row.budget) continue;
    if (!known || (spot.row?.holdout_f1 ?? spot.x) > (known.row?.holdout_f1 ?? known.x)) best.set(key, spot);
  }
  const budgets = new Set(spots.map((spot) => spot.row?.budget).filter(Boolean));
  const taken = spots.map((spot) => [plot.x(spot.x) - 7, plot.y(spot) - 7, plot.x(spot.x) + 7, plot.y(spot) + 7]);
  taken.push(...levels.map((level) => level.box));
  for (const spot of best.values()) {
    const text = spot.row ? (budgets.size > 1 ? spot.row.budget : spot.row.criterion.replaceAll("_", " ")) : spot.published.label.split(",")[0];
    const [x, y, wide] = [plot.x(spot.x), plot.y(spot), 6.2 * text.length];
    const places = [[x + 10, y + 4], [x - 10 - wide, y + 4], [x - wide / 2, y - 11], [x - wide / 2, y + 19]];
    const place = places.find(([left, base]) => {
      const box = [left, base - 10, left + wide, base + 3];
      const inside = box[0] > plot.left && box[2] < plot.right && box[1] > plot.top && box[3] < plot.bottom;
      return inside && !taken.some((other) => box[0] < other[2] && box[2] > other[0] && box[1] < other[3] && box[3] > other[1]);
    });
    if (!place) continue;
    taken.push([place[0], place[1] - 10, place[0] + wide, place[1] + 3]);
    svg.append(make("text", { x: place[0], y: place[1], class: spot.row ? "label" : "label quiet" }, text));
  }
}

/** One tab stop a panel; arrows move by speedup. The pointer takes the nearest point. */
function listen(svg, spots) {
  const order = [...spots].sort((a, b) => a.x - b.x);
  order[0].element.setAttribute("tabindex", "0");
  const go = (place) => {
    const next = order[Math.max(0, Math.min(order.length - 1, place))];
    order.forEach((spot) => spot.element.setAttribute("tabindex", spot === next ? "0" : "-1"));
    next.element.focus();
  };
  svg.addEventListener("keydown", (event) => {
    const here = order.findIndex((spot) => spot.element === document.activeElement);
    const next = { ArrowRight: here + 1, ArrowUp: here + 1, ArrowLeft: here - 1, ArrowDown: here - 1, Home: 0, End: order.length }[event.key];
    if (event.key === "Escape") hideTip();
    if (next === undefined || here < 0) return;
    event.preventDefault();
    go(next);
  });
  for (const spot of spots) {
    spot.element.addEventListener("focus", () => showSpot(spot));
    spot.element.addEventListener("blur", hideTip);
  }
  const nearest = (event) => {
    const frame = svg.getBoundingClientRect();
    const distance = (spot) => {
      const box = spot.element.querySelector(".mark").getBoundingClientRect();
      return Math.hypot(box.x + box.width / 2 - event.clientX, box.y + box.height / 2 - event.clientY);
    };
    if (event.clientX < frame.left || event.clientX > frame.right) return null;
    const found = spots.map((spot) => [distance(spot), spot]).sort((a, b) => a[0] - b[0])[0];
    return found[0] < 28 ? found[1] : null;
  };
  svg.addEventListener("pointermove", (event) => {
    const spot = nearest(event);
    if (spot) showSpot(spot);
    else hideTip();
  });
  svg.addEventListener("pointerleave", hideTip);
}
