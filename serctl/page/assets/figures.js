"use strict";
// Figures, their tables, and the choice of system and colours. Text is only ever set as text.
const data = JSON.parse(document.getElementById("data").textContent);
const select = document.getElementById("system");
const themeButton = document.getElementById("theme");

/** Make an element with text and attributes; children follow. */
function element(tag, text = "", attributes = {}, ...children) {
  const made = document.createElement(tag);
  if (text !== "") made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** Return a table; the first column names the rows. `cell` may replace what stands in a cell. */
function makeTable(columns, rows, cell = (text) => text) {
  const head = columns.map((name, i) => element("th", name, { scope: "col", class: i ? "number" : "" }));
  const body = rows.map((row, i) => element("tr", "", {}, ...row.map((text, j) => {
    if (j === 0) return element("th", text, { scope: "row" });
    const made = element("td", "", { class: "number" });
    made.append(cell(typeof text === "number" ? text.toLocaleString("en") : text, i, j));
    return made;
  })));
  return element("table", "", {},
    element("thead", "", {}, element("tr", "", {}, ...head)), element("tbody", "", {}, ...body));
}

const probe = document.body.appendChild(element("span", "", { hidden: "" }));

/** Replace the palette's names in a figure by the colours they have now. */
function colour(node) {
  if (typeof node === "string" && node.startsWith("var(--")) {
    probe.style.color = node;
    return getComputedStyle(probe).color;
  }
  if (Array.isArray(node)) return typeof node.at(-1) === "number" ? node : node.map(colour);
  if (node && typeof node === "object") {
    return Object.fromEntries(Object.entries(node).map(([key, value]) => [key, colour(value)]));
  }
  return node;
}

const AXIS = {
  gridcolor: "var(--line)", linecolor: "var(--line)", zeroline: false, fixedrange: true, automargin: true,
  ticks: "", title: { font: { color: "var(--muted)", size: 13 }, standoff: 12 },
};

function layoutOf(figure) {
  const layout = structuredClone(figure.layout);
  for (const name of ["xaxis", "yaxis", "xaxis2", "yaxis2"]) {
    if (!layout[name] && name.endsWith("2")) continue;
    const own = layout[name] || {};
    layout[name] = { ...AXIS, ...own, title: { ...AXIS.title, ...own.title } };
  }
  return colour({
    ...layout,
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: getComputedStyle(document.body).fontFamily, size: 13, color: "var(--ink)" },
    margin: { l: 8, r: 16, t: 8, b: 48, ...layout.margin },
    hoverlabel: { bgcolor: "var(--ink)", bordercolor: "var(--ink)", font: { color: "var(--paper)" } },
    dragmode: false,
  });
}

function exhibitOf(place) {
  return data.exhibits[place] || data.systems[select.selectedIndex].exhibits[place];
}

/** Draw one figure; with `whole` also its words and its table. */
function draw(box, whole) {
  const place = box.dataset.exhibit, exhibit = exhibitOf(place), plot = box.querySelector(".plot");
  Plotly.react(plot, colour(exhibit.figure.data), layoutOf(exhibit.figure),
    { responsive: true, displayModeBar: false });
  if (!whole) return;
  plot.setAttribute("aria-label", exhibit.summary);
  box.querySelector(".summary").textContent = exhibit.summary;
  const asButton = (text, i, j) => {
    const button = element("button", text, { type: "button",
      "aria-label": `${text} utterances: true ${data.labels[i]}, predicted ${data.labels[j - 1]}` });
    button.addEventListener("click", () => openCell(i, j - 1));
    return button;
  };
  box.querySelector("details > div").replaceChildren(
    makeTable(exhibit.columns, exhibit.rows, place === "confusion" ? asButton : undefined));
}

const boxes = [...document.querySelectorAll("[data-exhibit]")];
for (const box of boxes) {
  draw(box, true);
  box.querySelector(".save").addEventListener("click", () =>
    Plotly.downloadImage(box.querySelector(".plot"), { format: "svg", filename: box.dataset.exhibit }));
}
document.querySelector('[data-exhibit="confusion"] .plot').on("plotly_click", (event) => {
  const [row, column] = event.points[0].pointIndex;
  openCell(row, column);
});

/** Show all that is about the chosen system. */
function showSystem() {
  const system = data.systems[select.selectedIndex];
  for (const place of document.querySelectorAll("[data-system]")) place.textContent = system.name;
  for (const box of boxes) if (system.exhibits[box.dataset.exhibit]) draw(box, true);
  document.getElementById("groups-part").hidden = !system.groups.rows.length;
  document.getElementById("groups").replaceChildren(makeTable(system.groups.columns, system.groups.rows));
  document.getElementById("ccc").textContent =
    system.groups.ccc.length ? `Concordance (CCC): ${system.groups.ccc.join(", ")}.` : "";
}

const systemDark = matchMedia("(prefers-color-scheme: dark)");

function isDark() {
  const chosen = document.documentElement.style.colorScheme;
  return chosen ? chosen === "dark" : systemDark.matches;
}

function nameTheme() {
  themeButton.textContent = isDark() ? "Light" : "Dark";
  themeButton.setAttribute("aria-label", `${themeButton.textContent} colours`);
}

function recolour() {
  nameTheme();
  for (const box of boxes) draw(box, false);
}

themeButton.addEventListener("click", () => {
  document.documentElement.style.colorScheme = isDark() ? "light" : "dark";
  recolour();
});
systemDark.addEventListener("change", recolour);
nameTheme();
