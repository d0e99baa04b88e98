// The picture: clients, hub, pipes, workers, log, laid out in the pixels there are; and real messages
// moving along it.
import { $, svg, el, safe, cut, short, bytes, colorOf, still, themeChanged } from "/util.js";
import { common, legs, open } from "/trace.js";

const rowsMax = 12; // sessions drawn one by one; more are drawn as one row for each transport
const dotsMax = 40;
const slowMs = 1400; // how long the slowest way of a message takes to be seen
const leadMs = 350; // … and at least so much of it to the hub
const picture = $("picture");
const history = []; // of two seconds, for rates
let state = null, before = null;
let root = null, dots = null; // the drawing, and its layer of dots
let places = null; // where things are: { up: {key: path}, pipe: {n: path}, down: {key: path}, log: path }
let rowOf = () => null;
let drawn = "";

// --- what to draw ---

function group(sessions) {
  const rows = new Map();
  for (const s of sessions) {
    const r = rows.get(s.transport) ?? { key: s.transport, transport: s.transport, nick: "", n: 0, lag: 0, fill: 0, capacity: 0, worker: s.worker };
    r.n++;
    r.lag = Math.max(r.lag, s.lag);
    if (s.fill * r.capacity >= r.fill * s.capacity) { r.fill = s.fill; r.capacity = s.capacity; }
    r.nick = `${r.n} by ${s.transport}`;
    rows.set(s.transport, r);
  }
  rowOf = (conn) => sessions.find((s) => s.conn === conn)?.transport;
  return [...rows.values()];
}

function rowsOf(m) {
  const order = (a, b) => a.transport.localeCompare(b.transport) || a.nick.localeCompare(b.nick);
  if (m.sessions.length > rowsMax || m.hub.sessions > m.sessions.length) return group(m.sessions).sort(order);
  const rows = m.sessions.map((s) => ({ ...s, key: s.conn, n: 1 })).sort(order);
  rowOf = (conn) => (rows.some((r) => r.key === conn) ? conn : null);
  return rows;
}

// --- geometry ---

function geometry(width, rows, workers) {
  const narrow = width < 640;
  const pill = narrow ? Math.max(72, width * 0.235) : Math.min(200, width * 0.2);
  const box = narrow ? width * 0.17 : Math.min(150, width * 0.14);
  const pitch = 36, top = 26;
  const height = Math.max(rows * pitch + top + 12, workers * 74 + top, 250);
  const middle = top + (height - top) / 2;
  const free = width - 2 * pill - 2 * box;
  const hubX = pill + free * 0.33, workX = hubX + box + free * 0.34;
  const spread = (n, i, h) => top + ((height - top) * (i + 0.5)) / n - h / 2;
  return { narrow, width, height, pill, box, hubX, workX, top, middle, pitch,
    rowY: (i) => spread(Math.max(rows, 1), i, 30), workY: (i) => spread(Math.max(workers, 1), i, 58) };
}

function curve(x1, y1, x2, y2) {
  const c = (x1 + x2) / 2;
  return `M${x1} ${y1} C${c} ${y1} ${c} ${y2} ${x2} ${y2}`;
}

// --- parts ---

function text(x, y, s, attributes) {
  return svg("text", { x, y, ...attributes }, s);
}

function pill(g, r, x, y, down) {
  const room = Math.floor((g.pill - 18) / 7.4);
  const p = svg("g", {}, svg("rect", { x, y, width: g.pill, height: 30, rx: 7, class: "box" }),
    svg("rect", { x: down ? x : x + g.pill - 6, y: y + 4, width: 6, height: 22, rx: 2, fill: colorOf(r.transport) }));
  const tx = down ? x + 12 : x + 8;
  const label = cut(safe(r.nick), room);
  p.append(text(tx, y + 13, label, { class: "strong" }));
  const how = r.lag > 0 && down ? `${r.transport} · behind ${bytes(r.lag)}` : r.transport;
  p.append(text(tx, y + 25, cut(how, Math.floor(room * 1.15)), { class: "small" }));
  if (down && r.capacity > 0) {
    const w = g.pill - 16, full = Math.min(1, r.fill / r.capacity);
    p.append(svg("rect", { x: x + 10, y: y + 27, width: w, height: 2.5, class: "track" }),
      svg("rect", { x: x + 10, y: y + 27, width: w * full, height: 2.5, class: full > 0.8 ? "lag" : "", fill: colorOf(r.transport) }));
  }
  p.append(svg("title", {}, `${safe(r.nick)}, ${r.transport}${r.capacity ? `, downlink holds ${short(r.fill)} of ${short(r.capacity)}` : ""}${r.lag ? `, behind by ${bytes(r.lag)}` : ""}`));
  return p;
}

function rate(now, was, key) {
  const dt = state && before ? (state.at - before.at) / 1e9 : 0;
  return dt > 0 && was ? Math.max(0, (now[key] - was[key]) / dt) : 0;
}

function box(x, y, w, h, lines, dead) {
  const g = svg("g", {}, svg("rect", { x, y, width: w, height: h, rx: 8, class: dead ? "box dead" : "box" }));
  lines.filter(Boolean).forEach((l, i) => g.append(text(x + w / 2, y + 18 + i * 15, l, { class: i ? "small" : "strong", "text-anchor": "middle" })));
  return g;
}

function pipe(d, w) {
  const full = w.pipe ? Math.min(1, (w.fill + w.waiting) / w.pipe) : 0;
  const g = svg("g", {}, svg("path", { d, class: "pipe-edge" }), svg("path", { d, class: "pipe" }));
  if (full > 0.005) g.append(svg("path", { d, class: "fill", pathLength: 1, "stroke-dasharray": `${full} 1` }));
  g.append(svg("title", {}, `pipe to worker ${w.n}: ${bytes(w.fill)} of ${bytes(w.pipe)}, most seen ${bytes(w.fill_max)}; ${w.conflated} of ${w.watermarks} news conflated`));
  return g;
}

const used = (x) => x && { c: x.cpu_user_ns + x.cpu_system_ns };
const cpu = (now, was, narrow) => {
  const percent = rate(used(now), used(was), "c") / 1e7;
  return percent.toFixed(percent < 10 ? 1 : 0) + (narrow ? " %" : " % CPU");
};

function draw() {
  if (!state) return;
  const m = state, rows = rowsOf(m);
  const workers = m.workers.filter((w) => w.n < 16);
  const width = Math.max(picture.clientWidth, 300);
  const g = geometry(width, rows.length, workers.length);
  const inline = workers.length === 0;
  const paths = { up: {}, down: {}, pipe: {}, log: "" };
  const s = svg("svg", { viewBox: `0 0 ${g.width} ${g.height}`, height: g.height, role: "img",
    "aria-label": `${m.hub.sessions} clients send to the hub, which writes the log${inline ? " and delivers itself" : ` and tells ${workers.length} workers by pipes, which deliver`}. The table below has the figures.` });
  const wires = svg("g", {}), boxes = svg("g", {});
  dots = svg("g", {});
  const hubH = g.narrow ? 60 : 78, hubY = g.middle - hubH - 6;
  const logY = g.middle + 26, hubMid = hubY + hubH / 2;
  const right = g.width - g.pill;
  s.append(text(0, 13, g.narrow ? "sending" : "clients, sending", { class: "small" }),
    text(g.hubX + g.box / 2, 13, "hub", { class: "small", "text-anchor": "middle" }),
    inline ? "" : text(g.workX + g.box / 2, 13, "workers", { class: "small", "text-anchor": "middle" }),
    text(g.width, 13, g.narrow ? "receiving" : "the same clients, receiving", { class: "small", "text-anchor": "end" }));
  const was = (n) => before?.workers.find((w) => w.n === n);
  workers.forEach((w, i) => {
    const y = g.workY(i), d = curve(g.hubX + g.box, hubMid, g.workX, y + 29);
    paths.pipe[w.n] = d;
    wires.append(pipe(d, w));
    boxes.append(box(g.workX, y, g.box, 58, w.alive
      ? [g.narrow ? `w ${w.n}` : `worker ${w.n}`, cpu(w, was(w.n), g.narrow), short(rate(w, was(w.n), "deliveries")) + "/s"]
      : [g.narrow ? `w ${w.n}` : `worker ${w.n}`, "dead", "restarting"], !w.alive));
  });
  rows.forEach((r, i) => {
    const y = g.rowY(i), c = colorOf(r.transport);
    const at = workers.findIndex((w) => w.n === r.worker);
    const from = at < 0 ? [g.hubX + g.box, hubMid] : [g.workX + g.box, g.workY(at) + 29];
    paths.up[r.key] = curve(g.pill, y + 15, g.hubX, hubMid);
    paths.down[r.key] = curve(from[0], from[1], right, y + 15);
    wires.append(svg("path", { d: paths.up[r.key], class: "wire", stroke: c, "data-key": "u" + r.key }),
      svg("path", { d: paths.down[r.key], class: "wire", stroke: c, "data-key": "d" + r.key }));
    boxes.append(pill(g, r, 0, y, false), pill(g, r, right, y, true));
  });
  paths.log = `M${g.hubX + g.box / 2} ${hubY + hubH} L${g.hubX + g.box / 2} ${logY}`;
  wires.append(svg("path", { d: paths.log, class: "wire", stroke: "currentColor" }));
  boxes.append(box(g.hubX, hubY, g.box, hubH, ["hub", cpu(m.hub, before?.hub, g.narrow), short(rate(m.hub, before?.hub, "posts")) + (g.narrow ? "/s" : " posts/s"), g.narrow ? "" : short(rate(m.hub, before?.hub, "turns")) + " turns/s"]));
  const log = box(g.hubX, logY, g.box, 54, ["log", short(rate(m.hub, before?.hub, "batches")) + (g.narrow ? "/s" : " appends/s"), bytes(Math.round(rate(m.hub, before?.hub, "bytes_logged"))) + "/s"]);
  log.firstChild.classList.add("log");
  boxes.append(log);
  s.append(wires, boxes, dots);
  const shape = JSON.stringify([width, rows.map((r) => r.key), workers.map((w) => [w.n, w.alive])]);
  if (shape !== drawn) moving.length = 0; // their ways are no longer there
  for (const d of moving) dots.append(d.node);
  drawn = shape;
  places = paths;
  root?.remove();
  root = s;
  picture.append(s);
  table(m);
}

function table(m) {
  if (!$("sessions").closest("details").open) return;
  $("sessions").replaceChildren(...m.sessions.map((s) => el("tr", {},
    el("td", {}, safe(s.nick)), el("td", { class: s.transport }, s.transport), el("td", {}, s.worker === 16 ? "hub" : "worker " + s.worker),
    el("td", {}, short(s.posts)), el("td", {}, short(s.deliveries)), el("td", {}, s.lag ? bytes(s.lag) : "–"),
    el("td", {}, s.capacity ? `${short(s.fill)} of ${short(s.capacity)}` : "–"))));
}

// --- messages ---

const moving = []; // { node, path, from, to (ms), length }
let frame = 0;

const probe = svg("path", {});
function way(d) {
  probe.setAttribute("d", d);
  return probe.getTotalLength();
}

function light(selector, ms) {
  const e = root?.querySelector(selector);
  e?.classList.add("lit");
  setTimeout(() => e?.classList.remove("lit"), ms);
}

function dot(t, d, from, to, color, delay, scale) {
  if (!d || moving.length >= dotsMax) return;
  const start = performance.now() + delay + from * scale;
  const node = svg("circle", { r: 6, class: "dot", fill: color, visibility: "hidden", onclick: () => open(t) },
    svg("title", {}, `${safe(t.room)} ${t.seq} from ${safe(t.from)}`));
  dots.append(node);
  moving.push({ node, d, start, stop: start + Math.max((to - from) * scale, 60), length: way(d) });
}

function step(now) {
  for (let i = moving.length - 1; i >= 0; i--) {
    const m = moving[i];
    if (now > m.stop) {
      m.node.remove();
      moving.splice(i, 1);
      continue;
    }
    if (now < m.start) continue;
    probe.setAttribute("d", m.d);
    const p = probe.getPointAtLength((m.length * (now - m.start)) / (m.stop - m.start));
    m.node.setAttribute("cx", p.x);
    m.node.setAttribute("cy", p.y);
    m.node.setAttribute("visibility", "visible");
  }
  frame = moving.length ? requestAnimationFrame(step) : 0;
}

export function animate(t) {
  if (!places || document.hidden) return;
  const up = rowOf(t.session);
  const c = colorOf(t.transport);
  if (still.matches) {
    light(`[data-key="u${up}"]`, 900);
    light(".log", 900);
    for (const h of t.hops) light(`[data-key="d${rowOf(h.session)}"]`, 900);
    return;
  }
  const scale = slowMs / t.total; // ms on the screen for each ns
  const shared = common(t);
  const first = shared[0]?.from ?? 0, taken = t.taken ?? first;
  // Samples have no stamp of their sender: their way to the hub is shown, but says nothing of its time.
  const lead = Math.max(leadMs - (taken - first) * scale, 0);
  dot(t, places.up[up], first - lead / scale, taken, c, lead, scale);
  if (t.logged !== null) dot(t, places.log, taken, t.logged, c, lead, scale);
  const pipes = new Map(), seen = new Set();
  for (const h of t.hops) {
    if (h.received !== null && h.ordered !== null && h.worker !== 255) pipes.set(h.worker, h);
    const key = rowOf(h.session), l = legs(t, h), last = l.at(-1);
    if (seen.has(key) || !last) continue;
    seen.add(key);
    dot(t, places.down[key], h.began ?? last.from, last.to, colorOf(h.transport), lead, scale);
  }
  for (const [n, h] of pipes) dot(t, places.pipe[n], h.ordered, h.began ?? h.received, c, lead, scale);
  if (!frame) frame = requestAnimationFrame(step);
}

export const on = {
  state(m) {
    history.push(m);
    while (history.length > 2 && history[1].at <= m.at - 2e9) history.shift();
    before = history.length > 1 ? history[0] : null;
    state = m;
    draw();
  },
};

new ResizeObserver(() => draw()).observe(picture);
themeChanged.addEventListener("change", () => { drawn = ""; draw(); });
$("sessions").closest("details").addEventListener("toggle", () => state && table(state));
