// Charts, one line for each transport. Rates are differences of the server's counters; delays and
// pushes come from sampled traces.
import { $, el, color, colorOf, clock, safe, short, transports, themeChanged } from "/util.js";

const span = 60; // seconds shown
const recent = 10; // seconds of samples behind one point
const samples = []; // { at (s), transport, delay, push } in µs
const times = [];
const quantiles = ["0.5", "0.9", "0.99", "1"];
const names = ["delay", "rate", "calls", "push"];
const series = {}; // by chart (delay: by quantile, too) and transport
for (const key of [...quantiles, ...names.slice(1)]) series[key] = Object.fromEntries(transports.map((t) => [t, []]));
const of = (name) => series[name === "delay" ? $("percentile").value : name];
const marks = []; // { at, kind, text }
const shown = new Set(transports);
const present = new Set();
const states = []; // of the last seconds: counters are written four times a second, so that a
const over = 2e9; // difference over less than two would be mostly chance
const charts = {};

const patterns = [[], [8, 4], [2, 3], [8, 3, 2, 3], [12, 4], [4, 4], [1, 4]]; // not by colour alone

function drawMarks(u) {
  const c = u.ctx;
  c.save();
  c.lineWidth = 2 * devicePixelRatio;
  for (const m of marks) {
    const x = u.valToPos(m.at, "x", true);
    if (x < u.bbox.left || x > u.bbox.left + u.bbox.width) continue;
    c.strokeStyle = c.fillStyle = color(m.kind === "switch" ? "link" : "mark");
    c.setLineDash(m.kind === "switch" ? [5, 5] : []);
    c.beginPath();
    c.moveTo(x, u.bbox.top);
    c.lineTo(x, u.bbox.top + u.bbox.height);
    c.stroke();
    c.font = `${11 * devicePixelRatio}px system-ui, sans-serif`;
    c.fillText(m.kind === "switch" ? "⇄" : "✕", x + 3 * devicePixelRatio, u.bbox.top + 12 * devicePixelRatio);
  }
  c.restore();
}

function options(name, box) {
  const axis = { stroke: () => color("quiet"), grid: { stroke: () => color("grid"), width: 1 }, ticks: { show: false }, font: "11px system-ui, sans-serif" };
  return {
    width: Math.max(box.clientWidth, 200), height: box.clientHeight, legend: { show: false },
    cursor: { show: false },
    scales: { x: { time: false, range: () => { const now = times.at(-1) ?? 0; return [now - span, now]; } },
      y: name === "delay" // one slow message must not flatten all others
        ? { distr: 3, range: (u, lo, hi) => [10 ** Math.floor(Math.log10(lo || 100)), 10 ** Math.ceil(Math.log10((hi || 1000) + 1))] }
        : { range: (u, lo, hi) => [0, Math.max((hi ?? 0) * 1.15, 1)] } },
    axes: [{ ...axis, size: 24, values: (u, v) => v.map((x) => { const s = Math.round((times.at(-1) ?? 0) - x); return s ? `-${s} s` : "now"; }), splits: () => { const now = times.at(-1) ?? 0; return [0, 1, 2, 3, 4].map((i) => now - span + (span * i) / 4); } },
      { ...axis, size: 46, values: (u, v) => v.map((x) => (x === null ? "" : short(x))) }],
    series: [{}, ...transports.map((t, i) => ({ label: t, stroke: () => colorOf(t), width: 2, dash: patterns[i], show: shown.has(t), points: { show: false }, spanGaps: true }))],
    hooks: { draw: [drawMarks] },
  };
}

function data(name) {
  return [times, ...transports.map((t) => of(name)[t])];
}

function build() {
  for (const name of names) {
    const box = $("chart-" + name);
    charts[name]?.destroy();
    charts[name] = new uPlot(options(name, box), data(name), box);
  }
}

function redraw() {
  if (document.hidden) return;
  for (const name of names) {
    charts[name]?.setData(data(name));
    const said = transports.filter((t) => present.has(t) && Number.isFinite(of(name)[t].at(-1)))
      .map((t) => `${t} ${short(of(name)[t].at(-1))}`);
    $("d-" + name).textContent = said.length ? "Now: " + said.join(", ") : "Nothing measured yet";
  }
}

function quantile(list, q) { // of a sorted list
  if (!list.length) return null;
  return list[Math.min(list.length - 1, Math.floor(q * list.length))];
}

function point(m) {
  const now = m.at / 1e9, before = states[0], dt = before ? (m.at - before.at) / 1e9 : 0;
  times.push(now);
  while (samples.length && samples[0].at < now - recent) samples.shift();
  for (const t of transports) {
    const is = m.transports[t], was = before?.transports[t];
    const mine = samples.filter((s) => s.transport === t);
    const d = (key) => (is && was ? Math.max(0, is[key] - was[key]) : 0);
    const out = d("deliveries");
    const delays = mine.map((s) => s.delay).filter((x) => x !== null).sort((a, b) => a - b);
    for (const q of quantiles) series[q][t].push(quantile(delays, Number(q)));
    series.push[t].push(quantile(mine.map((s) => s.push).filter((x) => x !== null).sort((a, b) => a - b), 0.5));
    series.rate[t].push(is?.sessions && dt > 0 ? out / dt : null);
    series.calls[t].push(out > 0 ? d("push_calls") / out : null);
    if (is?.sessions) present.add(t);
  }
  while (times.length && times[0] < now - span - 5) {
    times.shift();
    for (const s of Object.values(series)) for (const t of transports) s[t].shift();
  }
  states.push(m);
  while (states.length > 2 && states[1].at <= m.at - over) states.shift();
}

function legend() {
  const want = transports.filter((t) => present.has(t));
  if ($("legend").childElementCount === want.length) return;
  $("legend").replaceChildren(...want.map((t) => el("li", {}, el("button", { type: "button", "aria-pressed": String(shown.has(t)), onclick: (e) => {
    const on = !shown.delete(t) && shown.add(t);
    e.currentTarget.setAttribute("aria-pressed", String(Boolean(on)));
    for (const c of Object.values(charts)) c.setSeries(transports.indexOf(t) + 1, { show: Boolean(on) });
  } }, el("span", { class: "key " + t }), t))));
}

function happened(m, kind, text) {
  const li = el("li", { class: kind }, el("time", { datetime: m.time }, clock(m.time)), text);
  $("happened").append(li);
  while ($("happened").childElementCount > 60) $("happened").firstChild.remove();
  $("happened").scrollTop = $("happened").scrollHeight;
}

export const on = {
  state(m) {
    const last = states.at(-1);
    if (last && (m.at < last.at || m.hub.posts < last.hub.posts)) { // another start of the server
      times.length = marks.length = states.length = 0;
      for (const s of Object.values(series)) for (const t of transports) s[t].length = 0;
    }
    point(m);
    legend();
    if (!charts.delay) build();
    redraw();
  },
  trace(t) {
    if (t.code) return;
    const at = (states.at(-1)?.at ?? 0) / 1e9;
    for (const h of t.hops) {
      const share = h.push_bytes > t.bytes ? t.bytes / h.push_bytes : 1; // its part of a push of many
      samples.push({ at, transport: h.transport,
        delay: h.arrived !== null ? (h.arrived - (t.sent ?? t.posted ?? t.woken)) / 1000 : null,
        push: h.pushed !== null && h.began !== null ? ((h.pushed - h.began) * share) / 1000 : null });
    }
    if (samples.length > 20000) samples.splice(0, samples.length - 20000);
  },
  event(m) {
    happened(m, m.kind, safe(m.text));
    if (m.kind === "switch" || m.kind === "crash") marks.push({ at: m.at / 1e9, kind: m.kind });
    if (marks.length > 50) marks.shift();
  },
  notice: (m) => happened(m, "crash", safe(m.text)),
};

new ResizeObserver(() => {
  for (const name of Object.keys(charts)) {
    const box = $("chart-" + name);
    charts[name].setSize({ width: Math.max(box.clientWidth, 200), height: box.clientHeight });
  }
}).observe($("charts"));
themeChanged.addEventListener("change", () => charts.delay && build());
$("percentile").addEventListener("change", redraw);
