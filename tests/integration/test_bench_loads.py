"""The loads of `parley bench`: what each measures is what it says, and it refuses what makes no sense."""

import json

import pytest

import harness
from harness import TRANSPORTS

LOCAL = [t for t in TRANSPORTS if t != "tcp"]


@pytest.fixture
def place(objects):
    p = harness.Place(objects, "bench")
    yield p
    p.assert_nothing_left()
    p.close()


def measure(place, *args):
    done = place.run(*args, "--repeat", "1", "--json")
    assert done.returncode == 0, f"exit {done.returncode}\n{done.out}\n{done.err}"
    return [json.loads(line) for line in done.out.splitlines()]


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


def test_latency_counts_what_waits_behind_a_delay(place):
    """More posts than anything can take: delays are of a queue that grows, not of single trips."""
    (r,) = measure(place, "latency", "-t", "posixmq", "--size", "20000", "--rounds", "3000", "--rate", "1000000")
    assert "could not keep to its schedule" in r.get("notes", "")
    assert median(r, "last_max") > 10 * median(r, "last_min")


def test_fanout_mixed_verifies_all_transports_in_one_room(place):
    (r,) = measure(place, "fanout", "--mixed", "-t", ",".join(TRANSPORTS), "-S", "14", "-C", "2000")
    assert r["case"]["transport"] == "+".join(TRANSPORTS)
    assert median(r, "posts_per_s") * 14 == pytest.approx(median(r, "deliveries_per_s"))
    assert 0 < median(r, "to_first_p50") <= median(r, "to_last_p50") <= median(r, "to_last_max")


def test_fanout_to_more_than_the_limit_says_which(place):
    (r,) = measure(place, "fanout", "-t", "posixmq", "-S", "3000", "-C", "100")
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
