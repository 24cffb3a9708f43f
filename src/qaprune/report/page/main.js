// Filters drive both the chart and the table.
const form = document.getElementById("filters");

function readFilters() {
  for (const name of ["model", "dataset", "seed", "cell", "text"]) {
    state[name] = form.elements[name]?.value ?? "";
  }
  for (const name of ["criterion", "variant", "published"]) {
    const boxes = form.querySelectorAll(`input[name="${name}"]:not(:checked)`);
    state.off[name] = new Set([...boxes].map((box) => box.value));
  }
}

function update() {
  hideTip();
  readFilters();
  const shown = shownRows();
  const points = drawPanels(shown);
  drawBody(shown);
  document.getElementById("rows-cell").textContent = cellText();
  const left = `${shown.length} of ${rows.length} rows`;
  document.getElementById("count").textContent = `${left}, ${points} of them in the chart`;
}

function addSwatches() {
  const add = (name, icon) => {
    for (const box of form.querySelectorAll(`input[name="${name}"]`)) box.after(icon(box.value) ?? "");
  };
  add("criterion", (value) => swatch(data.looks[value]));
  add("variant", (value) => {
    const row = { variant: value };
    const drawn = value.startsWith("teacher") || !Object.hasOwn(LEVELS, value);
    return drawn ? swatch(lookOf(row), fillOf(value), 5) : null;
  });
  add("published", () => swatch(PUBLISHED.look, PUBLISHED.fill));
}

form.hidden = false;
addSwatches();
form.addEventListener("input", update);
form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("reset", () => setTimeout(update));
form.addEventListener("click", (event) => {
  const name = event.target.dataset?.all;
  if (!name) return;
  const boxes = [...form.querySelectorAll(`input[name="${name}"]`)];
  const some = boxes.some((box) => box.checked);
  boxes.forEach((box) => (box.checked = !some));
  update();
});

// A link into a folded part opens it; so does printing.
function openTarget() {
  const target = document.getElementById(location.hash.slice(1));
  target?.closest("details")?.setAttribute("open", "");
  if (target?.closest("details")) target.scrollIntoView({ block: "center" });
}
window.addEventListener("hashchange", openTarget);
window.addEventListener("beforeprint", () => {
  document.querySelectorAll("main > section > details").forEach((part) => (part.open = true));
});

let width = 0;
new ResizeObserver(([entry]) => {
  const now = Math.round(entry.contentRect.width);
  if (now === width) return;
  width = now;
  drawPanels(shownRows());
}).observe(document.getElementById("panels"));
buildTable();
update();
// Beside the chart a row stands from the start: the chart must not move under the pointer.
if (matchMedia("(min-width: 70rem)").matches) {
  const timed = rows.find((row) => row.criterion && row.speedup != null);
  showRow(rows[data.headline[0]] ?? timed ?? rows[0]);
}
openTarget();
