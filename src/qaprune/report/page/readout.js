// The whole row under the pointer or the focus, and the short tip beside it.
const GROUPS = {
  Quality: "f1 delta_f1 margin_share hasans_f1 noans_f1 em long_f1 holdout_f1 f1_best",
  Speed:
    "speedup speedup_same speedup_published latency_ms latency_e2e_ms throughput_qps " +
    "energy_j peak_memory_mb",
  Size: "params flops heads_kept ff_kept hidden_kept",
  Cost: "train_tokens gate_seconds gate_passes recover_seconds",
  Setting: "batch length dtype backend compile threads device",
};
const IDENTITY = ["model", "dataset", "seed", "criterion", "budget", "draw", "variant"];
let othersOpen = false;

function showSpot(spot) {
  document.querySelectorAll(".point.shown").forEach((element) => element.classList.remove("shown"));
  spot.element.classList.add("shown");
  showTip(spot.element.querySelector(".mark"), spotText(spot));
  if (spot.row) showRow(spot.row);
  else showPublished(spot.published);
}

function showRow(row) {
  const seen = new Set([...IDENTITY, "not_measured"]);
  const parts = [
    make("h3", {}, swatch(lookOf(row), fillOf(row.variant)), row.name),
    make("p", { class: "quiet" }, `${row.model} on ${row.dataset}, seed ${row.seed}`),
  ];
  const draws = drawsOf(row);
  if (draws) {
    const [mean, sd] = [fixed(draws.mean, 1), fixed(draws.sd, 1)];
    const drawn = `Drawn at the mean of ${draws.count} masks: F1 ${mean}, standard deviation ${sd}.`;
    parts.push(make("p", {}, `${drawn} Below is the mask that is recovered.`));
  }
  for (const [title, names] of Object.entries(GROUPS)) {
    const found = names.split(" ").filter((name) => columns.has(name));
    for (const name of found) {
      seen.add(name);
      for (const end of ["low", "high"]) seen.add(endOf(name, end));
    }
    const list = facts(row, found);
    if (list) parts.push(make("h4", {}, title), list);
  }
  if (row.not_measured) {
    parts.push(make("h4", {}, "Not measured or doubtful"), make("p", {}, row.not_measured));
  }
  const others = facts(row, [...columns.keys()].filter((name) => !seen.has(name)));
  if (others) {
    const summary = make("summary", {}, "Other columns");
    const more = make("details", { open: othersOpen ? "" : null }, summary, others);
    more.addEventListener("toggle", () => (othersOpen = more.open));
    parts.push(more);
  }
  const origin = data.origins[row.index];
  if (origin) {
    parts.push(make("h4", {}, "Made again by"), make("code", { class: "command" }, origin.command));
    const commit = origin.commit ? `, commit ${origin.commit}` : "";
    parts.push(make("p", { class: "quiet" }, origin.folder + commit));
  }
  fillReadout(parts);
}

/** Only what the row has. */
function facts(row, names) {
  const lines = names
    .filter((name) => row[name] !== null && row[name] !== undefined)
    .map((name) => {
      const span = spanText(row, name);
      const value = make("dd", {}, format(name, row[name]), " ", make("small", {}, unitOf(name)));
      if (span) value.append(" ", make("small", { class: "span" }, `[${span}]`));
      return make("div", {}, make("dt", { title: columns.get(name).meaning }, labelOf(name)), value);
    });
  return lines.length ? make("dl", {}, ...lines) : null;
}

function showPublished(point) {
  fillReadout([
    make("h3", {}, swatch(PUBLISHED.look, PUBLISHED.fill), `${point.label} ${point.point}`),
    make("p", {}, "Published, not measured here; against that work's own teacher."),
    make("p", {}, `${point.speedup}x, F1 ${point.f1}`),
    make("p", { class: "quiet" }, `${point.source}; ${point.hardware}`),
  ]);
}

function fillReadout(parts) {
  const readout = document.getElementById("readout");
  readout.hidden = false;
  readout.replaceChildren(...parts);
}

function showTip(near, text) {
  const tip = document.getElementById("tip");
  tip.textContent = text;
  tip.hidden = false;
  const [box, own] = [near.getBoundingClientRect(), tip.getBoundingClientRect()];
  const most = document.documentElement.clientWidth - own.width - 8;
  const left = Math.max(8, Math.min(box.left + (box.width - own.width) / 2, most));
  const above = box.top - own.height - 10;
  tip.style.left = `${left}px`;
  tip.style.top = `${above > 4 ? above : box.bottom + 10}px`;
}

function hideTip() {
  document.getElementById("tip").hidden = true;
}
