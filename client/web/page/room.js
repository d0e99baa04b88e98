// A room: what is said in it, and saying something.
import { $, el, safe, clock, micro, size } from "/util.js";
import { find, open } from "/trace.js";

const keep = 300; // lines on the page
let send = () => {};
let name = "#lobby";
let nick = null; // while we may post
let joining = null;
let newest = 0;

const lines = $("lines");

// Follow what is said, unless the reader has scrolled back. Lines also grow when their traces come.
let following = true;
function follow() {
  if (following) lines.scrollTop = lines.scrollHeight;
}
lines.addEventListener("scroll", () => {
  following = lines.scrollHeight - lines.scrollTop - lines.clientHeight < 40;
});
new ResizeObserver(follow).observe(lines);

function show(li) {
  lines.append(li);
  while (lines.children.length > keep) lines.firstChild.remove();
  follow();
}

function event(text, m) {
  show(el("li", { class: "event" }, m?.time ? el("time", { datetime: m.time }, clock(m.time)) : null, text));
}

function said(m, action) {
  if (m.seq <= newest) return; // told again after a reconnect
  newest = m.seq;
  const who = el("span", { class: "nick" }, (action ? "* " : "") + safe(m.from));
  const li = el("li", { "data-seq": m.seq, dir: "auto" },
    el("time", { datetime: m.time }, clock(m.time)), who, el("span", { class: "text" }, safe(m.text)));
  show(li);
  const t = find(name, m.seq);
  if (t) traced(t);
}

// The line of that number reads differently now, or is gone. One that has scrolled away stays away.
function changed(m) {
  const li = lines.querySelector(`li[data-seq="${Number(m.target)}"]`);
  const text = li?.querySelector(".text");
  if (!text) return;
  text.textContent = m.type === "edit" ? safe(m.text) : "deleted";
  li.classList.add(m.type === "edit" ? "edited" : "deleted");
  follow();
}

// What an operator decided, in the server's words.
const decided = (m) => event(`${safe(m.from)} ${safe(m.did)}`, m);

// A line whose trace is there says how long it took, and opens it.
export function traced(t) {
  if (t.room !== name) return;
  const li = lines.querySelector(`li[data-seq="${Number(t.seq)}"]`);
  if (!li || li.classList.contains("traced")) return;
  li.classList.add("traced");
  li.append(el("button", { type: "button", class: "how", onclick: () => open(t) }, `${micro(t.total)} µs`));
  follow();
}

function refuse(text) {
  $("refused").textContent = text;
}

function joined(now) {
  nick = now;
  $("join").hidden = now !== null;
  $("post").hidden = now === null;
  if (now !== null) $("who").textContent = now + ":";
}

export const on = {
  rooms(m) {
    const select = $("rooms");
    const all = m.rooms.map((r) => r.name);
    if (!all.includes(name)) all.unshift(name);
    if (document.activeElement === select) return; // not under the user's hands
    select.replaceChildren(...all.map((n) => el("option", { value: n, selected: n === name }, safe(n))));
  },
  room(m) {
    if (m.room !== name) return;
    $("room-title").textContent = safe(name);
  },
  topic(m) {
    $("topic").textContent = safe(m.text);
    if (m.from) event(`${safe(m.from)} set the topic: ${safe(m.text)}`, m);
  },
  message: (m) => said(m, false),
  action: (m) => said(m, true),
  edit: changed,
  delete: changed,
  join: (m) => event(`${safe(m.from)} joined (${m.transport})`, m),
  part: (m) => event(`${safe(m.from)} left${m.text ? ": " + safe(m.text) : ""}`, m),
  file: (m) => event(`${safe(m.from)} sent ${safe(m.name)} (${size(m.size)})`, m),
  nick: (m) => event(`${safe(m.from)} is now ${safe(m.to)}`, m),
  kick: decided,
  ban: decided,
  unban: decided,
  invite: decided,
  uninvite: decided,
  op: decided,
  deop: decided,
  mode: decided,
  closed: (m) => event(safe(m.text)),
  missed(m) { if (m.what === "lines") event(`${m.count} lines went by too fast to be shown here`); },
  joined(m) {
    const first = nick === null;
    joining = null;
    joined(m.nick);
    refuse("");
    $("token").dataset.good = $("token").value;
    if (first) $("text").focus();
  },
  left(m) {
    joined(null);
    refuse("You are out: " + safe(m.text));
  },
  refused(m) {
    refuse(safe(m.text));
    joining = null;
    if (m.what === "token") $("token").focus();
  },
};

export function opened(out) {
  send = out;
  send({ do: "room", room: name });
  if (nick !== null || joining) // after a lost connection: come back as who we were
    send({ do: "join", nick: nick ?? joining, token: $("token").value });
  nick = null;
}

$("rooms").addEventListener("change", () => {
  name = $("rooms").value;
  newest = 0;
  lines.replaceChildren();
  $("topic").textContent = "";
  send({ do: "room", room: name });
});
$("join").addEventListener("submit", (e) => {
  e.preventDefault();
  joining = $("nick").value.trim();
  refuse("");
  send({ do: "join", nick: joining, token: $("token").value.trim() });
});
$("post").addEventListener("submit", (e) => {
  e.preventDefault();
  const text = $("text").value;
  if (!text) return;
  refuse("");
  send({ do: "post", text });
  $("text").value = "";
});
$("leave").addEventListener("click", () => {
  send({ do: "leave" });
  joined(null);
  $("nick").focus();
});
