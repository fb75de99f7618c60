"use strict";

// The points of a scatter chart: the one nearest to the pointer, or the one that the arrow keys reached, shows its name.
const label = document.getElementById("label");

function show(point) {
  for (const other of document.querySelectorAll(".point.shown")) other.classList.remove("shown");
  label.classList.toggle("on", Boolean(point));
  if (!point) return;
  point.classList.add("shown");
  label.textContent = point.getAttribute("aria-label");
  const box = point.getBoundingClientRect();
  const width = document.documentElement.clientWidth;
  const left = Math.max(4, Math.min(box.x + 14, width - label.offsetWidth - 4));
  label.style.left = `${left + scrollX}px`;
  label.style.top = `${box.y + scrollY - label.offsetHeight - 6}px`;
}

for (const chart of document.querySelectorAll(".scatter")) {
  const points = [...chart.querySelectorAll(".point")];
  points.forEach((point, index) => point.setAttribute("tabindex", index === 0 ? "0" : "-1"));
  chart.addEventListener("pointermove", (event) => {
    let nearest = null, least = 24;
    for (const point of points) {
      const box = point.getBoundingClientRect();
      const distance = Math.hypot(box.x + box.width / 2 - event.clientX, box.y + box.height / 2 - event.clientY);
      if (distance < least) [nearest, least] = [point, distance];
    }
    show(nearest);
  });
  chart.addEventListener("pointerleave", () => show(null));
  chart.addEventListener("focusin", (event) => show(event.target));
  chart.addEventListener("focusout", () => show(null));
  chart.addEventListener("keydown", (event) => {
    const at = points.indexOf(event.target);
    const to = { ArrowRight: at + 1, ArrowUp: at + 1, ArrowLeft: at - 1, ArrowDown: at - 1, Home: 0, End: points.length - 1 }[event.key];
    if (at < 0 || to === undefined) return;
    event.preventDefault();
    const next = points[Math.max(0, Math.min(points.length - 1, to))];
    points[at].setAttribute("tabindex", "-1");
    next.setAttribute("tabindex", "0");
    next.focus();
  });
}
addEventListener("keydown", (event) => { if (event.key === "Escape") show(null); });

// Class tables: a heading sorts, text and bucket filter; n/a stays last.
for (const part of document.querySelectorAll(".classes")) {
  const body = part.querySelector("tbody");
  const headings = [...part.querySelectorAll("th")];
  const rows = [...body.rows];
  const bucketColumn = headings.findIndex((heading) => heading.textContent.trim() === "bucket");

  const value = (row, column) => {
    const cell = row.cells[column], words = cell.textContent.trim();
    if (cell.dataset.order !== undefined) return Number(cell.dataset.order);
    if (column === 0) return words;
    if (words === "n/a" || words === "-") return null;
    return Number.isNaN(Number(words)) ? words : Number(words); // an id may be a word
  };
  headings.forEach((heading, column) => heading.querySelector("button").addEventListener("click", () => {
    const text = headings[column].classList.contains("text");
    const before = heading.getAttribute("aria-sort");
    const ascending = before ? before === "descending" : text;
    for (const other of headings) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    const keyed = rows.map((row) => [value(row, column), row]);
    keyed.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null);
      const numbers = typeof a === "number" && typeof b === "number";
      const order = numbers ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
      return ascending ? order : -order;
    });
    body.append(...keyed.map(([, row]) => row));
  }));

  const typed = part.querySelector("input"), chosen = part.querySelector("select"), output = part.querySelector("output");
  const filter = () => {
    const words = typed.value.trim().toLowerCase(), bucket = chosen ? chosen.value : "";
    let shown = 0;
    for (const row of rows) {
      const good = row.cells[0].textContent.toLowerCase().includes(words)
        && (!bucket || row.cells[bucketColumn].textContent.trim() === bucket);
      row.hidden = !good;
      shown += good;
    }
    const noun = rows.length === 1 ? "class" : "classes";
    output.textContent = shown === rows.length ? `${shown} ${noun}` : `${shown} of ${rows.length} ${noun}`;
  };
  typed.addEventListener("input", filter);
  if (chosen) chosen.addEventListener("change", filter);
}
