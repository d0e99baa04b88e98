"""Chromium without a screen, driven by chromedriver (selenium): what a person with a browser would see
and do. What the page wrote to its console and every request it made are kept."""

import json
import shutil
import tempfile

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

from harness import until

SIZES = {"projector": (1280, 800), "phone": (390, 844)}

# Quiet: nothing that a browser does for itself may reach out.
FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync",
         "--disable-default-apps", "--disable-extensions", "--disable-dev-shm-usage", "--mute-audio",
         "--force-color-profile=srgb", "--hide-scrollbars"]


class Browser:
    def __init__(self):
        self.profile = tempfile.mkdtemp(prefix="parley-chromium-")
        options = webdriver.ChromeOptions()
        for flag in FLAGS + [f"--user-data-dir={self.profile}", "--window-size=1280,800"]:
            options.add_argument(flag)
        options.binary_location = shutil.which("chromium")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(service=Service(shutil.which("chromedriver")), options=options)
        self.console, self.requests = [], []

    def close(self):
        self.driver.quit()
        shutil.rmtree(self.profile, ignore_errors=True)

    # -- looking

    def collect(self):
        """Add what was logged since the last time to `console` and `requests`."""
        self.console += self.driver.get_log("browser")
        for entry in self.driver.get_log("performance"):
            event = json.loads(entry["message"])["message"]
            if event["method"] == "Network.requestWillBeSent":
                self.requests.append(event["params"]["request"]["url"])
            if event["method"] == "Network.webSocketCreated":
                self.requests.append(event["params"]["url"])

    def js(self, script, *args):
        return self.driver.execute_script(script, *args)

    def text(self, selector):
        return self.js("return document.querySelector(arguments[0])?.textContent ?? ''", selector)

    def texts(self, selector):
        return self.js("return [...document.querySelectorAll(arguments[0])].map((e) => e.textContent)", selector)

    def find(self, selector):
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def wait(self, script, what, *args):
        return until(lambda: self.js("return " + script, *args), what)

    # -- doing

    def open(self, url):
        self.driver.get(url)
        self.wait("document.querySelector('#link').textContent === 'live'", "the page is live")

    def cdp(self, command, **more):
        return self.driver.execute_cdp_cmd(command, more)

    def size(self, name, height=None):
        width, own = SIZES[name]
        self.cdp("Emulation.setDeviceMetricsOverride", width=width, height=height or own, deviceScaleFactor=1,
                 mobile=name == "phone")
        self.wait("innerWidth === arguments[0] && document.querySelector('#picture svg')", f"the page at {name} size", width)

    def media(self, **features):
        self.cdp("Emulation.setEmulatedMedia", features=[{"name": k.replace("_", "-"), "value": v} for k, v in features.items()])

    def shot(self, path):
        self.driver.save_screenshot(path)


# Contrast by WCAG 2.2 (relative luminance) of every text that is shown, against what is painted behind it:
# the nearest ancestor with an opaque background; inside drawings the card, and the box below the text.
CONTRAST = r"""
const lum = ([r, g, b]) => { const f = (c) => { c /= 255; return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; };
  return 0.2126 * f(r) + 0.7152 * f(g) + 0.0722 * f(b); };
const rgb = (s) => { const m = s.match(/[\d.]+/g).map(Number); return m.length > 3 && m[3] === 0 ? null : m; };
const ratio = (a, b) => { const [x, y] = [lum(a), lum(b)].sort((p, q) => q - p); return (x + 0.05) / (y + 0.05); };
const behind = (e) => { for (let p = e; p; p = p.parentElement) { const c = rgb(getComputedStyle(p).backgroundColor); if (c) return c; } return [255, 255, 255]; };
const bad = [];
let seen = 0;
const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walk.nextNode()) {
  const e = walk.currentNode.parentElement;
  if (!walk.currentNode.textContent.trim() || !e.checkVisibility({ visibilityProperty: true }) || e.closest(".hidden, script, title, option")) continue;
  const style = getComputedStyle(e), inside = e.closest("svg");
  const ink = rgb(inside ? style.fill : style.color);
  const backs = inside ? [behind(inside), ...[...inside.querySelectorAll(".box")].slice(0, 1).map((b) => rgb(getComputedStyle(b).fill))] : [behind(e)];
  const size = parseFloat(style.fontSize), bold = Number(style.fontWeight) >= 700;
  const need = size >= 24 || (size >= 18.66 && bold) ? 3 : 4.5;
  for (const back of backs) {
    seen++;
    const r = ratio(ink, back);
    if (r < need) bad.push(`${e.tagName}.${e.className.baseVal ?? e.className} "${walk.currentNode.textContent.trim().slice(0, 30)}": ${r.toFixed(2)} of ${need}`);
  }
}
for (const line of document.querySelectorAll("#picture .wire, #legend .key")) { // graphics: 3
  const style = getComputedStyle(line), c = rgb(line.closest("svg") ? style.stroke : style.color);
  seen++;
  if (ratio(c, behind(line.closest("svg") ?? line)) < 3) bad.push(`line ${line.getAttribute("class")}: ${ratio(c, behind(line)).toFixed(2)} of 3`);
}
return { seen, bad };
"""

# Names, roles, order: what a screen reader needs.
LABELS = r"""
const bad = [];
const visible = (e) => e.checkVisibility({ visibilityProperty: true });
const byId = (ids) => (ids ?? "").split(/\s+/).filter(Boolean).map((id) => document.getElementById(id)?.textContent ?? "").join(" ");
const name = (e) => (e.getAttribute("aria-label") || byId(e.getAttribute("aria-labelledby")) ||
  [...(e.labels ?? [])].map((l) => l.textContent).join(" ") || (/^(BUTTON|A|SUMMARY)$/.test(e.tagName) ? e.textContent : "")).trim();
for (const e of document.querySelectorAll("button, input, select, a, summary, [role=img], [role=log], [role=region], section, dialog, [tabindex]"))
  if (!name(e)) bad.push(`no name: ${e.outerHTML.slice(0, 80)}`);
const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) bad.push(`two of id ${id}`);
for (const e of document.querySelectorAll("[aria-labelledby], [aria-describedby], label[for]"))
  for (const id of [e.getAttribute("aria-labelledby"), e.getAttribute("aria-describedby"), e.getAttribute("for")].flatMap((x) => (x ?? "").split(/\s+/)).filter(Boolean))
    if (!document.getElementById(id)) bad.push(`no element ${id}, named by ${e.tagName}`);
let level = 0;
for (const h of document.querySelectorAll("main h1, main h2, main h3, header h1")) {
  const n = Number(h.tagName[1]);
  if (n > level + 1) bad.push(`heading ${h.textContent} jumps from ${level} to ${n}`);
  level = n;
}
if (document.querySelectorAll("h1").length !== 1) bad.push("not one h1");
for (const tag of ["header", "main"]) if (document.querySelectorAll(tag).length !== 1) bad.push(`not one ${tag}`);
if (!document.documentElement.lang) bad.push("no language");
if (!document.title) bad.push("no title");
for (const th of document.querySelectorAll("th")) if (!th.scope) bad.push(`th without scope: ${th.textContent}`);
for (const e of document.querySelectorAll("[tabindex]")) if (Number(e.getAttribute("tabindex")) > 0) bad.push("tabindex above 0");
for (const e of document.querySelectorAll("button, select, input")) { // WCAG 2.2, 2.5.8: 24 by 24
  const r = e.getBoundingClientRect();
  if (visible(e) && !e.closest("#lines") && (r.width < 24 || r.height < 24)) bad.push(`small target: ${e.id || e.textContent} ${r.width}x${r.height}`);
}
for (const e of document.querySelectorAll("[style]")) if (!e.closest(".uplot") && e.getAttribute("style") && !e.closest("svg")) bad.push(`inline style: ${e.outerHTML.slice(0, 60)}`);
return bad;
"""
