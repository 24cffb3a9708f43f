// One panel a model and data set: F1 against speedup, or speedup alone where nothing was trained.

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
  const found = new Set(
    group
      .filter((row) => row.speedup != null)
      .map((row) => [
        row.device,
        `batch ${row.batch} x ${row.length}`,
        row.dtype,
        row.backend,
        `compile ${row.compile}`,
      ].join(", ")),
  );
  if (!found.size) return "";
  const machines = new Set(group.filter((row) => row.speedup != null).map((row) => row.fingerprint)).size;
  if (machines > 1) return `mixed hardware: ${machines} machines, whose speeds do not compare`;
  return [...found][0] + (found.size > 1 ? "; some rows at a setting of their own" : "");
}

function drawPanel(panel, group, title) {
  const { model, dataset } = group[0];
  const scored = rows.some((row) => row.model === model && row.dataset === dataset && row.f1 != null);
  const spots = scored ? scoredSpots(group) : speedSpots(group);
  if (!spots.length) {
    const reason = group.map((row) => row.not_measured).find(Boolean) ?? "no row of these was timed";
    panel.append(make("p", { class: "gap" }, `No point to draw: ${reason}`));
    return 0;
  }
  const levels = scored ? levelsOf(group) : [];
  const plot = plotArea(spots, levels, Math.max(280, panel.clientWidth), scored);
  plot.measure = group.some((row) => row.long_f1 != null) ? "short-answer F1" : "F1";
  const svg = make("svg", {
    viewBox: `0 0 ${plot.width} ${plot.height}`,
    width: plot.width,
    height: plot.height,
    role: "group",
    "aria-label": `${title}: points by speedup, left and right arrow keys move between them`,
  });
  drawAxes(svg, plot);
  drawLevels(svg, plot, levels);
  drawPoints(svg, plot, spots, levels);
  panel.append(svg);
  listen(svg, spots);
  return spots.filter((spot) => spot.row).length;
}

/** Points of trained rows and of published ones: x, y, and the ends of their bars. */
function scoredSpots(group) {
  const spots = [];
  for (const row of group) {
    if (row.speedup == null || row.f1 == null) continue;
    const draws = drawsOf(row);
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
  return data.published
    .filter((point) => publishedShown() && point.dataset === dataset)
    .map((published) => ({ published, x: published.speedup, y: published.f1, ...PUBLISHED, radius: 5 }));
}

/** Models that nothing trained: a line a cut, with the paper's speedup of the same cut beside it. */
function speedSpots(group) {
  const spots = [];
  for (const row of group.filter((one) => one.criterion != null && one.speedup != null)) {
    const look = { look: lookOf(row), fill: fillOf(row.variant), radius: 6 };
    spots.push({ row, line: row.name, x: row.speedup, across: spanOf(row, "speedup"), ...look });
    const published = data.published.find((point) => point.point === row.budget);
    if (published && publishedShown()) {
      spots.push({ published, line: row.name, x: published.speedup, ...PUBLISHED, radius: 6 });
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
    const steps = { ArrowRight: here + 1, ArrowUp: here + 1, ArrowLeft: here - 1, ArrowDown: here - 1 };
    const next = { ...steps, Home: 0, End: order.length }[event.key];
    if (event.key === "Escape") hideTip();
    if (next === undefined || here < 0) return;
    event.preventDefault();
    go(next);
  });
  for (const spot of spots) {
    spot.element.addEventListener("focus", () => showSpot(spot));
    spot.element.addEventListener("blur", hideTip);
  }
  svg.addEventListener("pointermove", (event) => {
    const spot = nearest(spots, event.clientX, event.clientY);
    if (spot) showSpot(spot);
    else hideTip();
  });
  svg.addEventListener("pointerleave", hideTip);
}

/** The point that is nearest to a place on the screen, if one is near. */
function nearest(spots, x, y) {
  const distance = (spot) => {
    const box = spot.element.querySelector(".mark").getBoundingClientRect();
    return Math.hypot(box.x + box.width / 2 - x, box.y + box.height / 2 - y);
  };
  const [far, found] = spots.map((spot) => [distance(spot), spot]).sort((a, b) => a[0] - b[0])[0];
  return far < 28 ? found : null;
}
