// What lies under the points of a panel: scales, axes, and the lines of the rows without a criterion.
const LEVELS = { teacher: "", "teacher+": "6 3", "no-answer": "1.5 3", longest_candidate: "1.5 5" };
const NARROW = 430;

/** Scales and sizes of a panel, in pixels. `scored`: F1 upwards; else a line for each cut. */
function plotArea(spots, levels, width, scored) {
  const lines = [...new Set(spots.map((spot) => spot.line))];
  const narrow = width < NARROW;
  const names = Math.max(0, ...levels.map((level) => level.variant.length + 5));
  const longest = scored ? 0 : Math.max(...lines.map((line) => line.length));
  const height = scored ? Math.round(Math.min(440, Math.max(280, width * 0.7))) : 70 + 30 * lines.length;
  const plot = {
    width,
    height,
    lines,
    narrow,
    scored,
    left: scored ? 42 : Math.min(width * 0.4, 16 + 6.6 * longest),
    right: width - (narrow || !scored ? 12 : 14 + 6.4 * names),
    top: 12,
    bottom: height - 40,
  };
  const across = plot.right - plot.left;
  const speeds = spots.flatMap((spot) => [spot.x, ...(spot.across ?? [])]);
  const [lowX, highX] = padded(speeds.concat(1), 0.2, 0.06);
  plot.x = (value) => plot.left + ((value - lowX) / (highX - lowX)) * across;
  plot.xTicks = ticks(lowX, highX, Math.max(3, Math.floor(across / 80)));
  const up = plot.bottom - plot.top;
  if (scored) {
    const heights = spots.flatMap((spot) => [spot.y, ...(spot.along ?? [])]);
    const [lowY, highY] = padded(heights.concat(levels.map((level) => level.f1)), 1, 0.07);
    plot.y = (spot) => plot.bottom - ((spot.y - lowY) / (highY - lowY)) * up;
    plot.yTicks = ticks(lowY, highY, Math.max(3, Math.floor(up / 55)));
  } else {
    plot.y = (spot) => plot.top + ((lines.indexOf(spot.line) + 0.5) / lines.length) * up;
  }
  return plot;
}

function padded(values, least, share) {
  const low = Math.min(...values);
  const high = Math.max(...values);
  const size = Math.max(high - low, least);
  return [low - share * size, high + share * size];
}

/** Round numbers between two ends, about `count` of them. */
function ticks(low, high, count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((value) => value >= rough);
  const found = [];
  for (let place = Math.ceil(low / step); place * step <= high; place++) {
    found.push(Number((place * step).toPrecision(10)));
  }
  return found;
}

function drawAxes(svg, plot) {
  const { left, right, top, bottom } = plot;
  const line = (x1, y1, x2, y2, kind) => svg.append(make("line", { x1, y1, x2, y2, class: kind }));
  const write = (text, x, y, kind, more) => svg.append(make("text", { x, y, class: kind, ...more }, text));
  const middle = { "text-anchor": "middle" };
  const end = { "text-anchor": "end" };
  for (const value of plot.xTicks) {
    line(plot.x(value), top, plot.x(value), bottom, "grid");
    write(`${value}x`, plot.x(value), bottom + 16, "tick", middle);
  }
  if (plot.scored) {
    for (const value of plot.yTicks) {
      const y = plot.y({ y: value });
      line(left, y, right, y, "grid");
      write(String(value), left - 7, y + 4, "tick", end);
    }
    const half = (top + bottom) / 2;
    write(`${plot.measure} on dev`, 11, half, "axis", { ...middle, transform: `rotate(-90 11 ${half})` });
  } else {
    for (const name of plot.lines) {
      write(name.replace(/\/pruned$/, ""), left - 10, plot.y({ line: name }) + 4, "tick", end);
    }
    line(plot.x(1), top, plot.x(1), bottom, "level");
  }
  line(left, bottom, right, bottom, "base");
  write("speedup over the teacher", (left + right) / 2, bottom + 34, "axis", middle);
}

/** Lines of teacher, teacher+ and no-answer; their names, from below, never closer than a line of text. */
function drawLevels(svg, plot, levels) {
  const { left, right, narrow } = plot;
  let last = Infinity;
  for (const level of [...levels].sort((a, b) => a.f1 - b.f1)) {
    const y = plot.y({ y: level.f1 });
    const ends = { x1: left, x2: right, y1: y, y2: y };
    svg.append(make("line", { ...ends, class: "level", "stroke-dasharray": LEVELS[level.variant] }));
    last = Math.min(last - 14, narrow ? y - 4 : y + 4);
    const [from, to] = narrow ? [right - 110, right] : [right, plot.width];
    level.box = [from, last - 11, to, last + 3];
    const at = narrow ? { x: right, "text-anchor": "end" } : { x: right + 6 };
    const name = `${level.variant.replace("_", " ")} ${fixed(level.f1, 1)}`;
    svg.append(make("text", { ...at, y: last, class: "level-name" }, name));
  }
}
