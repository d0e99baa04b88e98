// Small tools of all parts. Text of others goes into the page by textContent only, and through `safe`,
// so that it can be seen and nothing else: controls and bidi marks become visible escapes.

export const transports = ["fifo", "posixmq", "sysvmq", "shm", "mmap", "unix", "tcp"];

export const $ = (id) => document.getElementById(id);

export function safe(text) {
  return String(text).replace(
    /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069]/g,
    (c) => "\\u" + c.codePointAt(0).toString(16).padStart(4, "0"));
}

function fill(e, attributes, children) {
  for (const [k, v] of Object.entries(attributes || {})) {
    if (k.startsWith("on")) e.addEventListener(k.slice(2), v);
    else if (v !== null && v !== undefined && v !== false) e.setAttribute(k, v === true ? "" : v);
  }
  for (const c of children) if (c !== null && c !== undefined) e.append(c);
  return e;
}
export const el = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
export const svg = (tag, attributes, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

export const color = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
export const colorOf = (transport) => color(transports.includes(transport) ? transport : "other");

export function short(n) {
  if (!Number.isFinite(n)) return "–";
  const a = Math.abs(n);
  if (a >= 1e9) return (n / 1e9).toFixed(1) + " G";
  if (a >= 1e6) return (n / 1e6).toFixed(a >= 1e7 ? 0 : 1) + " M";
  if (a >= 1e3) return (n / 1e3).toFixed(a >= 1e4 ? 0 : 1) + " k";
  if (a >= 10 || a === 0 || Number.isInteger(n)) return n.toFixed(0);
  return n.toFixed(a >= 1 ? 1 : 2);
}
export const bytes = (n) => (n >= 1024 ? short(n / 1024) + (n >= 1024 ? " KiB" : "") : n + " B");
export function size(n) { // of a file, as the chat says it
  if (n < 1000) return n + (n === 1 ? " byte" : " bytes");
  const unit = Math.min(5, Math.floor(Math.log10(n) / 3));
  return (n / 1000 ** unit).toFixed(1) + " " + ["", "kB", "MB", "GB", "TB", "PB"][unit];
}
export const micro = (ns) => (ns / 1000 >= 100 ? (ns / 1000).toFixed(0) : (ns / 1000).toFixed(1));
export const clock = (iso) => {
  const d = new Date(iso);
  return Number.isNaN(d.getTime()) ? "" : d.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
};
export const cut = (s, n) => (s.length > n ? s.slice(0, n - 1) + "…" : s);

export const still = matchMedia("(prefers-reduced-motion: reduce)");
export const themeChanged = new EventTarget();
