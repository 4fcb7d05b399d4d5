"use strict";
// The report's figures and the choice of system.
const select = document.getElementById("system");

function chartOf(place) {
  return data.charts[place] || data.systems[select.selectedIndex].charts[place];
}

/** Draw one figure; with `whole` also its words and its table. */
function draw(box, whole) {
  const place = box.dataset.chart, chart = chartOf(place), plot = box.querySelector(".plot");
  Plotly.react(plot, colour(chart.figure.data), layoutOf(chart.figure),
    { responsive: true, displayModeBar: false });
  if (!whole) return;
  plot.setAttribute("aria-label", chart.summary);
  box.querySelector(".summary").textContent = chart.summary;
  const asButton = (text, i, j) => {
    const button = element("button", text, { type: "button",
      "aria-label": `${text} utterances: true ${data.labels[i]}, predicted ${data.labels[j - 1]}` });
    button.addEventListener("click", () => openCell(i, j - 1));
    return button;
  };
  box.querySelector("details > div").replaceChildren(
    makeTable(chart.columns, chart.rows, place === "confusion" ? asButton : undefined));
}

const boxes = [...document.querySelectorAll("[data-chart]")];
for (const box of boxes) {
  draw(box, true);
  box.querySelector(".save").addEventListener("click", () =>
    Plotly.downloadImage(box.querySelector(".plot"), { format: "svg", filename: box.dataset.chart }));
}
document.querySelector('[data-chart="confusion"] .plot').on("plotly_click", (event) => {
  const [row, column] = event.points[0].pointIndex;
  openCell(row, column);
});

/** Show all that is about the chosen system. */
function showSystem() {
  const system = data.systems[select.selectedIndex];
  for (const place of document.querySelectorAll("[data-system]")) place.textContent = system.name;
  for (const box of boxes) if (system.charts[box.dataset.chart]) draw(box, true);
  document.getElementById("groups-part").hidden = !system.groups.rows.length;
  document.getElementById("groups").replaceChildren(makeTable(system.groups.columns, system.groups.rows));
  document.getElementById("ccc").textContent =
    system.groups.ccc.length ? `Concordance (CCC): ${system.groups.ccc.join(", ")}.` : "";
}

watchTheme(() => { for (const box of boxes) draw(box, false); });
