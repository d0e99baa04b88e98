"""The loads of `parley bench`: what each measures is what it says, and it refuses what makes no sense."""

import json
import os
import resource
import signal
import subprocess
import time

import pytest

import harness
from harness import TRANSPORTS, until

SUMMARY = os.path.join(os.path.dirname(__file__), "..", "support", "bench-summary.py")
LOCAL = [t for t in TRANSPORTS if t != "tcp"]


@pytest.fixture
def place(objects):
    p = harness.Place(objects, "bench")
    yield p
    p.assert_nothing_left()
    p.close()


def results(done):
    assert done.returncode == 0, f"exit {done.returncode}\n{done.out}\n{done.err}"
    return [json.loads(line) for line in done.out.splitlines()]


def measure(place, *args):
    """POSIX queues are counted for a user: when other tests have taken all of them for a moment, measure again."""
    def whole():
        got = results(place.run(*args, "--repeat", "1", "--json"))
        return None if any("RLIMIT_MSGQUEUE" in r.get("skipped", "") for r in got) else got
    return until(whole, "there are queues for it")


def median(r, name):
    return r["figures"][name]["median"]


@pytest.mark.parametrize("processes, load", [(1, None), (2, None), (1, 3000), (2, 3000)])
def test_latency_times_every_post_from_its_schedule(place, processes, load):
    args = ["-t", "unix", "-S", "3", "--rounds", "200", "--rate", "1000", "--processes", str(processes)]
    (r,) = measure(place, "latency", *args, *(["--load", str(load)] if load else []))
    assert median(r, "last_count") == median(r, "first_count") == 200
    for name in ["first", "last"]:
        assert 0 < median(r, name + "_p50") <= median(r, name + "_p90") <= median(r, name + "_p99_9")
        assert median(r, name + "_p99_9") <= median(r, name + "_max")
    assert median(r, "first_p50") <= median(r, "last_p50") and median(r, "first_max") <= median(r, "last_max")
    assert ("sender" in r["processes"]) == (processes == 2) and ("load" in r["processes"]) == (load is not None)
    assert r["case"]["load"] == (f"load {load}/s" if load else "idle") + (", 2 procs" if processes == 2 else "")


def test_latency_counts_all_that_waits_behind_a_delay(server):
    """The server stands still for half a second: of 2000 posts a second, 500 are meant to leave in the first half
    of that, so the slowest hundredth of 20000 has waited for the other half, however fast the machine is. If
    delays were counted from when a post could leave, only the few that were under way would have."""
    still, rate, rounds = 0.5, 2000, 20000
    p = server.stream("bench", "latency", "-t", "unix", "-S", "1", "--rounds", str(rounds), "--rate", str(rate),
                      "--repeat", "1", "--json")

    def posts():
        return server.json("top", "--once", "-d", "0.3")[-1]["hub"]["posts"]
    until(lambda: posts() > 200, "it is being measured")
    os.kill(server.pid, signal.SIGSTOP)
    try:
        stopped = time.monotonic()
        until(lambda: time.monotonic() - stopped > still, "posts have waited")
        assert posts() < rounds - 2 * still * rate, "it went on to the end, so nothing waited"
    finally:
        os.kill(server.pid, signal.SIGCONT)
    assert p.wait() == 0
    (r,) = p.events()
    assert median(r, "last_count") == rounds and median(r, "last_p99") >= still / 2 * 1e9


def test_fanout_says_what_is_verified_of_each_delivery(place):
    for kind, words in [((), "each byte of name and text"), (("payload",), "no checksum"), (("checksum",), "checksum, sequence")]:
        (r,) = measure(place, "fanout", *kind, "-t", "unix", "-S", "3", "-C", "5000")
        assert r["case"]["variant"] == (kind or ("payload",))[0] and words in r["notes"]
        assert median(r, "posts_per_s") > 0
    done = place.run("fanout", "payload", "-t", "unix", "-S", "2", "-C", "500", "--repeat", "1")
    assert done.returncode == 0 and "payload" in done.out and "no checksum" in " ".join(done.out.split())


def test_fanout_mixed_verifies_all_transports_in_one_room(place):
    (r,) = measure(place, "fanout", "--mixed", "-t", ",".join(TRANSPORTS), "-S", "14", "-C", "2000")
    assert r["case"]["transport"] == "+".join(TRANSPORTS)
    assert median(r, "posts_per_s") * 14 == pytest.approx(median(r, "deliveries_per_s"))
    assert 0 < median(r, "to_first_p50") <= median(r, "to_last_p50") <= median(r, "to_last_max")


def test_fanout_to_more_than_the_limit_says_which(place):
    # With a limit of its own, so that the queues of this user are not used up for all other tests.
    limits = (300_000, 300_000)
    p = place.start("fanout", "-t", "posixmq", "-S", "3000", "-C", "100", "--repeat", "1", "--json",
                    preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_MSGQUEUE, limits))
    p.out, p.err = p.communicate(timeout=harness.DEADLINE)
    (r,) = results(p)
    assert "RLIMIT_MSGQUEUE" in r["skipped"] or "descriptor" in r["skipped"]


def test_switch_loses_and_doubles_nothing(place):
    got = measure(place, "switch", "--rounds", "6", "--place", "workers", "--workers", "2")
    assert [r["case"]["transport"] for r in got] == ["unix+" + t for t in LOCAL if t != "unix"]
    for r in got:
        assert median(r, "lost") == median(r, "doubled") == 0
        assert median(r, "switch_count") == median(r, "gap_count") == 6
        assert median(r, "switch_min") > 0 and median(r, "gap_min") > 0


def test_resume_brings_what_was_missed(place):
    got = measure(place, "resume", "--rounds", "2", "-C", "3000", "-t", "unix,shm,mmap")
    assert [(r["case"]["items"], r["case"]["transport"]) for r in got] == \
        [(n, t) for n in [1, 3000] for t in ["unix", "shm", "mmap"]]
    for r in got:
        assert median(r, "lost") == median(r, "doubled") == 0 and median(r, "down_count") == 2
        assert 0 < median(r, "dial_open_min") <= median(r, "dial_next_min") <= median(r, "dial_all_min")
        assert median(r, "dial_next_min") < median(r, "down_min")


def test_history_reads_all_and_cat_the_same_bytes(place):
    got = measure(place, "history", "-C", "20000")
    assert [r["case"]["transport"] for r in got] == TRANSPORTS
    for r in got:
        assert median(r, "messages_per_s") > 0 and median(r, "cat_MB_per_s") > 0
        assert median(r, "of_cat") == pytest.approx(median(r, "MB_per_s") / median(r, "cat_MB_per_s"))


def test_search_finds_as_many_as_grep(place):
    got = measure(place, "search", "-C", "20000", "-t", "unix,shm,mmap")
    for r in got:
        assert median(r, "found") == 20
        assert median(r, "of_grep") == pytest.approx(median(r, "search") / median(r, "grep"))


def test_join_of_a_small_and_a_large_room(place):
    small, large = measure(place, "join", "-C", "30000", "--rounds", "5", "-t", "unix")
    assert (small["case"]["items"], large["case"]["items"]) == (1000, 30000)
    for r in [small, large]:
        assert median(r, "join_count") == 5 and median(r, "join_min") < median(r, "connect_join_min")


def test_hops_compares_places_with_the_same_hops_bare(place):
    got = measure(place, "hops", "-C", "2000", "--rounds", "50", "--rate", "1000", "-t", "unix,shm")
    assert [(r["case"]["transport"], r["case"]["place"], r["case"].get("workers", 0)) for r in got] == \
        [(t, "workers" if n else "hub", n) for t in ["unix", "shm"] for n in [0, 1, 2, 4]]
    for r in got:
        assert median(r, "of_bare") == pytest.approx(median(r, "delay_p50") / median(r, "bare_p50"))
        assert median(r, "deliveries_per_s") > 0
        assert len([p for p in r["processes"] if p.startswith("worker")]) == r["case"].get("workers", 0)


def test_stream_gives_the_mechanism_bare_what_the_chat_had(place):
    got = measure(place, "stream", "-C", "20000", "--rounds", "50", "--rate", "1000", "--place", "hub")
    assert [r["case"]["transport"] for r in got] == TRANSPORTS
    for r in got:
        assert median(r, "record_bytes") == 112 and median(r, "batch") >= 1
        assert median(r, "of_bare_stream") == pytest.approx(median(r, "posts_per_s") / median(r, "bare_per_s"))
        assert median(r, "of_bare_hop") == pytest.approx(median(r, "hop_p50") / median(r, "bare_hop_p50"))
        assert median(r, "hop_count") == 50 and "112 bytes, of which 64" in r["notes"]
    (posixmq,) = [r for r in got if r["case"]["transport"] == "posixmq"]
    assert median(posixmq, "batch") * 112 <= 8192  # no more than one message of the queue holds


def test_idle_sessions_are_there_and_their_memory_is_told(place):
    p = place.start("idle", "-C", "2500", "--rounds", "30", "--rate", "1000", "--repeat", "1", "--json")
    until(lambda: len(place.processes()) > 4 or p.poll() is not None, "the idle sessions come, or have gone before we looked")
    out, err = p.communicate(timeout=harness.DEADLINE)
    assert p.returncode == 0, err
    (r,) = [json.loads(line) for line in out.splitlines()]
    assert (r["case"]["items"], r["case"]["subscribers"], r["case"]["transport"]) == (2500, 10, "unix")
    assert 100 < median(r, "server_per_session") <= 8192
    for name, of in [("of_empty_rate", ("posts_per_s", "empty_per_s")), ("of_empty_p50", ("last_p50", "empty_p50")),
                     ("of_empty_p99", ("last_p99", "empty_p99"))]:
        assert median(r, name) == pytest.approx(median(r, of[0]) / median(r, of[1]))
    assert "RssAnon" in r["notes"]


def test_idle_sessions_beyond_the_limit_are_refused_with_the_reason(place):
    limits = (1000, 1000)
    p = place.start("idle", "-C", "900", "--repeat", "1", "--json",
                    preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, limits))
    out, err = p.communicate(timeout=harness.DEADLINE)
    assert p.returncode == 0, err
    (r,) = [json.loads(line) for line in out.splitlines()]
    assert "it may have 1000" in r["skipped"] and "ulimit -Hn" in r["skipped"]


@pytest.mark.parametrize("where", ["hub", "workers"])
def test_stopped_subscriber_lags_costs_no_memory_and_gets_all_later(place, where):
    """The benchmark itself fails if the one that was stopped misses a record."""
    got = measure(place, "stopped", "-S", "4", "-C", "20000", "--size", "1000", "--place", where)
    assert [r["case"]["transport"] for r in got] == TRANSPORTS
    for r in got:
        assert median(r, "of_without") == pytest.approx(median(r, "deliveries_per_s") / median(r, "without_per_s"))
        assert median(r, "memory_after") - median(r, "memory_before") < 1024 * 1024
        if r["case"]["transport"] != "mmap":  # which has only references to read, and room for them
            assert median(r, "lag_shown") > 0, r["case"]["transport"]


def test_doorbells_are_counted_where_there_are_any(place):
    shm, unix = measure(place, "latency", "-t", "shm,unix", "-S", "2", "--rounds", "100", "--rate", "500", "--place", "hub")
    hub = {t: {n: p["processes"]["hub"][n]["median"] for n in ["bells_per_post", "muted_per_post"]}
           for t, p in [("shm", shm), ("unix", unix)]}
    assert hub["unix"] == {"bells_per_post": 0, "muted_per_post": 0}
    # Every push into a ring either rings or does not need to: one for each reader, the publisher too.
    assert 0 < hub["shm"]["bells_per_post"] <= sum(hub["shm"].values()) <= 4


def test_summary_sets_figures_beside_their_references(place, tmp_path):
    for step, args in [("stopped", ["stopped", "-S", "3", "-C", "2000", "-t", "unix"]),
                       ("fanout-100", ["fanout", "-S", "5", "-C", "2000", "-t", "mmap,unix"])]:
        done = place.run(*args, "--repeat", "2", "--json")
        assert done.returncode == 0, done.err
        (tmp_path / f"{step}.json").write_text(done.out)
    out = subprocess.run([SUMMARY, tmp_path], capture_output=True, text=True, check=True).stdout
    rows = [line for line in out.splitlines() if "one of 10 stopped, unix: deliveries" in line]
    assert len(rows) == 1 and "without it" in rows[0] and rows[0].endswith(">= 0.95")
    assert [line for line in out.splitlines() if "server CPU for a delivery, S=100, mmap" in line and "unix" in line]
    (tmp_path / "none").mkdir()
    none = subprocess.run([SUMMARY, tmp_path / "none"], capture_output=True, text=True, check=False)
    assert none.returncode == 1 and "run make bench" in none.stderr


@pytest.mark.parametrize("args, said", [
    (["latency", "--processes", "3"], "--processes: 1"),
    (["latency", "--load", "99999999"], "at most 1000000"),
    (["fanout", "--mixed", "-t", "unix"], "at least two transports"),
    (["fanout", "--mixed", "-t", "unix,shm,mmap", "-S", "1"], "at least 2 subscribers"),
    (["switch", "-t", "unix"], "two transports or more"),
    (["switch", "-t", "unix,tcp"], "another address"),
    (["history", "-s", "unix:/nowhere"], "needs a private server"),
    (["search", "--size", "3"], "so that the word fits"),
    (["join", "-C", "5"], "at least 100 messages"),
    (["idle", "-C", "99999"], "at most 19999 sessions"),
    (["stopped", "-S", "1"], "two subscribers or more"),
    (["stopped", "-s", "unix:/nowhere"], "needs a private server"),
])
def test_what_makes_no_sense_is_refused_with_the_reason(place, args, said):
    done = place.run(*args)
    assert done.returncode == 2, done.err
    assert said in done.err and done.out == ""


# --- parley search -----------------------------------------------------------------------------------------------------


def test_search_prints_messages_with_the_text_in_either_case(server):
    server.ok("send", "#lobby", "-", input="One apple\ntwo pears\nAPPLES and pears\nStraße\nnothing\n")
    texts = [m["text"] for m in server.json("search", "#lobby", "apple")]
    assert texts == ["One apple", "APPLES and pears"]
    assert [m["text"] for m in server.json("search", "#lobby", "STRASSE")] == ["Straße"]
    assert [m["text"] for m in server.json("search", "#lobby", "pears", "-C", "1")] == ["two pears"]
    assert [m["text"] for m in server.json("search", "#lobby", "pears", "--last", "3")] == ["APPLES and pears"]
    assert server.ok("search", "#lobby", "absent") == ""
    out = server.ok("search", "#lobby", "nothing")
    assert out.count("\n") == 1 and out.endswith("> nothing\n")


@pytest.mark.parametrize("needle", ["", "x" * 600])
def test_search_for_what_cannot_be_is_a_usage_error(server, needle):
    done = server.run("search", "#lobby", needle)
    assert done.returncode == 2 and "the text to search for" in done.stderr
