// Text and rows of tables, changed in place: what has the focus, or is being read, stays where it is.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });

export const count = (value) => whole.format(value);
export const number = (value) => (value >= 1000 ? whole.format(value) : short.format(value));
export const percent = (share) => `${short.format(share * 100)} %`;
export const bytes = (value) => (value ? `${short.format(value / 1048576)} MiB` : "-");

export function seconds(value) {
  if (value === null || Number.isNaN(value)) return "-";
  if (value < 0.001) return `${short.format(value * 1e6)} µs`;
  return value < 1 ? `${short.format(value * 1000)} ms` : `${short.format(value)} s`;
}

export function clock(unix) {
  const moment = new Date(unix * 1000);
  const element = document.createElement("time");
  element.dateTime = moment.toISOString();
  element.textContent = moment.toLocaleTimeString([], { hour12: false });
  return element;
}

export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

export function say(id, text) {
  const element = document.getElementById(id);
  if (element.textContent !== text) element.textContent = text;
}

// Show `cells` (text, or a number with its text) for each of `rows`, which are known by their first cells.
export function table(id, rows, columns, nothing = "none") {
  const body = document.getElementById(id);
  if (!rows.length) {
    if (!body.querySelector(".none")) {
      body.replaceChildren(make("tr", {}, make("td", { className: "none", colSpan: columns.length, textContent: nothing })));
    }
    return;
  }
  while (body.rows.length > rows.length || body.querySelector(".none")) body.deleteRow(-1);
  rows.forEach((cells, place) => {
    const row = body.rows[place] ?? body.appendChild(make("tr", {}, ...columns.map((kind) => make("td", { className: kind }))));
    cells.forEach((cell, column) => {
      const shown = row.cells[column];
      if (typeof cell === "object") return meter(shown, cell);
      if (shown.textContent !== cell) shown.textContent = cell;
    });
  });
}

function meter(cell, { share, label }) {
  const found = cell.firstElementChild ?? cell.appendChild(make("meter", { min: 0, max: 1 }));
  found.value = share;
  found.setAttribute("aria-label", label);
}

// Keep one element for each item, by its key, in the order of the items.
export function keyed(parent, items, keyOf, build) {
  const there = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let next = parent.firstElementChild;
  for (const item of items) {
    const key = keyOf(item);
    let element = there.get(key);
    if (element === undefined) {
      element = build(item);
      element.dataset.key = key;
    }
    there.delete(key);
    if (element === next) next = next.nextElementSibling;
    else parent.insertBefore(element, next);
  }
  for (const element of there.values()) element.remove();
}
