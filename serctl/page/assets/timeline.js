"use strict";
// The course of each channel, a cursor that follows the audio, and the transcript.
const audio = document.querySelector("audio");
const figures = [...document.querySelectorAll(".chart")].map((box, i) => ({
  chart: data.charts[i],
  plot: box.querySelector(".plot"),
  cursor: box.querySelector(".cursor"),
  summary: box.querySelector(".summary"),
  table: box.querySelector("details > div"),
}));

function drawCourse({ chart, plot }) {
  Plotly.react(plot, colour(chart.figure.data), layoutOf(chart.figure),
    { responsive: true, displayModeBar: false });
}

function seek(seconds) {
  audio.currentTime = Math.min(Math.max(0, seconds), data.seconds);
  audio.play().catch(() => {});  // a browser may want a click on the player first
  follow();
}

/** Put the cursors, and the mark in the transcript, where the audio is. */
function follow() {
  const now = audio.currentTime;
  for (const { plot, cursor } of figures) {
    const { xaxis, yaxis, yaxis2 } = plot._fullLayout;
    cursor.hidden = false;
    cursor.style.left = `${xaxis._offset + xaxis.l2p(now)}px`;
    cursor.style.top = `${yaxis._offset}px`;
    cursor.style.height = `${yaxis2._offset + yaxis2._length - yaxis._offset}px`;
  }
  data.transcript.forEach((row, i) => {
    const button = lines[i];
    if (row.start <= now && now < row.end) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
  });
}

const lines = data.transcript.map((row) => {
  const who = [row.channel, row.emotion].filter(Boolean).join(" · ");
  const button = element("button", "", { type: "button" }, element("time", clock(row.start)),
    element("span", who, { class: "who" }), element("span", row.text, { class: "said" }));
  if (row.emotion) button.style.setProperty("--own", data.colours[row.emotion]);
  button.addEventListener("click", () => seek(row.start));
  return button;
});
document.getElementById("transcript").append(...lines.map((button) => element("li", "", {}, button)));
document.getElementById("said").hidden = !lines.length;

for (const figure of figures) {
  const { chart, plot, summary, table } = figure;
  drawCourse(figure);
  plot.setAttribute("aria-label", chart.summary);
  summary.textContent = chart.summary;
  table.replaceChildren(makeTable(chart.columns, chart.rows));
  plot.addEventListener("click", (event) => {
    const { xaxis } = plot._fullLayout;
    const x = event.clientX - plot.getBoundingClientRect().left - xaxis._offset;
    if (x >= 0 && x <= xaxis._length) seek(xaxis.p2l(x));
  });
}

let frame = 0;
function run() {
  follow();
  frame = audio.paused ? 0 : requestAnimationFrame(run);
}
audio.addEventListener("play", () => { cancelAnimationFrame(frame); run(); });
for (const event of ["seeked", "pause", "loadedmetadata"]) audio.addEventListener(event, follow);
addEventListener("resize", () => requestAnimationFrame(follow));
watchTheme(() => figures.forEach(drawCourse));
