// The last traces: a list, and one of them as a waterfall, with the traces that it links to and that link to it.

import { clock, count, keyed, make, say, seconds } from "./rows.js";

const KEPT_SPANS = 3000, SHOWN_TRACES = 60;

export class Traces {
  constructor() {
    this.spans = new Map(); // by span id
    this.byTrace = new Map(); // spans by trace id
    this.linking = new Map(); // by span id: the spans that link to it
    this.chosen = null;
    const filter = document.getElementById("trace-filter");
    filter.addEventListener("input", () => this.list());
    filter.addEventListener("submit", (event) => event.preventDefault());
    filter.addEventListener("reset", () => setTimeout(() => this.list()));
    addEventListener("hashchange", () => this.follow(true));
  }

  add(spans) {
    for (const span of spans) {
      if (this.spans.has(span.span_id)) continue;
      this.spans.set(span.span_id, span);
      push(this.byTrace, span.trace_id, span);
      for (const link of span.links) push(this.linking, link.span_id, span);
    }
    while (this.spans.size > KEPT_SPANS) this.drop(this.spans.values().next().value);
    if (spans.length) this.list();
    const isAbout = (span) => span.trace_id === this.chosen || span.links.some((link) => link.trace_id === this.chosen);
    // What was not there when it was asked for may have come now.
    if (spans.some(isAbout) && this.chosen !== null) this.show(this.chosen);
    else if (this.chosen === null) this.follow(false);
  }

  drop(span) {
    this.spans.delete(span.span_id);
    pull(this.byTrace, span.trace_id, span);
    for (const link of span.links) pull(this.linking, link.span_id, span);
  }

  list() {
    const wanted = document.getElementById("trace-text").value.trim().toLowerCase();
    const errorsOnly = document.getElementById("trace-errors").checked;
    const found = [];
    for (const [id, spans] of this.byTrace) {
      if (errorsOnly && !spans.some((span) => span.is_error)) continue;
      if (wanted && !spans.some((span) => says(span, wanted))) continue;
      found.push([id, spans]);
    }
    const shown = found.slice(-SHOWN_TRACES).reverse();
    keyed(document.getElementById("trace-rows"), shown, ([id]) => id, ([id, spans]) => {
      const root = rootOf(spans);
      return make("tr", {}, make("td", {}, clock(root.start)), make("td", {}, this.button(id, root.name)), make("td", { className: "n" }),
        make("td", { className: "n" }));
    });
    for (const [id, spans] of shown) {
      const row = [...document.getElementById("trace-rows").children].find((one) => one.dataset.key === id);
      const failed = spans.some((span) => span.is_error);
      row.cells[1].firstChild.textContent = (failed ? "✕ error: " : "") + rootOf(spans).name;
      row.cells[2].textContent = seconds(lasted(spans));
      row.cells[3].textContent = count(spans.length);
      row.setAttribute("aria-current", String(id === this.chosen));
    }
    say("trace-count", this.byTrace.size ? `${count(shown.length)} of ${count(this.byTrace.size)}` : "");
  }

  button(id, text) {
    return make("button", { type: "button", className: "text", textContent: text, onclick: () => this.choose(id) });
  }

  choose(id) {
    if (location.hash === `#trace=${id}`) this.follow(true);
    else location.hash = `trace=${id}`;
  }

  follow(moves) {
    const id = /^#trace=([0-9a-f]{32})$/.exec(location.hash)?.[1];
    if (id === undefined) return;
    this.chosen = id;
    this.show(id);
    this.list();
    if (moves) {
      const title = document.getElementById("waterfall-title");
      title.scrollIntoView({ block: "nearest" });
      title.focus({ preventScroll: true });
    }
  }

  show(id) {
    const spans = [...(this.byTrace.get(id) ?? [])].sort((one, other) => one.start - other.start);
    if (!spans.length) {
      say("waterfall-title", "This trace is not among the last ones");
      document.getElementById("waterfall-body").replaceChildren(make("p", { className: "quiet",
        textContent: "It was not sampled, has not ended yet, or others have taken its place." }));
      return;
    }
    const from = spans[0].start, whole = lasted(spans) || 1e-9;
    say("waterfall-title", `${rootOf(spans).name}, ${seconds(lasted(spans))}`);
    const body = document.getElementById("waterfall-body");
    const open = new Set([...body.querySelectorAll("[aria-expanded=true]")].map((one) => one.parentElement.dataset.key));
    if (body.dataset.key !== this.keyOf(spans)) {
      const hadFocus = body.contains(document.activeElement);
      body.dataset.key = this.keyOf(spans);
      body.replaceChildren(
        make("ol", {}, ...inOrder(spans).map(([span, depth]) => bar(span, depth, from, whole, open.has(span.span_id)))),
        ...this.links("Follows", spans.flatMap((span) => span.links.map((link) => [link.trace_id, this.spans.get(link.span_id)]))),
        ...this.links("Followed by", spans.flatMap((span) => (this.linking.get(span.span_id) ?? []).map((one) => [one.trace_id, one]))),
        make("p", { className: "quiet", textContent: `Trace ${id}` }));
      if (hadFocus) document.getElementById("waterfall-title").focus({ preventScroll: true });
    }
  }

  keyOf(spans) {
    return spans.map((span) => `${span.span_id}:${this.linking.get(span.span_id)?.length ?? 0}`).join();
  }

  links(title, others) {
    const unique = new Map(others.map(([id, span]) => [span?.span_id ?? id, [id, span]]));
    if (!unique.size) return [];
    const items = [...unique.values()].map(([id, span]) => make("li", {}, span === undefined
      ? make("span", { className: "quiet", textContent: `trace ${id}, not among the last ones` })
      : this.button(id, `${span.name}, ${new Date(span.start * 1000).toLocaleTimeString([], { hour12: false })}`)));
    return [make("h4", { textContent: title }), make("ul", { className: "links" }, ...items)];
  }
}

function push(map, key, item) {
  if (map.has(key)) map.get(key).push(item);
  else map.set(key, [item]);
}

function pull(map, key, item) {
  const left = (map.get(key) ?? []).filter((one) => one !== item);
  if (left.length) map.set(key, left);
  else map.delete(key);
}

function says(span, wanted) {
  return [span.name, span.trace_id, ...Object.values(span.attributes)].some((value) => {
    const text = String(value).toLowerCase();
    return text === wanted || (wanted.length > 2 && text.includes(wanted));
  });
}

function rootOf(spans) {
  const ids = new Set(spans.map((span) => span.span_id));
  return spans.find((span) => !ids.has(span.parent_id)) ?? spans[0];
}

function lasted(spans) {
  return Math.max(...spans.map((span) => span.start + span.seconds)) - Math.min(...spans.map((span) => span.start));
}

// Each span after its parent, with how deep it is.
function inOrder(spans) {
  const ids = new Set(spans.map((span) => span.span_id));
  const under = (parent, depth) => spans.filter((span) => (ids.has(span.parent_id) ? span.parent_id : null) === parent)
    .flatMap((span) => [[span, depth], ...under(span.span_id, depth + 1)]);
  return under(null, 0);
}

// A number without the digits that its binary form adds.
function plain(value) {
  return typeof value === "number" && !Number.isInteger(value) ? String(Number(value.toPrecision(6))) : String(value);
}

function bar(span, depth, from, whole, isOpen) {
  const part = make("i");
  part.style.left = `${(100 * (span.start - from)) / whole}%`;
  part.style.width = `${(100 * span.seconds) / whole}%`;
  const name = make("span", { className: "name", textContent: (span.is_error ? "✕ error: " : "") + span.name });
  name.style.paddingLeft = `${depth}rem`;
  const facts = { kind: span.kind, process: span.pid, "span id": span.span_id, ...span.attributes };
  const list = make("dl", { className: "facts", hidden: !isOpen }, ...Object.entries(facts).flatMap(([key, value]) => [
    make("dt", { textContent: key }), make("dd", { textContent: plain(value) })]));
  const button = make("button", { type: "button", title: "Show what this span says" }, name, make("span", { className: "bar" }, part),
    make("span", { className: "n", textContent: seconds(span.seconds) }));
  button.setAttribute("aria-expanded", String(isOpen));
  button.onclick = () => {
    list.hidden = !list.hidden;
    button.setAttribute("aria-expanded", String(!list.hidden));
  };
  const item = make("li", { className: span.is_error ? "failed" : "" }, button, list);
  item.dataset.key = span.span_id;
  return item;
}
