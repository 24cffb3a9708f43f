// Filters drive both the chart and the table.
const form = document.getElementById("filters");

function readFilters() {
  for (const name of ["model", "dataset", "seed", "cell", "text"]) state[name] = form.elements[name]?.value ?? "";
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
  document.getElementById("count").textContent = `${shown.length} of ${rows.length} rows, ${points} of them in the chart`;
}

function addSwatches() {
  for (const box of form.querySelectorAll("input[name=criterion]")) box.after(swatch(data.looks[box.value]));
  for (const box of form.querySelectorAll("input[name=variant]")) {
    const blind = !box.value.startsWith("teacher") && box.value in LEVELS;
    if (!blind) box.after(swatch(["#000000", box.value.startsWith("teacher") ? "*" : "o"], fillOf(box.value), box.value.startsWith("teacher") ? 5 : 5.5));
  }
  for (const box of form.querySelectorAll("input[name=published]")) box.after(swatch(["#7a7a7a", "p"], "none"));
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
window.addEventListener("beforeprint", () => document.querySelectorAll("main > section > details").forEach((part) => (part.open = true)));

let width = 0;
new ResizeObserver(([entry]) => {
  const now = Math.round(entry.contentRect.width);
  if (now === width) return;
  width = now;
  drawPanels(shownRows());
}).observe(document.getElementById("panels"));
buildTable();
update();
if (data.headline.length && matchMedia("(min-width: 70rem)").matches) showRow(rows[data.headline[0]]);
openTarget();
