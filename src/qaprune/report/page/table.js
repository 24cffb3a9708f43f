// The table again: the rows that the filters leave, in the order that a header asks for.
let tableColumns = [...data.table.columns];
const compareWords = new Intl.Collator("en", { numeric: true });
const originalOrder = (a, b) => a.index - b.index;

function buildTable() {
  const tools = document.getElementById("table-tools");
  const inRow = ["criterion", "budget", "draw", "variant"];
  const order = new Set([...Object.keys(data.table.labels), ...columns.keys()]);
  const boxes = [...order]
    .filter((name) => columns.has(name) && !inRow.includes(name) && !/_(low|high)(_ms)?$/.test(name))
    .map((name) => {
      const checked = tableColumns.includes(name) ? "" : null;
      const box = make("input", { type: "checkbox", value: name, checked });
      const title = columns.get(name).meaning;
      return make("label", { class: "chip", title }, box, make("span", {}, labelOf(name)));
    });
  const chips = make("div", { class: "chips" }, ...boxes);
  const more = make("details", {}, make("summary", {}, "Columns shown"), chips);
  more.addEventListener("change", () => {
    tableColumns = [...more.querySelectorAll("input:checked")].map((box) => box.value);
    drawHead();
    drawBody(shownRows());
  });
  tools.replaceChildren(more);
  tools.hidden = false;
  drawHead();
}

function drawHead() {
  const head = document.querySelector("#rows thead tr");
  head.replaceChildren(
    ...["row", ...tableColumns].map((name) => {
      const button = make("button", { type: "button" }, name === "row" ? "row" : labelOf(name));
      if (unitOf(name)) button.append(" ", make("small", {}, unitOf(name)));
      const cell = make("th", { scope: "col", "data-column": name, "aria-sort": "none" }, button);
      const meaning = columns.get(name)?.meaning;
      if (meaning) {
        const id = `meaning-${name}`;
        cell.append(make("span", { id, hidden: "" }, meaning));
        button.setAttribute("aria-describedby", id);
        const show = () => showTip(button, meaning);
        for (const event of ["pointerenter", "focus"]) button.addEventListener(event, show);
        for (const event of ["pointerleave", "blur"]) button.addEventListener(event, hideTip);
        button.addEventListener("keydown", (event) => event.key === "Escape" && hideTip());
      }
      button.addEventListener("click", () => sortBy(name));
      return cell;
    }),
  );
  markSort();
}

/** Figures go down first, words up; the third press brings the table's own order back. */
function sortBy(name) {
  const downFirst = name !== "row" && columns.get(name).digits !== null;
  if (state.sort !== name) [state.sort, state.descending] = [name, downFirst];
  else if (state.descending === downFirst) state.descending = !downFirst;
  else state.sort = "";
  markSort();
  drawBody(shownRows());
}

function markSort() {
  for (const cell of document.querySelectorAll("#rows thead th")) {
    const sorted = cell.dataset.column === state.sort;
    cell.setAttribute("aria-sort", !sorted ? "none" : state.descending ? "descending" : "ascending");
  }
}

/** Rows without the value stand last either way. */
function inOrder(shown) {
  const name = state.sort;
  if (!name) return [...shown].sort(originalOrder);
  const value = (row) => (name === "row" ? row.name : row[name]);
  const sign = state.descending ? -1 : 1;
  return [...shown].sort((a, b) => {
    const [left, right] = [value(a), value(b)];
    if (left == null || right == null) return (left == null) - (right == null) || originalOrder(a, b);
    const numbers = typeof left === "number" && typeof right === "number";
    const order = numbers ? left - right : compareWords.compare(left, right);
    return sign * order || originalOrder(a, b);
  });
}

function drawBody(shown) {
  document.querySelector("#rows tbody").replaceChildren(...inOrder(shown).map(drawRow));
}

function drawRow(row) {
  const link = make("a", { href: `#from-${row.index}` }, row.name);
  const drawn = row.criterion || row.variant.startsWith("teacher");
  const icon = drawn ? swatch(lookOf(row), fillOf(row.variant)) : "";
  const cells = tableColumns.map((name) => drawCell(row, name));
  return make("tr", {}, make("th", { scope: "row" }, icon, link), ...cells);
}

function drawCell(row, name) {
  const text = format(name, row[name]);
  const { digits, signed } = columns.get(name);
  const cell = make("td", { class: digits === null ? "word" : signed ? "signed" : null }, text);
  if (text && data.table.intervals.includes(name)) {
    const span = spanText(row, name);
    if (span) cell.append(" ", make("small", {}, span));
  }
  if (!text && row.not_measured) cell.title = row.not_measured;
  return cell;
}
