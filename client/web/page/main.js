// The connection to parley-web, and who gets what comes over it.
import { $, still, themeChanged } from "/util.js";
import * as picture from "/picture.js";
import * as charts from "/charts.js";
import * as room from "/room.js";
import * as trace from "/trace.js";

const parts = [picture, charts, room, trace];
let socket = null;
let wait = 500; // ms until the next attempt

// The token comes behind #, which browsers keep to themselves. It is not left in the address bar, in the
// history, or anywhere a later user of this browser could find it.
if (location.hash.length > 1) {
  $("token").value = decodeURIComponent(location.hash.slice(1));
  history.replaceState(null, "", location.pathname);
}

function send(message) {
  if (socket && socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
}

function link(ok, text) {
  $("link").className = ok ? "good" : "bad";
  $("link").textContent = text;
}

function handle(m) {
  if (m.type === "hello") link(m.connected, m.connected ? "live" : "the server is away");
  if (m.type === "link") link(m.connected, m.connected ? "live" : "the server is away: " + m.text);
  if (m.type === "state") header(m);
  for (const p of parts) p.on?.[m.type]?.(m);
}

const count = (n, what) => `${n} ${what}${n === 1 ? "" : "s"}`;

function header(m) {
  const h = m.hub, p = m.page;
  $("summary").textContent = [count(h.sessions, "session"), count(h.rooms, "room"), count(h.workers, "worker")].join(", ") +
    (m.life === "running" ? "" : ` (the server is ${m.life})`);
  $("counts").textContent = `lost ${p.lost} · doubled ${p.doubled} of ${p.checked} records`;
  $("counts").title = "Numbers of records in the rooms read here, checked one by one. " +
    `Repeats that were recognised and dropped: ${p.repeats} here, ${h.repeats} by the server.`;
  $("counts").className = "counts " + (p.lost || p.doubled ? "bad" : "good");
}

function connect() {
  socket = new WebSocket(`ws://${location.host}/live`, "parley.1");
  socket.onopen = () => {
    wait = 500;
    for (const p of parts) p.opened?.(send);
  };
  socket.onmessage = (e) => JSON.parse(e.data).forEach(handle);
  socket.onclose = () => {
    link(false, "connection lost, trying again");
    for (const p of parts) p.closed?.();
    setTimeout(connect, wait);
    wait = Math.min(wait * 2, 8000);
  };
}

// --- colours ---

const themes = ["auto", "light", "dark"];
const signs = { auto: "◐ auto", light: "○ light", dark: "● dark" };

function theme(name) {
  if (name === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  $("theme").textContent = signs[name];
  $("theme").setAttribute("aria-label", "Colours: " + (name === "auto" ? "as the system has them" : name));
  themeChanged.dispatchEvent(new Event("change"));
}

function remembered() {
  try { return themes.includes(localStorage.theme) ? localStorage.theme : "auto"; } catch { return "auto"; }
}

$("theme").addEventListener("click", () => {
  const next = themes[(themes.indexOf(remembered()) + 1) % themes.length];
  try { localStorage.theme = next; } catch { /* private windows */ }
  theme(next);
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => theme(remembered()));
theme(remembered());
if (still.matches) $("system-note").textContent = "The way of each sampled message lights up. The buttons below open traces.";

connect();
