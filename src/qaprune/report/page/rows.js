// The rows, how a figure is written, and which rows the filters leave.
const data = JSON.parse(document.getElementById("data").textContent);
const columns = new Map(data.columns.map((column) => [column.name, column]));
const rows = data.rows.map((values, index) => {
  const row = { index, name: data.names[index] };
  data.columns.forEach((column, place) => (row[column.name] = values[place]));
  const words = values.filter((value) => typeof value === "string");
  row.words = [row.name, ...words].join(" ").toLowerCase();
  return row;
});
const state = { model: "", dataset: "", seed: "", cell: "", text: "", off: {}, sort: "", descending: true };

const labelOf = (name) => data.table.labels[name] ?? name.replaceAll("_", " ");
const unitOf = (name) => data.table.units[name] ?? columns.get(name)?.unit ?? "";

/** A figure as the static table writes it: halves go to the even digit, as in Python. */
function format(name, value) {
  if (value === null || value === undefined) return "";
  const digits = columns.get(name)?.digits ?? null;
  if (digits === null || typeof value !== "number") return String(value);
  if (digits === "short") return short(value);
  const text = fixed(value, digits);
  return columns.get(name).signed && !text.startsWith("-") ? `+${text}` : text;
}

function fixed(value, digits) {
  const scaled = value * 10 ** digits;
  const tie = Number.isInteger(value * 2 ** (digits + 1)) && Math.abs(scaled % 1) === 0.5;
  const text = tie ? (2 * Math.round(scaled / 2) / 10 ** digits).toFixed(digits) : value.toFixed(digits);
  return Number(text) === 0 ? text.replace("-", "") : text;
}

function short(value) {
  for (const [limit, letter] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (value >= limit) return `${fixed(value / limit, 1)} ${letter}`;
  }
  return fixed(value, 0);
}

/** The column of an interval's end: latency_ms has latency_low_ms, f1 has f1_low. */
const endOf = (name, end) =>
  name.endsWith("_ms") ? name.replace(/_ms$/, `_${end}_ms`) : `${name}_${end}`;

/** The ends of a column's interval, or null. */
function spanOf(row, name) {
  const [low, high] = [row[endOf(name, "low")], row[endOf(name, "high")]];
  return typeof low === "number" && typeof high === "number" ? [low, high] : null;
}

function spanText(row, name) {
  const span = spanOf(row, name);
  return span && row[name] !== null ? `${format(name, span[0])} to ${format(name, span[1])}` : "";
}

/** The row with the speed of the chosen batch and length; as it is for the headline's. */
function atCell(row) {
  if (state.cell === "") return row;
  const cell = data.cells[Number(state.cell)];
  const found = cell.rows[row.index];
  const measured = {};
  cell.columns.forEach((name, place) => (measured[name] = found ? found[place] : null));
  if (!found) measured.not_measured = `speed: not timed at batch ${cell.batch} x ${cell.length}`;
  return { ...row, ...measured };
}

const headlineCell = document.getElementById("rows-cell").textContent;

function cellText() {
  const cell = data.cells[Number(state.cell)];
  return state.cell === "" ? headlineCell : `Speed at batch ${cell.batch} x ${cell.length}.`;
}

const isOn = (name, value) => !state.off[name]?.has(String(value));

function shownRows() {
  const words = state.text.toLowerCase().split(/\s+/).filter(Boolean);
  return rows
    .filter(
      (row) =>
        ["model", "dataset", "seed"].every((name) => !state[name] || String(row[name]) === state[name]) &&
        (row.criterion == null || isOn("criterion", row.criterion)) &&
        isOn("variant", row.variant) &&
        words.every((word) => row.words.includes(word)),
    )
    .map(atCell);
}
