// The utterances: filtered and sorted as arrays of row numbers; only one page of them is in the page.
const PAGE_SIZE = 25;
const utterances = data.utterances, size = utterances.id.length, numLabels = data.labels.length;
const unpack = (text) => Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
utterances.true = unpack(utterances.true);
for (const system of data.systems) {
  system.predicted = unpack(system.predicted);
  system.probabilities = unpack(system.probabilities);
}
const searched = utterances.id.map((id, i) => `${id}\n${utterances.words[i]}`.toLowerCase());
const speakers = utterances.speaker.map((name) => name.toLowerCase());
const knownSpeakers = new Set(speakers);

const filters = document.getElementById("filters").elements;
const sorting = { key: "confidence", descending: true };
const headers = [...document.querySelectorAll("#rows th[data-key]")];
const body = document.querySelector("#rows tbody");
const detail = document.getElementById("detail");
let found = [], page = 0, current = -1, system;

for (const name of ["true", "predicted"]) {
  filters[name].append(...data.labels.map((label, i) => element("option", label, { value: i })));
}
document.getElementById("speakers").append(
  ...[...new Set(utterances.speaker)].sort().filter(Boolean).map((name) => element("option", "", { value: name })));

const probability = (of, row, label) => of.probabilities[row * numLabels + label] / 255;
const percent = (share) => `${Math.round(100 * share)} %`;
const columns = {
  id: (row) => utterances.id[row],
  true: (row) => utterances.true[row],
  predicted: (row) => system.predicted[row],
  confidence: (row) => probability(system, row, system.predicted[row]),
  speaker: (row) => utterances.speaker[row],
  seconds: (row) => utterances.seconds[row],
  words: (row) => utterances.words[row],
};

function filterRows() {
  const show = filters.show.value, text = filters.text.value.trim().toLowerCase();
  const wanted = (name) => (filters[name].value === "" ? null : Number(filters[name].value));
  const label = wanted("true"), answer = wanted("predicted");
  const least = wanted("least") ?? 0, most = wanted("most") ?? Infinity;
  const speaker = filters.speaker.value.trim().toLowerCase(), whole = knownSpeakers.has(speaker);
  found = [];
  for (let row = 0; row < size; row++) {
    const isRight = utterances.true[row] === system.predicted[row];
    if (show !== "all" && isRight !== (show === "right")) continue;
    if (label !== null && utterances.true[row] !== label) continue;
    if (answer !== null && system.predicted[row] !== answer) continue;
    if (utterances.seconds[row] < least || utterances.seconds[row] > most) continue;
    if (speaker && (whole ? speakers[row] !== speaker : !speakers[row].includes(speaker))) continue;
    if (text && !searched[row].includes(text)) continue;
    found.push(row);
  }
  sortRows();
}

function sortRows() {
  const value = columns[sorting.key], sign = sorting.descending ? -1 : 1;
  const order = new Intl.Collator("en", { numeric: true });
  const keys = new Map(found.map((row) => [row, value(row)]));
  found.sort((a, b) => {
    const x = keys.get(a), y = keys.get(b);
    return sign * (typeof x === "number" ? x - y : order.compare(x, y)) || a - b;
  });
  page = 0;
  showPage();
}

function showPage() {
  const pages = Math.max(1, Math.ceil(found.length / PAGE_SIZE));
  body.replaceChildren(...found.slice(page * PAGE_SIZE, (page + 1) * PAGE_SIZE).map(makeRow));
  document.getElementById("count").textContent =
    `${found.length.toLocaleString("en")} of ${size.toLocaleString("en")} utterances`;
  document.getElementById("page").textContent = `Page ${page + 1} of ${pages.toLocaleString("en")}`;
  document.getElementById("previous").disabled = page === 0;
  document.getElementById("next").disabled = page + 1 >= pages;
}

function makeRow(row) {
  const button = element("button", utterances.id[row], { type: "button", title: utterances.id[row] });
  button.addEventListener("click", () => openRow(row));
  const isRight = utterances.true[row] === system.predicted[row];
  const made = element("tr", "", { "data-row": row },
    element("th", "", { scope: "row" }, button),
    element("td", data.labels[utterances.true[row]]),
    element("td", data.labels[system.predicted[row]], { class: isRight ? "right" : "wrong" }),
    element("td", percent(columns.confidence(row)), { class: "number" }),
    element("td", utterances.speaker[row]),
    element("td", utterances.seconds[row] ? utterances.seconds[row].toFixed(1) : "", { class: "number" }),
    element("td", utterances.words[row], { title: utterances.words[row] }));
  if (row === current) made.setAttribute("aria-current", "true");
  return made;
}

function openRow(row) {
  current = row;
  for (const other of body.rows) other.removeAttribute("aria-current");
  body.querySelector(`tr[data-row="${row}"]`)?.setAttribute("aria-current", "true");
  const truth = utterances.true[row], facts = [
    utterances.speaker[row] && `speaker ${utterances.speaker[row]}`, utterances.gender[row],
    utterances.seconds[row] && `${utterances.seconds[row].toFixed(2)} s`,
    utterances.channel[row] && `channel ${utterances.channel[row]} (the player has all)`,
  ];
  const audio = element("audio", "", { controls: "", preload: "metadata", src: utterances.audio[row],
    "aria-label": `Audio of ${utterances.id[row]}` });
  const missing = element("p", "", { class: "note", role: "status" });
  audio.addEventListener("error", () => { missing.textContent = `Cannot play ${utterances.audio[row]}`; });
  detail.replaceChildren(
    element("h3", utterances.id[row]),
    element("p", facts.filter(Boolean).join(" · "), { class: "note" }),
    audio, missing,
    utterances.words[row] ? element("blockquote", utterances.words[row])
      : element("p", "No transcript.", { class: "note" }),
    element("h4", `Probabilities of ${system.name}`), probabilityTable(row, truth),
    element("h4", "All systems"), systemsTable(row, truth));
}

/** A name that breaks after its "+" and "-", where there is no room for it. */
function breakable(name) {
  return name.split(/(?<=[+-])/).flatMap((part) => [part, element("wbr")]);
}

function probabilityTable(row, truth) {
  const lines = data.labels.map((label, i) => {
    const share = probability(system, row, i), bar = element("i");
    bar.style.width = `${100 * share}%`;
    return element("tr", "", i === truth ? { class: "truth" } : {},
      element("th", i === truth ? `${label} (true)` : label, { scope: "row", class: "label" }),
      element("td", "", { class: "bar", "aria-hidden": "true" }, bar),
      element("td", percent(share), { class: "number" }));
  });
  return element("table", "", {}, element("tbody", "", {}, ...lines));
}

function systemsTable(row, truth) {
  const lines = data.systems.map((each) => {
    const answer = each.predicted[row];
    return element("tr", "", {},
      element("th", "", { scope: "row" }, ...breakable(each.name)),
      element("td", data.labels[answer], { class: answer === truth ? "right" : "wrong" }),
      element("td", percent(probability(each, row, answer)), { class: "number" }));
  });
  return element("table", "", {}, element("tbody", "", {}, ...lines));
}

/** Show the utterances of one cell of the confusion matrix. */
function openCell(truth, answer) {
  document.getElementById("filters").reset();
  filters.show.value = "all";
  filters.true.value = truth;
  filters.predicted.value = answer;
  filterRows();
  document.getElementById("utterances").scrollIntoView();
  filters.true.focus({ preventScroll: true });
}

for (const header of headers) {
  header.firstElementChild.addEventListener("click", () => {
    const key = header.dataset.key;
    sorting.descending = sorting.key === key ? !sorting.descending : header.classList.contains("number");
    sorting.key = key;
    markSorted(headers, header, sorting.descending);
    sortRows();
  });
}
body.addEventListener("keydown", (event) => {
  const step = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" }[event.key];
  const next = step && event.target.closest("tr")[step];
  if (!next) return;
  event.preventDefault();
  next.querySelector("button").focus();
  openRow(Number(next.dataset.row));
});
for (const [name, step] of [["previous", -1], ["next", 1]]) {
  document.getElementById(name).addEventListener("click", () => { page += step; showPage(); });
}
// A field filters at every key. Its "change" comes when it is left, perhaps for a click on a row, which
// must then still be there.
document.getElementById("filters").addEventListener("input", filterRows);
for (const name of ["show", "true", "predicted"]) filters[name].addEventListener("change", filterRows);
document.getElementById("filters").addEventListener("reset", () => setTimeout(filterRows));
document.getElementById("filters").addEventListener("submit", (event) => event.preventDefault());

function changeSystem() {
  system = data.systems[select.selectedIndex];
  showSystem();
  filterRows();
  if (current >= 0) openRow(current);
}
select.addEventListener("change", changeSystem);
markSorted(headers, headers.find((header) => header.dataset.key === sorting.key), sorting.descending);
changeSystem();
