"use strict";
// What every page draws with: elements, tables, the palette, figures. Text is only ever set as text.
const data = JSON.parse(document.getElementById("data").textContent);
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

const systemDark = matchMedia("(prefers-color-scheme: dark)");

function isDark() {
  const chosen = document.documentElement.style.colorScheme;
  return chosen ? chosen === "dark" : systemDark.matches;
}

function nameTheme() {
  themeButton.textContent = isDark() ? "Light" : "Dark";
  themeButton.setAttribute("aria-label", `${themeButton.textContent} colours`);
}

/** Let the button change between light and dark, and `redraw` follow it and the system. */
function watchTheme(redraw) {
  const follow = () => { nameTheme(); redraw(); };
  themeButton.addEventListener("click", () => {
    document.documentElement.style.colorScheme = isDark() ? "light" : "dark";
    follow();
  });
  systemDark.addEventListener("change", follow);
  nameTheme();
}

/** Return seconds as a clock shows them: 75 is 1:15. */
function clock(seconds) {
  const whole = Math.floor(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}
