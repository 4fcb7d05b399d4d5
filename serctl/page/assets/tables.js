// Tables whose columns sort: a button in each header, aria-sort on the one that does.
function markSorted(headers, chosen, descending) {
  for (const header of headers) header.removeAttribute("aria-sort");
  chosen.setAttribute("aria-sort", descending ? "descending" : "ascending");
}

for (const table of document.querySelectorAll("table.sortable")) {
  const headers = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  headers.forEach((header, i) => {
    const button = element("button", header.textContent, { type: "button" });
    header.replaceChildren(button);
    button.addEventListener("click", () => {
      const numeric = header.classList.contains("number");
      const now = header.getAttribute("aria-sort");
      const descending = now ? now === "ascending" : numeric;
      const value = (row) => numeric ? parseFloat(row.cells[i].textContent) : row.cells[i].textContent;
      const rows = [...body.rows].sort((a, b) =>
        (numeric ? value(a) - value(b) : value(a).localeCompare(value(b))) * (descending ? -1 : 1));
      body.append(...rows);
      markSorted(headers, header, descending);
    });
  });
}
