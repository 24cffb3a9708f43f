// The points of a panel, with their bars, the lines from pruned to recovered, and their names.
const manySeeds = new Set(rows.map((row) => row.seed)).size > 1;
const publishedShown = () => isOn("published", "on other hardware");
/** The masks of a point whose first one a row is, or nothing. */
const drawsOf = (row) => (row.variant === "pruned" && data.draws[row.index]) || null;
const colourOf = (look) => (look[0] === "#000000" ? null : look[0]);

function drawPoints(svg, plot, spots, levels) {
  if (plot.scored) drawLinks(svg, plot, spots);
  for (const spot of spots) drawBars(svg, plot, spot);
  for (const spot of spots) svg.append((spot.element = drawSpot(plot, spot)));
  if (plot.scored) drawNames(svg, plot, spots, levels);
}

/** A thin line from a pruned row to the best recovered one (by the hold-out) of its point and seed. */
function drawLinks(svg, plot, spots) {
  const pointOf = ({ row }) => JSON.stringify([row.seed, row.criterion, row.budget]);
  const own = spots.filter((spot) => spot.row?.criterion);
  for (const start of own.filter((spot) => spot.row.variant === "pruned")) {
    const later = own.filter((spot) => spot !== start && pointOf(spot) === pointOf(start));
    const end = later.sort((a, b) => (b.row.holdout_f1 ?? 0) - (a.row.holdout_f1 ?? 0))[0];
    if (!end) continue;
    const ends = { x1: plot.x(start.x), y1: plot.y(start), x2: plot.x(end.x), y2: plot.y(end) };
    svg.append(make("line", { ...ends, class: "link", color: colourOf(end.look) }));
  }
}

function drawBars(svg, plot, spot) {
  const [x, y] = [plot.x(spot.x), plot.y(spot)];
  const group = make("g", { class: "bars", color: colourOf(spot.look) });
  if (spot.across) {
    const [x1, x2] = spot.across.map(plot.x);
    group.append(make("line", { x1, x2, y1: y, y2: y }));
  }
  if (spot.along) {
    const [y1, y2] = spot.along.map((value) => plot.y({ y: value }));
    group.append(make("line", { x1: x, x2: x, y1, y2 }));
  }
  svg.append(group);
}

function drawSpot(plot, spot) {
  const chosen = spot.row && data.headline.includes(spot.row.index);
  const element = make("g", {
    class: ["point", !spot.row && "published", chosen && "chosen"].filter(Boolean).join(" "),
    transform: `translate(${plot.x(spot.x).toFixed(2)} ${plot.y(spot).toFixed(2)})`,
    role: "img",
    tabindex: "-1",
    "aria-label": spotText(spot),
  });
  element.append(make("circle", { r: 11, class: "halo" }), marker(spot.look, spot.fill, spot.radius));
  return element;
}

/** A point in one line. */
function spotText({ row, published }) {
  if (published) {
    const { label, point, speedup, f1, hardware } = published;
    return `published: ${label} ${point}, ${speedup}x, F1 ${f1}, ${hardware}`;
  }
  const draws = drawsOf(row);
  const parts = [
    manySeeds ? `${row.name}, seed ${row.seed}` : row.name,
    `${format("speedup", row.speedup)}x [${spanText(row, "speedup")}]`,
  ];
  if (draws) {
    const range = `${fixed(draws.low, 1)} to ${fixed(draws.high, 1)}`;
    parts.push(`F1 ${fixed(draws.mean, 1)}, mean of ${draws.count} masks [${range}]`);
  } else if (row.f1 != null) {
    parts.push(`F1 ${format("f1", row.f1)} [${spanText(row, "f1")}]`);
  }
  if (row.delta_f1 != null && !draws) {
    const delta = format("delta_f1", row.delta_f1);
    parts.push(`${delta} to ${row.reference ?? "the teacher"} [${spanText(row, "delta_f1")}]`);
  }
  return parts.join(", ");
}

/** The budget (the criterion where it has but one) of each operating point, where there is room. */
function drawNames(svg, plot, spots, levels) {
  const budgets = new Map();
  for (const { row } of spots) {
    if (row?.budget) budgets.set(row.criterion, (budgets.get(row.criterion) ?? new Set()).add(row.budget));
  }
  const taken = spots.map((spot) => around(plot.x(spot.x), plot.y(spot), 7));
  taken.push(...levels.map((level) => level.box));
  for (const spot of namedSpots(spots)) {
    const one = spot.row && budgets.get(spot.row.criterion).size === 1;
    const own = spot.row && (one ? spot.row.criterion.replaceAll("_", " ") : spot.row.budget);
    const text = own || spot.published.label.split(",")[0];
    const place = freePlace(plot, plot.x(spot.x), plot.y(spot), 6.2 * text.length, taken);
    if (!place) continue;
    const [x, y] = place;
    svg.append(make("text", { x, y, class: spot.row ? "label" : "label quiet" }, text));
  }
}

/** One point for each operating point and published series: the best by the hold-out, the fastest. */
function namedSpots(spots) {
  const best = new Map();
  const rank = (spot) => spot.row?.holdout_f1 ?? spot.x;
  for (const spot of spots) {
    if (spot.row && !spot.row.budget) continue;
    const key = spot.row ? JSON.stringify([spot.row.criterion, spot.row.budget]) : spot.published.label;
    if (!best.has(key) || rank(spot) > rank(best.get(key))) best.set(key, spot);
  }
  return best.values();
}

const around = (x, y, reach) => [x - reach, y - reach, x + reach, y + reach];

/** Where a text of that width fits beside, above or below a point; the place is then taken. */
function freePlace(plot, x, y, wide, taken) {
  const beside = [[x + 10, y + 4], [x - 10 - wide, y + 4], [x - wide / 2, y - 11], [x - wide / 2, y + 19]];
  for (const [left, base] of beside) {
    const box = [left, base - 10, left + wide, base + 3];
    const inside = box[0] > plot.left && box[2] < plot.right && box[1] > plot.top && box[3] < plot.bottom;
    const apart = ([west, north, east, south]) =>
      box[0] >= east || box[2] <= west || box[1] >= south || box[3] <= north;
    if (!inside || !taken.every(apart)) continue;
    taken.push(box);
    return [left, base];
  }
  return null;
}
