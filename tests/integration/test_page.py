"""The page in a real browser: it shows what happens on the server, lets people talk, and can be read by
everybody: in light and dark, on a projector and a phone, by keyboard and by screen reader.

One browser for all tests of this file: starting one takes longer than most of them."""

import os
import re
import signal
import subprocess

import pytest

import browser as chromium
import harness
import parleywire as wire
from harness import until
from webwire import Site

pytestmark = pytest.mark.xdist_group("browser")


@pytest.fixture(scope="module")
def browser():
    b = chromium.Browser()
    yield b
    b.close()


@pytest.fixture
def site(make_server):
    return Site(make_server().start("--workers", "2", "--place", "workers", "--http", "127.0.0.1:0"))


@pytest.fixture
def page(browser, site):
    """The page, as parleyd's line says to open it; at its end the console and the requests are checked."""
    browser.media(prefers_color_scheme="light", prefers_reduced_motion="no-preference")
    browser.size_now = "projector"
    browser.collect()
    browser.console.clear()
    browser.requests.clear()
    browser.cdp("Emulation.setDeviceMetricsOverride", width=1280, height=800, deviceScaleFactor=1, mobile=False)
    browser.open(f"http://{site.address}/#{site.token}")
    browser.js("localStorage.clear()")
    yield browser
    browser.collect()
    own = (f"http://{site.address}/", f"ws://{site.address}/live", "data:", "about:blank")
    assert [u for u in browser.requests if not u.startswith(own)] == [], "requests elsewhere"
    assert any(u.endswith("/live") for u in browser.requests)
    assert [e["message"] for e in browser.console] == [], "the console is silent"
    browser.driver.get("about:blank")


class Crew:
    """A listener by each transport, and somebody who talks."""

    def __init__(self, site):
        self.server = site.server
        for t in harness.TRANSPORTS:
            if t != "tcp":
                self.server.stream("tail", "#lobby", "-t", t, "-n", f"on-{t}")
        self.chat = subprocess.Popen([harness.PARLEY, "-s", self.server.address, "-t", "unix", "-n", "wanda", "#lobby"],
                                     env=self.server.env(), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                                     stderr=subprocess.DEVNULL)

    def say(self, line):
        self.chat.stdin.write(line.encode() + b"\n")
        self.chat.stdin.flush()

    def close(self):
        self.chat.stdin.close()
        self.chat.wait(harness.DEADLINE)


@pytest.fixture
def crew(page, site):
    c = Crew(site)
    page.wait("['wanda', ...arguments[0]].every((n) => document.querySelector('#picture').textContent.includes(n))",
              "all clients are in the picture", [f"on-{t}"[:12] for t in harness.TRANSPORTS if t != "tcp"])
    yield c
    c.close()


def join(page, nick):
    page.find("#nick").send_keys(nick)
    page.find("#join button").click()
    page.wait("!document.querySelector('#post').hidden", "joined")


# --- talking ---------------------------------------------------------------------------------------


def test_posted_message_is_seen_as_text(page, site):
    text = "<b onmouseover=alert(1)>bold</b> & <script>document.title='owned'</script> \u202eback ünï 🙂"
    site.server.ok("send", "#lobby", text, "-n", "alice")
    page.wait("document.querySelector('#lines').textContent.includes('ünï 🙂')", "the message")
    line = page.texts("#lines li")[-1]
    assert "<script>document.title='owned'</script> \\u202eback" in line and "alice" in line
    assert page.js("return document.title") == "parley"
    assert page.js("return document.querySelectorAll('#lines b, #lines script').length") == 0


def test_corrected_and_deleted_lines_change_where_they_stand(page, site):
    with wire.Client.connect(site.server.socket, "ann") as ann:
        room = ann.join("#lobby").room
        seen = "[...document.querySelectorAll('#lines li')].map((l) => l.innerText)"
        for text in ("teh cat", "another"):
            ann.post(room, text)
            page.wait(f"{seen}.some((t) => t.includes(arguments[0]))", f"{text} on the page", text)
            ann.counter += 1
            ann.send(wire.encode("EDIT", 0, room, ann.counter, target=0, text="the cat"))
            page.wait(f"{seen}.some((t) => t.includes('the cat')) && !{seen}.some((t) => t.includes(arguments[0]))",
                      "the line reads differently", text)
        ann.counter += 1
        ann.send(wire.encode("DELETE", 0, room, ann.counter, target=0))
        page.wait(f"{seen}.some((t) => t.includes('deleted')) && {seen}.filter((t) => t.includes('the cat')).length == 1",
                  "the second line is gone, the first one stays")


def test_files_and_decisions_are_lines_of_text(page, site):
    path = os.path.join(site.server.dir, "photo <b>.jpg")
    with open(path, "wb") as f:
        f.truncate(2_100_000)
    seen = "[...document.querySelectorAll('#lines li')].map((l) => l.innerText)"

    def shows(line):
        page.wait(f"{seen}.some((t) => t.replace(/^[0-9:]+\\s*/, '') === arguments[0])", line, line)
    join(page, "eve")
    with wire.Client.connect(site.server.socket, "alice") as alice, wire.Client.connect(site.server.socket, "bob") as bob:
        room = alice.join("#lobby").room
        bob.join("#lobby")
        site.server.ok("file", "put", "-n", "alice", "#lobby", path)
        shows("alice sent photo <b>.jpg (2.1 MB)")
        for kind, values, line in (("OP", {"who": "uid:4001", "on": 1}, "alice made uid:4001 an operator"),
                                   ("OP", {"who": "uid:4001", "on": 0}, "alice took the operator's rights from uid:4001"),
                                   ("BAN", {"who": "nick:zed", "on": 1, "text": "why not"}, "alice banned zed: why not"),
                                   ("BAN", {"who": "nick:zed", "on": 0, "text": ""}, "alice lifted the ban of zed"),
                                   ("INVITE", {"nick": "uid:4002", "on": 1}, "alice invited uid:4002"),
                                   ("MODE", {"name": "topic-ops", "value": "on"}, "alice left the topic to operators"),
                                   ("TOPIC", {"topic": "<i>new</i>"}, "alice set the topic: <i>new</i>"),
                                   ("KICK", {"nick": "eve", "text": "<b>too</b> loud"}, "alice kicked eve: <b>too</b> loud")):
            alice.ask(kind, at=room, **values)
            shows(line)
        page.wait("!document.querySelector('#join').hidden", "who is kicked cannot post any more")
        assert page.text("#refused") == "You are out: kicked by alice: <b>too</b> loud"
        assert page.text("#topic") == "<i>new</i>"
        assert page.js("return document.querySelectorAll('#lines b, #lines i').length") == 0
        assert page.js("return document.querySelectorAll('#lines .event').length") >= 9


def test_person_joins_and_posts_by_keyboard_alone(page, site):
    assert page.js("return location.href") == f"http://{site.address}/", "the token is not left in the address"
    tail = site.server.stream("tail", "--json", "#lobby", "-n", "listener")
    until(lambda: "listener" in site.server.nicks("#lobby"), "somebody listens")
    from selenium.webdriver.common.keys import Keys
    page.js("document.body.focus()")
    order = []
    for _ in range(60):
        page.driver.switch_to.active_element.send_keys(Keys.TAB)
        focus = page.js("const e = document.activeElement; return e.id || e.className || e.tagName")
        order.append(focus)
        if focus == "nick":
            break
    assert order[0] == "skip" and order.index("theme") < order.index("rooms") < order.index("nick")
    outline = page.js("return getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid", "focus can be seen"
    page.driver.switch_to.active_element.send_keys("ann" + Keys.ENTER)
    page.wait("document.activeElement.id === 'text'", "joined, ready to type")
    page.driver.switch_to.active_element.send_keys("hello from the page" + Keys.ENTER)
    until(lambda: [m["text"] for m in tail.messages()] == ["hello from the page"], "others hear it")
    assert tail.messages()[0]["from"] == "ann"
    page.wait("document.querySelector('#lines').textContent.includes('hello from the page')", "and so does the page")
    page.find("#leave").click()
    until(lambda: "ann" not in [m["nick"] for m in site.server.json("who")], "ann leaves")


def test_refusals_are_said_aloud(page, site):
    page.js("document.querySelector('#token').value = 'wrong-tok-en00'")
    page.find("#nick").send_keys("ann")
    page.find("#join button").click()
    page.wait("document.querySelector('#refused').textContent.includes('not the token')", "the refusal")
    assert page.find("#refused").get_attribute("role") == "alert"
    assert page.js("return document.activeElement.id") == "token"


def test_room_can_be_changed(page, site):
    site.server.ok("send", "#other", "over here", "-n", "alice")
    page.wait("[...document.querySelectorAll('#rooms option')].some((o) => o.value === '#other')", "the room is listed")
    page.js("const r = document.querySelector('#rooms'); r.value = '#other'; r.dispatchEvent(new Event('change'))")
    page.wait("document.querySelector('#lines').textContent.includes('over here')", "its history")
    assert page.text("#room-title") == "#other"


# --- showing ---------------------------------------------------------------------------------------


def test_newest_line_is_in_sight_unless_one_reads_back(page, site):
    at_end = "(() => { const l = document.querySelector('#lines'); return l.scrollHeight - l.scrollTop - l.clientHeight < 5 })()"
    site.server.ok("send", "#lobby", "-", "-n", "alice", input="".join(f"a line that is long enough to be wrapped, {i}\n" for i in range(60)))
    page.wait(f"document.querySelector('#lines').textContent.includes('wrapped, 59') && {at_end}", "the end is shown")
    join(page, "ann")
    page.wait(at_end, "also when there is more room for lines")
    page.js("document.querySelector('#lines').scrollTop = 0")
    page.wait("document.querySelector('#lines').scrollTop === 0", "scrolled back")
    site.server.ok("send", "#lobby", "the last one", "-n", "alice")
    page.wait("document.querySelector('#lines').textContent.includes('the last one')", "one more line")
    assert page.js("return document.querySelector('#lines').scrollTop") == 0


# Clicks on the next message that moves.
CATCH = """
new MutationObserver((all, me) => {
  const dot = all.map((m) => m.target).find((e) => e.matches('.dot[visibility=visible]'));
  if (!dot) return;
  me.disconnect();
  dot.dispatchEvent(new MouseEvent('click', { bubbles: true }));
}).observe(document.querySelector('#picture'), { subtree: true, attributes: true, attributeFilter: ['visibility'] })
"""
HOPS = {"hub takes, checks, numbers", "hub → room log", "pipe → worker (on-shm)", "push into downlink (on-mmap)", "receiver reads (on-fifo)"}


def test_messages_move_and_open_their_traces(page, crew):
    def whole():
        """A trace does not wait long: on a busy machine, a receiver may be missing in it."""
        had = len(page.texts("#lines .how"))

        def sampled():
            crew.say("look at me")
            return len(page.texts("#lines .how")) > had
        until(sampled, "its line says how long it took")
        page.js("[...document.querySelectorAll('#lines .how')].at(-1).click()")
        assert page.js("return document.querySelector('#trace').open")
        rows = page.js("return [...document.querySelectorAll('#hops tr')].map((r) => [...r.cells].map((c) => c.textContent))")
        if HOPS <= {r[0] for r in rows}:
            return rows
        page.js("document.querySelector('#trace').close()")
        return None
    rows = until(whole, "all hops are told")
    assert page.text("#traced button")
    assert all(re.fullmatch(r"[\d.]+", r[3]) for r in rows)
    assert page.js("return document.querySelectorAll('#waterfall rect').length") > 10
    from selenium.webdriver.common.keys import Keys
    page.find("#trace-close").send_keys(Keys.ESCAPE)
    page.wait("!document.querySelector('#trace').open", "Escape closes it")
    page.js(CATCH)

    def opened():  # a browser that draws seldom may miss one that moves
        crew.say("once more")
        return page.js("return document.querySelector('#trace').open")
    until(opened, "a click on a moving message opens it")


def test_switch_and_killed_worker_are_seen(page, crew, site):
    crew.say("/transport shm")
    page.wait("[...document.querySelectorAll('#happened .switch')].some((e) => e.textContent.includes('wanda: unix → shm'))", "the switch")
    victim = next(p for p in site.server.workers() if p != site.pid())
    os.kill(victim, signal.SIGKILL)
    page.wait("[...document.querySelectorAll('#happened .crash')].some((e) => e.textContent.includes(arguments[0]))", "the crash", f"(pid {victim})")
    page.wait("document.querySelector('#happened .restart')", "the restart")
    crew.say("after the crash")
    page.wait("document.querySelector('#lines').textContent.includes('after the crash')", "the room goes on")
    page.wait("/^lost 0 · doubled 0/.test(document.querySelector('#counts').textContent)", "nothing lost, nothing doubled")


def test_charts_say_what_they_show(page, crew):
    def said():
        crew.say("tick")
        return all("fifo" in page.text(f"#d-{c}") for c in ("delay", "rate", "calls", "push")) and \
            len(page.texts("#legend button")) >= 6
    until(said, "each chart has a figure for each transport")
    assert page.js("return document.querySelectorAll('.chart canvas').length") == 4
    page.js("document.querySelector('#legend button').click()")
    assert page.js("return document.querySelector('#legend button').getAttribute('aria-pressed')") == "false"


def test_table_says_the_same_as_the_picture(page, crew):
    page.find("#system summary").click()
    page.wait("document.querySelectorAll('#sessions tr').length === 8", "a row for each session")
    rows = page.js("return [...document.querySelectorAll('#sessions tr')].map((r) => [r.cells[0].textContent, r.cells[1].textContent])")
    assert ["on-sysvmq", "sysvmq"] in rows and ["wanda", "unix"] in rows and ["page", "unix"] in rows


def test_page_comes_back_when_its_server_does(page, site):
    join(page, "ann")
    page.js("new MutationObserver(() => { if (document.querySelector('#link').className === 'bad') window.lost = true; })"
            ".observe(document.querySelector('#link'), { attributes: true })")
    os.kill(site.pid(), signal.SIGKILL)
    page.wait("window.lost", "the loss is shown, however short")
    page.wait("document.querySelector('#link').textContent === 'live'", "it is live again")
    until(lambda: "ann" in [m["nick"] for m in site.server.json("who")], "ann is back without being asked")
    page.wait("!document.querySelector('#post').hidden", "and may post")
    page.find("#text").send_keys("still me")
    page.find("#post button").click()
    page.wait("document.querySelector('#lines').textContent.includes('still me')", "she does")
    # the browser says of each attempt that failed that it did; that is not the page's to hide
    page.collect()
    page.console[:] = [e for e in page.console if "WebSocket connection to" not in e["message"]]


# --- for everybody ---------------------------------------------------------------------------------


def can_be_read(page):
    """What has too little contrast has more once it is drawn in the colours of the theme."""
    def bad():
        return page.js(chromium.CONTRAST)["bad"]
    until(lambda: not bad(), lambda: f"contrast: {bad()}")
    return page.js(chromium.CONTRAST)


def outside(page):
    """Words of the picture that are not in sight."""
    return page.js("""const r = []; for (const e of document.querySelectorAll('#picture text')) {
        const b = e.getBoundingClientRect(); if (b.right > innerWidth || b.left < 0 || b.height < 8) r.push(e.textContent); } return r""")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", chromium.SIZES)
def test_it_can_be_read(page, crew, size, theme):
    """Contrast, names and roles, and that all of it fits; pictures into docs/images if PARLEY_SHOTS says so."""
    page.media(prefers_color_scheme=theme)
    page.size(size)

    def there():
        crew.say("a line")
        return page.js("return document.querySelectorAll('.chart canvas').length === 4 && document.querySelector('#lines .how')")
    until(there, "all is there")
    assert can_be_read(page)["seen"] > 60
    assert page.js(chromium.LABELS) == []
    page.wait("document.documentElement.scrollWidth <= arguments[0]", "nothing has to be scrolled sideways", chromium.SIZES[size][0])
    until(lambda: not outside(page), lambda: f"all is inside of the picture: {outside(page)}")
    if shots := os.environ.get("PARLEY_SHOTS"):
        page.shot(os.path.join(shots, f"page-{size}-{theme}.png"))
    page.js("document.querySelector('#lines .how').click()")
    can_be_read(page)
    assert page.js(chromium.LABELS) == []
    if shots:
        page.shot(os.path.join(shots, f"trace-{size}-{theme}.png"))


def test_theme_can_be_chosen(page):
    def back():
        return page.js("return getComputedStyle(document.body).backgroundColor")
    light = back()
    page.media(prefers_color_scheme="dark")
    page.wait("getComputedStyle(document.body).backgroundColor !== arguments[0]", "the system's choice", light)
    dark = back()
    page.find("#theme").click()
    assert back() == light and "light" in page.find("#theme").get_attribute("aria-label")
    page.find("#theme").click()
    assert back() == dark
    page.find("#theme").click()
    assert "as the system" in page.find("#theme").get_attribute("aria-label")


def test_nothing_moves_for_those_who_do_not_want_it(page, site):
    page.media(prefers_reduced_motion="reduce")
    page.driver.refresh()
    page.wait("document.querySelector('#picture svg')", "the picture")
    page.js("new MutationObserver((all) => { if (all.some((m) => m.target.matches('.lit'))) window.shone = true; })"
            ".observe(document.querySelector('#picture'), { subtree: true, attributes: true, attributeFilter: ['class'] })")

    def shone():
        site.server.ok("send", "#lobby", "hello", "-n", "alice")
        return page.js("return window.shone")
    until(shone, "the way lights up")
    assert page.js("return document.querySelectorAll('#picture .dot').length") == 0
