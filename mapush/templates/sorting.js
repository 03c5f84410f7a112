"use strict";
// A click on a heading sorts its table by this column: first upwards, then downwards. Cells without a number go last.
const textOf = cell => [...cell.childNodes].filter(node => node.nodeName !== "SMALL").map(node => node.textContent).join("").trim();
const numberOf = cell => Number.parseFloat(textOf(cell).replaceAll(",", "").replace("\u2212", "-"));

function compareNumbers(one, other, sign) {
  if (Number.isNaN(one) || Number.isNaN(other)) return Number.isNaN(one) - Number.isNaN(other);
  return sign * (one - other);
}

function sort(table, heading) {
  const column = heading.cellIndex;
  const sign = heading.getAttribute("aria-sort") === "ascending" ? -1 : 1;
  const compare = heading.classList.contains("text-cell")
    ? (one, other) => sign * textOf(one.cells[column]).localeCompare(textOf(other.cells[column]), "en", { numeric: true })
    : (one, other) => compareNumbers(numberOf(one.cells[column]), numberOf(other.cells[column]), sign);
  for (const each of heading.parentElement.cells) each.setAttribute("aria-sort", "none");
  heading.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
  table.tBodies[0].append(...[...table.tBodies[0].rows].sort(compare));
}

for (const table of document.querySelectorAll("table")) {
  if (table.tBodies[0].rows.length < 2) continue;
  for (const heading of table.tHead.rows[0].cells) {
    heading.setAttribute("aria-sort", "none");
    heading.tabIndex = 0;
    heading.title = "sort by this column";
    heading.addEventListener("click", () => sort(table, heading));
    heading.addEventListener("keydown", event => {
      if (event.key === "Enter") sort(table, heading);
    });
  }
}
