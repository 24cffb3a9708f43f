// Elements, and the markers: a shape and colour a criterion, a fill a variant.
function make(tag, attributes = {}, ...children) {
  const drawn = ["svg", "g", "path", "line", "text", "circle"].includes(tag);
  const element = drawn
    ? document.createElementNS("http://www.w3.org/2000/svg", tag)
    : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

const ring = (count, turn = 0, radii = [1]) =>
  Array.from({ length: count }, (_, place) => {
    const angle = (2 * Math.PI * place) / count - Math.PI / 2 + turn;
    const radius = radii[place % radii.length];
    return [radius * Math.cos(angle), radius * Math.sin(angle)];
  });
const corner = [[-1, 3], [1, 3], [1, 1]];
const turned = (points, turns) => (turns ? turned(points.map(([x, y]) => [y, -x]), turns - 1) : points);
const plus = [0, 1, 2, 3].flatMap((turns) => turned(corner, turns)).map(([x, y]) => [x / 3, y / 3]);
const SHAPES = {
  o: ring(36),
  s: ring(4, Math.PI / 4, [1.2]),
  "^": ring(3, 0, [1.25]),
  D: ring(4, 0, [1.2]),
  v: ring(3, Math.PI, [1.25]),
  P: plus.map(([x, y]) => [1.15 * x, 1.15 * y]),
  X: plus.map(([x, y]) => [(x - y) * 0.82, (x + y) * 0.82]),
  p: ring(5),
  "*": ring(10, 0, [1.5, 0.65]),
};
const FILLS = { pruned: "none", retrained: "half", "teacher+": "none", published: "none" };
const PUBLISHED = { look: ["#7a7a7a", "p"], fill: "none" };
const RADII = { pruned: 4.5, retrained: 5.5, distilled: 6 };

const outline = (points, radius) =>
  `M${points.map(([x, y]) => `${(x * radius).toFixed(2)},${(y * radius).toFixed(2)}`).join("L")}Z`;

/** What of a polygon lies left of its middle. */
function leftHalf(points) {
  const found = [];
  points.forEach(([x, y], place) => {
    const [nextX, nextY] = points[(place + 1) % points.length];
    if (x <= 0) found.push([x, y]);
    if (x < 0 !== nextX < 0 && x !== nextX) found.push([0, y + ((nextY - y) * -x) / (nextX - x)]);
  });
  return found;
}

/** A marker around (0, 0). `look`: [colour, shape]; black is the text's colour, dark mode or not. */
function marker([colour, shape], fill = "full", radius = 6) {
  const points = SHAPES[shape] ?? SHAPES.o;
  const group = make("g", { class: "mark", color: colour === "#000000" ? null : colour });
  group.append(make("path", { d: outline(points, radius), class: fill === "full" ? "full" : "hollow" }));
  if (fill === "half") {
    group.append(make("path", { d: outline(leftHalf(points), radius), class: "full" }));
  }
  return group;
}

const lookOf = (row) =>
  row.criterion ? data.looks[row.criterion] : ["#000000", row.variant?.startsWith("teacher") ? "*" : "o"];
const fillOf = (variant) => FILLS[variant] ?? "full";

function swatch(look, fill = "full", radius = 5.5) {
  const size = { width: 16, height: 16, viewBox: "-8 -8 16 16" };
  const icon = make("svg", { ...size, "aria-hidden": "true", class: "swatch" });
  icon.append(marker(look, fill, radius));
  return icon;
}
