// Curves over the last minutes, with a legend that says the last values and a table for who cannot see them.

import { make } from "./rows.js";

const WIDTH = 640, HEIGHT = 200, LEFT = 62, BOTTOM = 22, TOP = 8;
const PAST_SECONDS = 600, LEAST_SECONDS = 120, GAP_SECONDS = 30, TABLE_ROWS = 10;
const SVG = "http://www.w3.org/2000/svg";

function draw(tag, attributes, text) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

// A round number that holds the value, and not much more.
function ceiling(value) {
  const unit = 10 ** Math.floor(Math.log10(value || 1));
  return unit * [1, 1.2, 1.6, 2, 3, 4, 5, 6, 8, 10].find((step) => step * unit >= value);
}

export class Curves {
  constructor(id, names, format, least) {
    this.names = names;
    this.format = format;
    this.least = least;
    this.points = [];
    const figure = document.getElementById(id);
    this.svg = draw("svg", { class: "curve", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, "aria-hidden": "true" });
    this.values = names.map(() => make("b", { textContent: "-" }));
    const legend = make("ul", { className: "legend" }, ...names.map((name, place) => {
      const sample = draw("svg", { viewBox: "0 0 28 8", "aria-hidden": "true" });
      sample.append(draw("path", { d: "M0 4h28", class: `k${place}`, fill: "none" }));
      return make("li", {}, sample, `${name} `, this.values[place]);
    }));
    this.body = make("tbody");
    const head = make("tr", {}, ...["Time", ...names].map((text) => {
      return make("th", { scope: "col", textContent: text });
    }));
    this.details = make("details", {}, make("summary", { textContent: "The last values as a table" }),
      make("table", {}, make("thead", {}, head), this.body));
    this.details.ontoggle = () => this.tell();
    figure.append(legend, this.svg, this.details);
  }

  // One moment (Unix seconds) and a value for each name; null where there is none.
  add(at, values) {
    this.points.push({ at, values });
    while (this.points.length && this.points[0].at < at - PAST_SECONDS) this.points.shift();
  }

  show(now) {
    const high = Math.max(this.least, ...this.points.flatMap((point) => point.values.filter((value) => value !== null)));
    const top = ceiling(high);
    const past = Math.max(LEAST_SECONDS, Math.min(PAST_SECONDS, now - (this.points[0]?.at ?? now)));
    const x = (at) => WIDTH - ((now - at) / past) * (WIDTH - LEFT);
    const y = (value) => HEIGHT - BOTTOM - (value / top) * (HEIGHT - BOTTOM - TOP);
    const parts = [0, 0.5, 1].flatMap((share) => [
      draw("line", { x1: LEFT, x2: WIDTH, y1: y(top * share), y2: y(top * share), class: "grid" }),
      draw("text", { x: LEFT - 6, y: y(top * share) + 4, "text-anchor": "end" }, this.format(top * share)),
    ]);
    for (const share of [1, 0.5]) {
      parts.push(draw("text", { x: x(now - past * share), y: HEIGHT - 6 }, `${Math.round((past * share) / 6) / 10} min ago`));
    }
    parts.push(draw("text", { x: WIDTH, y: HEIGHT - 6, "text-anchor": "end" }, "now"));
    this.names.forEach((_, name) => {
      for (const run of this.runs(name)) {
        const points = run.map(([at, value]) => `${x(at).toFixed(1)},${y(value).toFixed(1)}`).join(" ");
        parts.push(draw("polyline", { points, class: `k${name}` }));
      }
    });
    this.svg.replaceChildren(...parts);
    const last = this.points.at(-1);
    this.names.forEach((_, name) => {
      const value = last?.values[name] ?? null;
      this.values[name].textContent = value === null ? "-" : this.format(value);
    });
    this.tell();
  }

  // What is joined by a line: where nothing was heard for a while, there is none.
  *runs(name) {
    let run = [];
    for (const { at, values } of this.points) {
      const value = values[name];
      if (run.length && (value === null || at - run.at(-1)[0] > GAP_SECONDS)) {
        yield run;
        run = [];
      }
      if (value !== null) run.push([at, value]);
    }
    if (run.length) yield run;
  }

  tell() {
    if (!this.details.open) return;
    this.body.replaceChildren(...this.points.slice(-TABLE_ROWS).reverse().map(({ at, values }) => {
      const cells = values.map((value) => make("td", { textContent: value === null ? "-" : this.format(value) }));
      const time = new Date(at * 1000).toLocaleTimeString([], { hour12: false });
      return make("tr", {}, make("th", { scope: "row", textContent: time }), ...cells);
    }));
  }
}
