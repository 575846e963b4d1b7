// The live page: what the server tells every two seconds, shown. It asks for nothing and changes nothing.

import { Curves } from "./curves.js";
import { Feed } from "./feed.js";
import { bytes, clock, count, keyed, make, number, percent, say, seconds, table } from "./rows.js";
import { Traces } from "./traces.js";

const WINDOW_SECONDS = 10, KEPT_EVENTS = 600, SHOWN_EVENTS = 150;
const AGES = { under_5m: "under 5 min", "5m_30m": "5 to 30 min", "30m_2h": "30 min to 2 h", over_2h: "over 2 h" };
const IDS = ["user_id", "tournament_id", "match_id", "connection_id"];
const UNTOLD = new Set(["timestamp", "level", "event", "message", "trace_id", "span_id", "pid", "key", ...IDS]);

const rates = new Curves("rates", ["received", "sent"], number, 1);
const latency = new Curves("latency", ["p50", "p95", "p99"], seconds, 0.001);
const traces = new Traces();
const events = [];
let frames = []; // of the last seconds, the oldest first
let isPaused = false;
let waiting = null; // the last frame while the page is paused
let held = []; // and the spans that came with the frames since

// --- working out ---------------------------------------------------------------------------------------------------
function percentile(now, before, share) {
  const counts = now.buckets.map((value, place) => value - (before?.buckets[place] ?? 0));
  const total = counts.reduce((sum, value) => sum + value, 0);
  if (total <= 0) return null;
  let left = share * total;
  for (let place = 0; place < now.bounds.length; place += 1) {
    const low = place ? now.bounds[place - 1] : 0;
    if (counts[place] >= left) return low + ((now.bounds[place] - low) * left) / counts[place];
    left -= counts[place];
  }
  return now.bounds.at(-1);
}

function rate(now, before, of) {
  const passed = now.at - before.at, more = of(now) - of(before);
  return passed > 0 && more >= 0 ? more / passed : null;
}

// What each rule says when it fires, of the value and of where it fires; a rule that is not here goes by its name.
const RULES = {
  connections_gone: (value) => `Nobody is connected any more, after ${count(value)} connections`,
  connection_health: (value, limit) => `${percent(value)} of the open connections are healthy, less than ${percent(limit)}`,
  failed_connections: (value, limit) => `${percent(value)} of the new connections failed, more than ${percent(limit)}`,
  broadcast_failures: (value, limit) => `${percent(value)} of the broadcasts failed, more than ${percent(limit)}`,
  broadcast_latency: (value, limit) => `A broadcast takes ${seconds(value)}, more than ${seconds(limit)}`,
  queue_depth: (value, limit) => `${count(value)} messages wait in the channel layer, more than ${count(limit)}`,
  error_rate: (value, limit) => `${percent(value)} of the messages failed, more than ${percent(limit)}`,
  processing_time: (value, limit) => `A handler takes ${seconds(value)}, more than ${seconds(limit)}`,
  memory: (value, limit) => `${percent(value)} of the memory is used, more than ${percent(limit)}`,
  cpu: (value, limit) => `A process uses ${percent(value)} of a CPU, more than ${percent(limit)}`,
  connection_limit: (value, limit) => `${percent(value)} of the allowed connections are open, more than ${percent(limit)}`,
};

function sentence({ rule, value, threshold }) {
  const say = RULES[rule] ?? (() => `${rule.replaceAll("_", " ")}: ${number(value)}, limit ${number(threshold)}`);
  return say(value, threshold);
}

// --- showing -------------------------------------------------------------------------------------------------------
function showVerdict(frame) {
  document.getElementById("verdict").dataset.status = frame.status;
  const mark = { healthy: "✓", degraded: "!", unhealthy: "✕" }[frame.status] ?? "";
  say("status", `${mark} ${frame.status}`);
  const told = frame.findings.map((one) => `${sentence(one)} (${one.status}).`);
  keyed(document.getElementById("findings"), told.length ? told : ["No rule fires."], (text) => text,
    (text) => make("li", { textContent: text }));
  const many = frame.processes.length;
  const whom = frame.is_shared || many > 1 ? `${many} ${many === 1 ? "process" : "processes"} of this host`
    : "this process alone";
  say("scope", `Numbers of ${whom}, counted since ${new Date(frame.started * 1000).toLocaleString([], { hour12: false })}.`
    + (frame.is_shared || !frame.why ? "" : ` ${frame.why}`));
  document.title = `${mark} ${frame.connections.active} open, ${frame.status} - otel-ws`;
}

function showNumbers(frame) {
  const { connections, messages } = frame;
  const before = frames[0];
  const last = frames.at(-2) ?? before;
  const errors = frame.errors.reduce((sum, one) => sum + one.count, 0);
  const received = rate(frame, last, (one) => one.messages.received), sent = rate(frame, last, (one) => one.messages.sent);
  const of = (name, share) => percentile(frame.latency[name], before === frame ? null : before.latency[name], share);
  const tiles = { active: count(connections.active), users: count(connections.users), opened: count(connections.opened),
    rejected: count(connections.rejected), received: count(messages.received), sent: count(messages.sent),
    in: received === null ? "-" : number(received), out: sent === null ? "-" : number(sent), errors: count(errors),
    handling: seconds(of("handling", 0.95)), setup: seconds(of("setup", 0.95)), delivery: seconds(of("delivery", 0.95)) };
  for (const [name, text] of Object.entries(tiles)) say(`n-${name}`, text);
  if (last !== frame) {
    rates.add(frame.at, [received, sent]);
    latency.add(frame.at, [0.5, 0.95, 0.99].map((share) => of("handling", share)));
  }
  rates.show(frame.at);
  latency.show(frame.at);
}

function showTables(frame) {
  const { connections, layer, workers } = frame;
  table("by-role", connections.by_role.map((one) => [one.transport, one.role, count(one.count)]), ["", "", "n"], "nobody is connected");
  const open = Math.max(1, Object.values(connections.ages).reduce((sum, value) => sum + value, 0));
  table("ages", Object.entries(connections.ages).map(([age, value]) => {
    return [AGES[age] ?? age, count(value), { share: value / open, label: `${AGES[age] ?? age}: share of open connections` }];
  }), ["", "n", ""]);
  table("processes", frame.processes.map((one) => [String(one.pid), one.role, count(one.active), percent(one.cpu), bytes(one.memory)]),
    ["", "", "n", "n", "n"]);
  const lag = percentile(frame.latency.layer, frames[0] === frame ? null : frames[0].latency.layer, 0.95);
  table("layer", [["Depth of its queues", layer.depth === null ? "cannot be seen" : count(layer.depth)], ["Messages sent", count(layer.sent)],
    ["Messages consumed", count(layer.consumed)], ["Time on the way, p95", seconds(lag)], ["Groups", count(layer.groups)],
    ["Memberships", count(layer.memberships)], ["Memberships left behind", count(layer.orphans)],
    ["Broadcasts", count(frame.messages.broadcasts)], ["Broadcasts failed", count(frame.messages.broadcasts_failed)],
    ["Workers", count(workers.worker)], ["Handlers at work", count(workers.handler)],
    ["Failures of otel-ws itself", count(frame.own_failures)]], ["", "n"]);
  table("errors", frame.errors.map((one) => [one.category, one.severity, count(one.count)]), ["", "", "n"]);
  const byReason = { rejections: frame.rejections, "auth-failures": frame.auth_failures, ratelimits: frame.ratelimits, drops: layer.dropped };
  for (const [id, rows] of Object.entries(byReason)) table(id, rows.map((one) => [one.reason, count(one.count)]), ["", "n"]);
}

// --- events --------------------------------------------------------------------------------------------------------
function addEvents(found) {
  events.push(...found);
  events.sort((one, other) => (one.timestamp < other.timestamp ? -1 : 1));
  events.splice(0, events.length - KEPT_EVENTS);
  const select = document.getElementById("event-name");
  const known = new Set([...select.options].map((option) => option.value));
  for (const { event } of found) {
    if (known.has(event)) continue;
    known.add(event);
    select.append(new Option(event, event));
  }
}

function listEvents() {
  const name = document.getElementById("event-name").value;
  const id = document.getElementById("event-id").value.trim();
  const found = events.filter((one) => (!name || one.event === name)
    && (!id || one.trace_id === id || IDS.some((key) => String(one[key] ?? "") === id)));
  const last = found.slice(-SHOWN_EVENTS).reverse();
  keyed(document.getElementById("event-rows"), last, (one) => one.key, eventRow);
  say("event-count", events.length ? `${count(last.length)} of ${count(events.length)}` : "");
}

function eventRow(one) {
  const level = make("span", { className: "level", textContent: (one.level === "INFO" ? "" : "▲ ") + one.event, title: one.message });
  level.dataset.level = one.level;
  const ids = make("div", { className: "ids" }, ...IDS.filter((key) => one[key] !== null && one[key] !== undefined).map((key) => {
    const value = String(one[key]), text = `${key.replace("_id", "")} ${value.length > 12 ? `${value.slice(0, 8)}…` : value}`;
    return make("button", { type: "button", className: "text", textContent: text, title: `Only events of ${key} ${value}`,
      onclick: () => { document.getElementById("event-id").value = value; listEvents(); } });
  }));
  const says = make("td", { className: "says" }, ...Object.entries(one).filter(([key, value]) => !UNTOLD.has(key) && value !== null)
    .map(([key, value]) => make("span", { textContent: `${key} ${value}` })));
  const trace = make("td", {}, one.trace_id ? traces.button(one.trace_id, "trace") : "");
  trace.querySelector("button")?.setAttribute("aria-label", `Trace of ${one.event}`);
  return make("tr", {}, make("td", {}, clock(Date.parse(one.timestamp) / 1000)), make("td", {}, level), make("td", {}, ids), says, trace);
}

function without(id, rows, text) {
  const note = document.getElementById(id);
  note.hidden = !text || rows;
  if (note.textContent !== text) note.textContent = text;
}

// --- frames --------------------------------------------------------------------------------------------------------
function take(frame) {
  if (frame.error) {
    notice(frame.error.message);
    return;
  }
  notice("");
  const last = frames.at(-1);
  // A group that began anew counts from nothing.
  if (last && (frame.started !== last.started || frame.connections.opened < last.connections.opened)) frames = [];
  if (frame.history && !rates.points.length) begin(frame.history);
  frames.push(frame);
  while (frames[0].at < frame.at - WINDOW_SECONDS) frames.shift();
  if (frame.events) addEvents(frame.events);
  if (isPaused) {
    waiting = frame;
    held.push(...(frame.spans ?? []));
  } else {
    show(frame, frame.spans ?? []);
  }
}

function begin(rows) {
  for (let place = 1; place < rows.length; place += 1) {
    const [now, before] = [rows[place], rows[place - 1]];
    rates.add(now.at, [rate(now, before, (one) => one.received), rate(now, before, (one) => one.sent)]);
  }
}

function show(frame, spans) {
  showVerdict(frame);
  showNumbers(frame);
  showTables(frame);
  listEvents();
  traces.add(spans);
  const off = "Events and traces are kept where OTEL_WS_RECENT=true is set.";
  without("no-events", events.length, frame.events === null ? off : "No event was told yet.");
  without("no-traces", traces.spans.size, frame.spans === null ? off : "No span has ended yet.");
}

function notice(text) {
  const element = document.getElementById("notice");
  element.hidden = !text;
  if (element.textContent !== text) element.textContent = text;
}

// --- how the connection is -----------------------------------------------------------------------------------------
let state = "";
let asked = 0;

function tellState(now, silent, tries) {
  const told = isPaused && now === "live" ? "paused" : now;
  const old = silent === null ? "" : `, figures are ${Math.round(silent)} s old`;
  const pill = document.getElementById("link");
  document.body.dataset.old = String(now === "gone" || now === "stale");
  const texts = { waiting: "connecting", live: "live", paused: "paused", stale: `stale${old}`, gone: `the server is gone${old}` };
  pill.dataset.state = told;
  // The age is for the eye: a screen reader is told that the state changed, not every second.
  pill.setAttribute("aria-live", told === state ? "off" : "polite");
  if (pill.textContent !== texts[told]) pill.textContent = texts[told];
  if (now === "gone" && state !== "gone") notice("The server does not answer. What is shown is old; trying again.");
  if (now === "gone" && tries >= 2 && tries !== asked) mayLook(tries);
  if (now === "live" && state === "gone") notice("");
  state = told;
}

// A browser does not tell a page why its WebSocket was refused.
async function mayLook(tries) {
  asked = tries;
  try {
    const answer = await fetch(location.pathname, { method: "HEAD", cache: "no-store" });
    if (answer.status === 401 || answer.status === 403) notice("This page may not look any more: load it again to sign in.");
  } catch {
    // The server is gone, as the page says.
  }
}

document.getElementById("pause").addEventListener("click", (event) => {
  isPaused = !isPaused;
  event.currentTarget.setAttribute("aria-pressed", String(isPaused));
  if (!isPaused && waiting) show(waiting, held);
  if (!isPaused) [waiting, held] = [null, []];
});
const filter = document.getElementById("event-filter");
filter.addEventListener("input", listEvents);
filter.addEventListener("submit", (event) => event.preventDefault());
filter.addEventListener("reset", () => setTimeout(listEvents));

new Feed(take, tellState);
