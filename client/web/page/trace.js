// Traces: the way of one message, hop by hop, with the server's own time stamps.
//
// Times in a trace are ns after its first stamp; null is "not known". A hop of a receiver on another
// clock (another host) has no arrival that could be compared.
import { $, el, svg, safe, micro, cut, colorOf } from "/util.js";
import { traced as mark } from "/room.js";
import { animate } from "/picture.js";

const keep = 64;
const traces = []; // newest last

export const find = (room, seq) => traces.find((t) => t.room === room && t.seq === seq);

// The legs that all receivers share, then those of each.
export function common(t) {
  const up = t.transport;
  const at = (name, from, to, more) => (from === null || to === null ? null : { name, from, to, ...more });
  return [
    at("sender → uplink", t.sent, t.posted, { by: up, bytes: t.bytes, calls: t.post_calls, transport: up }),
    at("uplink → hub wakes", t.posted ?? t.sent, t.woken, { by: up, transport: up, wait: true }),
    at("hub takes, checks, numbers", t.woken, t.taken, { by: "hub", bytes: t.bytes, calls: t.take_calls }),
    at("hub → room log", t.taken, t.logged, { by: "log", bytes: t.batch, calls: t.log_calls }),
    at("log on disk, readable", t.logged, t.told, { by: "log" }),
  ].filter((x) => x && x.to > x.from);
}

export function legs(t, h) {
  const where = h.worker === 255 ? "hub" : "worker " + h.worker;
  const at = (name, from, to, more) => (from === null || to === null ? null : { name, from, to, hop: h, ...more });
  return [
    at("hub → order", t.told, h.ordered, { by: "hub", calls: h.order_calls }),
    at(h.worker === 255 ? "order → fan-out" : "pipe → worker", h.ordered, h.received, { by: h.worker === 255 ? "hub" : "pipe", wait: true }),
    at("fan-out gets to it", h.received, h.began, { by: where }),
    at("push into downlink", h.began, h.pushed, { by: h.transport, bytes: h.push_bytes, calls: h.push_calls, transport: h.transport }),
    at("downlink → receiver wakes", h.pushed, h.woken, { by: h.transport, transport: h.transport, wait: true }),
    at("receiver reads", h.woken === null ? null : Math.max(h.woken, h.began ?? h.woken), h.arrived, { by: h.transport, bytes: h.bytes, calls: h.calls, transport: h.transport }),
  ].filter((x) => x && x.to >= x.from);
}

const end = (t) => Math.max(...[t.told, t.logged, t.taken, ...t.hops.flatMap((h) => [h.pushed, h.arrived])].filter((x) => x !== null), 1);

function list() {
  const recent = traces.slice(-6).reverse();
  $("traced").replaceChildren(...recent.map((t) => el("li", {},
    el("button", { type: "button", onclick: () => open(t) },
      `${safe(cut(t.room, 14))} ${t.seq} from ${safe(cut(t.from, 12))}: ${micro(t.total)} µs to ${t.hops.length}`))));
}

let due = 0; // the list is read, and clicked, by people: not more than once in two seconds
function listSoon() {
  if (due || $("traced").contains(document.activeElement) || $("traced").matches(":hover")) return;
  list();
  due = setTimeout(() => { due = 0; }, 2000);
}

export const on = {
  trace(t) {
    if (t.code) return;
    t.total = end(t);
    traces.push(t);
    if (traces.length > keep) traces.shift();
    mark(t);
    listSoon();
    animate(t);
  },
};

// --- the dialog ---

function bars(t) {
  const shared = common(t).map((x) => ({ ...x, who: "" }));
  const each = [...t.hops].sort((a, b) => (a.arrived ?? Infinity) - (b.arrived ?? Infinity)).slice(0, 12);
  return { shared, each };
}

function waterfall(t) {
  const { shared, each } = bars(t);
  const width = Math.max($("waterfall").clientWidth, 300);
  const left = Math.min(190, width * 0.32), right = 60, line = 22;
  const x = (ns) => left + (ns / t.total) * (width - left - right);
  const rows = shared.map((leg) => ({ label: leg.name, legs: [leg] }))
    .concat(each.map((h) => ({ label: `→ ${safe(cut(h.nick, 14))} (${h.transport})`, legs: legs(t, h), end: h.arrived ?? h.pushed })));
  const height = rows.length * line + 30;
  const s = svg("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "img",
    "aria-label": `Waterfall of ${rows.length} rows over ${micro(t.total)} µs; the table below has the same figures` });
  const ticks = width < 500 ? 2 : 4;
  for (let i = 0; i <= ticks; i++) {
    const at = (t.total * i) / ticks;
    s.append(svg("line", { x1: x(at), x2: x(at), y1: 16, y2: height, stroke: "var(--track)" }),
      svg("text", { x: x(at), y: 11, "text-anchor": "middle", class: "small" }, micro(at) + (i === ticks ? " µs" : "")));
  }
  rows.forEach((r, i) => {
    const y = 22 + i * line;
    s.append(svg("text", { x: 0, y: y + 12 }, cut(r.label, Math.floor(left / 7))));
    for (const leg of r.legs)
      s.append(svg("rect", { x: x(leg.from), y, width: Math.max(x(leg.to) - x(leg.from), 1.5), height: line - 7, rx: 2,
        class: leg.wait ? "wait" : leg.transport ? "" : "server", fill: leg.wait || !leg.transport ? null : colorOf(leg.transport) },
        svg("title", {}, `${leg.name}: ${micro(leg.to - leg.from)} µs`)));
    const last = r.end ?? r.legs.at(-1)?.to;
    if (last !== undefined && last !== null)
      s.append(svg("text", { x: x(Math.max(last, ...r.legs.map((l) => l.to))) + 5, y: y + 12, class: "small" }, micro(r.end !== undefined ? last : last - r.legs[0].from)));
  });
  return s;
}

export function open(t) {
  const { shared, each } = bars(t);
  $("trace-title").textContent = `${safe(t.room)} ${t.seq} from ${safe(t.from)}`;
  $("trace-sum").textContent = `${micro(t.total)} µs from first stamp to last; ${t.bytes} bytes by ${t.transport} to ${t.members} sessions` +
    (t.sampled ? "; picked as a sample" : "; traced because its sender asked") + ". Pale parts are waiting.";
  const row = (leg, who) => el("tr", {}, el("td", {}, who ? `${leg.name} (${who})` : leg.name), el("td", {}, leg.by),
    el("td", {}, micro(leg.from)), el("td", {}, micro(leg.to - leg.from)),
    el("td", {}, leg.bytes === undefined ? "" : String(leg.bytes)), el("td", {}, leg.calls === undefined ? "" : String(leg.calls)));
  $("hops").replaceChildren(...shared.map((l) => row(l, "")),
    ...each.flatMap((h) => legs(t, h).map((l) => row(l, safe(cut(h.nick, 14))))));
  if (!$("trace").open) $("trace").showModal();
  $("waterfall").replaceChildren(waterfall(t));
}

$("trace-close").addEventListener("click", () => $("trace").close());
