"""`parley bench`: each benchmark runs, its outputs hold what they promise, and nothing stays behind."""

import json
import os
import shutil
import signal
import xml.etree.ElementTree

import pytest

import harness
from harness import TRANSPORTS, until

# Options that make a run short. Every benchmark there is must be here.
SHORT = {
    "raw": ["--size", "64", "-C", "200"],
    "latency": ["--rounds", "30", "--rate", "2000"],
    "fanout": ["-C", "300", "-S", "2"],
    "switch": ["--rounds", "4"],
    "resume": ["--rounds", "1", "-C", "50"],
    "history": ["-C", "3000"],
    "join": ["-C", "2000", "--rounds", "5"],
    "search": ["-C", "3000"],
    "hops": ["-C", "300", "--rounds", "30", "--rate", "2000", "-S", "2"],
    "stream": ["-C", "2000", "--rounds", "30", "--rate", "2000"],
    "idle": ["-C", "50", "--rounds", "30", "--rate", "2000"],
    "stopped": ["-C", "2000", "-S", "3"],
}
KINDS = {"raw": ["pingpong", "stream"], "fanout": ["payload", "checksum"]}
MANY = {"idle": "1500"}  # -C of a run that is not meant to end; sessions there, not posts
HEAD = {"latency": ["first_p50", "last_p50", "last_p99"], "fanout": ["posts_per_s", "deliveries_per_s"]}
MEASURED = list(SHORT)  # also by what they cost each process
SERVER = [name for name in SHORT if name not in ["raw", "hops"]]  # hops places sessions itself
COSTS = {f"{what}_per_post" for what in ["syscalls", "wakes", "sleeps", "preemptions", "cpu", "cpu_system"]}
MECHANISMS = ["pipe"] + TRANSPORTS


@pytest.fixture
def place(objects):
    p = harness.Place(objects, "bench")
    yield p
    p.close()


def results(done):
    assert done.returncode == 0, f"exit {done.returncode}\n{done.out}\n{done.err}"
    return [json.loads(line) for line in done.out.splitlines()]


def used_up(r):
    """POSIX queues are counted for a user, and not all who run this may have more than others leave them."""
    return "posixmq" in r["case"].get("transport", "") and "RLIMIT_MSGQUEUE" in r["skipped"]


def check_figure(f):
    if "missing" in f:
        assert f["missing"] and set(f) == {"unit", "missing"}
        return
    assert f["low"] <= f["median"] <= f["high"]
    assert f["low"] == min(f["values"]) and f["high"] == max(f["values"])
    assert f["better"] in ["lower", "higher", "neither"] and f["unit"]


def check_result(r, runs):
    assert (r["v"], r["type"]) == (1, "bench")
    if "skipped" in r:
        assert r["skipped"]
        return
    assert r["runs"] == runs
    assert r["figures"]
    assert r["processes"] or r["case"]["benchmark"] not in MEASURED
    for f in r["figures"].values():
        check_figure(f)
        assert len(f.get("values", [])) in (0, runs)
    for process in r["processes"].values():
        assert COSTS <= set(process)
        for f in process.values():
            check_figure(f)
    env = r["environment"]
    for key in ["kernel", "cpu", "cpus", "governor", "load", "date", "sysctl", "rlimit_msgqueue", "clock_ns"]:
        assert key in env, key
    assert "kernel.msgmnb" in env["sysctl"] and "net.core.wmem_max" in env["sysctl"]


def test_list_names_every_benchmark(place):
    done = place.run()
    assert done.returncode == 0
    names = [line.split()[0] for line in done.out.splitlines() if line.startswith("  ") and line[2] != " "]
    assert sorted(set(names) - {"show"}) == sorted(SHORT)
    assert all(len(line) <= 100 for line in done.out.splitlines())


def test_list_for_programs(place):
    lines = results(place.run("--json"))
    assert {line["type"] for line in lines} == {"benchmark"}
    assert {line["name"]: line["kinds"] for line in lines} == {n: KINDS.get(n, []) for n in SHORT}
    assert all(line["summary"] for line in lines)


@pytest.mark.parametrize("name", SERVER)
@pytest.mark.parametrize("where", [["--place", "hub"], ["--place", "workers", "--workers", "2"]])
def test_benchmark_by_every_transport(place, name, where):
    """Every case that it plans by itself, with every process measured."""
    got = results(place.run(name, *SHORT[name], *where, "--repeat", "2", "--json"))
    assert {r["case"]["benchmark"] for r in got} == {name}
    used = set()
    for r in got:
        check_result(r, 2)
        if "skipped" in r:
            if used_up(r):
                used.add("posixmq")
            continue
        used.update(r["case"].get("transport", "").split("+"))
        assert r["case"]["place"] == where[1] and r["case"]["wait"] == "block"
        if name in MEASURED:
            assert {"client", "hub"} <= set(r["processes"])
        if where[1] == "workers":
            assert r["case"]["workers"] == 2
        if where[1] == "workers" and name in MEASURED:
            assert {"worker 1", "worker 2"} <= set(r["processes"])
        for figure in HEAD.get(name, []):
            assert r["figures"][figure]["head"] and r["figures"][figure]["median"] > 0
    if name in HEAD:
        assert used == set(TRANSPORTS)
    place.assert_nothing_left()


def test_costs_are_measured_also_when_all_posts_come_at_once(place):
    """Posts that are all due at once, as after a stall, may all arrive in one turn."""
    for r in results(place.run("latency", "-t", "unix,shm", "--rounds", "30", "--rate", "1000000", "--repeat", "5", "--json")):
        check_result(r, 5)
        for process in r["processes"].values():
            assert {len(f["values"]) for n, f in process.items() if "values" in f} <= {1, 5}, process


def test_counts_of_system_calls_are_real(place):
    """Whoever may count them gets at least the send and the receive that a message takes."""
    got = results(place.run("raw", "pingpong", "-t", "pipe", "--size", "64", "--pin", "same", "--wait", "block",
                            "-C", "500", "--repeat", "1", "--json"))
    blocking = [r for r in got if r["case"]["wait"] == "block"][0]
    calls = blocking["processes"]["partner"]["syscalls_per_post"]
    if "missing" in calls:
        assert "CAP_PERFMON" in calls["missing"] or "tracepoints" in calls["missing"]
    else:
        assert 0.9 < calls["median"] < 1.2


def test_raw_measures_each_mechanism_each_way(place):
    got = results(place.run("raw", *SHORT["raw"], "--repeat", "1", "--json"))
    ran = set()
    for r in got:
        check_result(r, 1)
        c = r["case"]
        if "skipped" in r:
            assert "two CPUs" in r["skipped"] or used_up(r)
        elif c["variant"] == "stream":
            assert r["figures"]["messages_per_s"]["median"] > 0 and c["batch"] == 1
        else:
            f = r["figures"]
            assert f["delay_min"]["median"] <= f["delay_p50"]["median"] <= f["delay_p99_9"]["median"]
            assert f["delay_p99_9"]["median"] <= f["delay_max"]["median"] and f["delay_count"]["median"] == 200
        ran.add((c["transport"], c["variant"], c["wait"], c["pin"]))
    assert ran == {(t, v, w, p) for t in MECHANISMS for v in ["pingpong", "stream"] for w in ["block", "epoll", "spin"]
                   for p in ["same", "apart"] if (w, p) != ("spin", "same")}
    place.assert_nothing_left()


def test_raw_says_where_a_queue_ends(place):
    got = results(place.run("raw", "-t", "mq", "--size", "32768", "--repeat", "1", "--json"))
    assert got and all("at most 8192 bytes" in r["skipped"] for r in got)
    got = results(place.run("raw", "stream", "-t", "posixmq", "--size", "1024", "--batch", "100", "-C", "1000", "--wait",
                            "spin", "--repeat", "1", "--json"))
    assert all("skipped" in r or "holds only 8 of 1024 bytes" in r["notes"] for r in got)


@pytest.mark.parametrize("name", SHORT)
def test_table_and_chart(place, name):
    if not shutil.which("gnuplot"):
        pytest.skip("gnuplot is not installed")
    svg = os.path.join(place.dir, "c.svg")
    done = place.run(name, *SHORT[name], "-t", "unix,fifo", "--repeat", "2", "--svg", svg)
    assert done.returncode == 0, done.err
    for word in ["kernel.msgmnb", "load average", "clock", name, "medians of 2 runs", "unix"]:
        assert word in done.out, word
    assert "Costs of each post" in done.out or name not in MEASURED
    root = xml.etree.ElementTree.parse(svg).getroot()
    assert root.tag.endswith("svg")
    text = " ".join(t for t in root.itertext())
    assert name in text and "unix" in text and "medians of 2 runs" in text
    os.unlink(svg)
    place.assert_nothing_left()


def test_chart_without_gnuplot_is_refused_before_anything_is_measured(place):
    place.path = "/nowhere"
    done = place.run("latency", "--svg", place.dir + "/x.svg")
    assert done.returncode == 1
    assert "gnuplot-nox" in done.err and "parley bench show" in done.err
    place.assert_nothing_left()


def save(place, file, *args):
    done = place.run(*args, "--json")
    assert done.returncode == 0, done.err
    with open(os.path.join(place.dir, file), "w") as f:
        f.write(done.out)
    return os.path.join(place.dir, file)


def test_saved_runs_are_shown_and_compared(place):
    args = ["fanout", "-C", "300", "-S", "2", "-t", "unix", "--repeat", "3"]
    a, b = save(place, "a", *args), save(place, "b", *args)
    other = save(place, "other", *args, "--size", "256")
    shown = place.run("show", a)
    assert shown.returncode == 0 and "posts per s" in shown.out
    done = place.run("--vs", a, b)
    assert done.returncode == 0 and "verdict" in done.out and "posts_per_s" in done.out
    same = place.run("--vs", a, a, "--json")
    lines = results(same)
    assert {line["verdict"] for line in lines if line["before"]["runs"] == 3} == {"not distinguishable"}
    assert {line["verdict"] for line in lines if line["before"]["runs"] < 3} <= {"too few runs to tell"}
    assert all(line["ratio"] == 1 for line in lines if "ratio" in line)
    refused = place.run("--vs", a, other)
    assert refused.returncode == 2 and refused.out == ""
    assert "size 64 here and 256 there" in refused.err


@pytest.mark.parametrize("args, said", [
    (["nonsense"], 'no benchmark "nonsense"; there are: raw'),
    (["raw", "sideways"], "expected one of: pingpong stream"),
    (["raw", "pingpong", "more"], 'no operand "more"'),
    (["latency", "--place", "moon"], "expected one of: hub workers auto"),
    (["latency", "--pin", "here"], "expected one of: same apart none"),
    (["latency", "--sync", "sometimes"], "expected one of: none interval always"),
    (["latency", "--place", "hub", "--workers", "2"], "there are none"),
    (["latency", "--workers", "99"], "--workers: 1 to 16"),
    (["latency", "-s", "unix:/nowhere", "--place", "hub"], "runs already"),
    (["latency", "--size", "40000"], "at most 32768 bytes"),
    (["latency", "--rate", "99999999"], "at most 1000000"),
    (["fanout", "-S", "99999"], "--subscribers: at most"),
    (["raw", "-s", "unix:/nowhere"], "needs no server"),
    (["raw", "--wait", "adaptive"], "block (and epoll) or spin"),
    (["raw", "--size", "32768", "--batch", "1000"], "at most 262144 bytes"),
    (["--vs", "/dev/null"], "--vs BEFORE AFTER"),
    (["--vs", "/dev/null", "/dev/null"], "holds no result"),
    (["show"], "one file"),
    (["latency", "--repeat", "x"], "expected a number"),
])
def test_wrong_arguments_are_a_usage_error(place, args, said):
    done = place.run(*args)
    assert done.returncode == 2, done.err
    assert said in done.err and done.out == ""
    place.assert_nothing_left()


def ended(p):
    assert p.poll() is None, f"it has ended with {p.returncode}: {p.communicate()}"


@pytest.mark.parametrize("name", SHORT)
@pytest.mark.parametrize("signo", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_leaves_nothing(place, name, signo):
    p = place.start(name, "--repeat", "1000", "-C", MANY.get(name, "100000"), "-t", "sysvmq,posixmq,fifo,shm,mmap")
    until(lambda: len(place.processes()) > 1 or os.listdir(place.dir) or ended(p), "it has begun")
    os.kill(p.pid, signo)
    p.out, p.err = p.communicate(timeout=harness.DEADLINE)
    assert p.returncode == 128 + signo, p.err
    place.assert_nothing_left()


@pytest.mark.parametrize("name", SHORT)
def test_killed_leaves_nothing_that_the_next_does_not_remove(place, name):
    p = place.start(name, "--repeat", "1000", "-C", MANY.get(name, "100000"), "-t", "sysvmq,posixmq,fifo,shm,mmap")
    until(lambda: len(place.processes()) > 1 or ended(p), "it has begun")
    os.kill(p.pid, signal.SIGKILL)
    p.communicate(timeout=harness.DEADLINE)
    until(lambda: not place.processes(), "servers and partners end with it")
    assert place.run("raw", "pingpong", "-t", "pipe", "--repeat", "1", "-C", "10").returncode == 0
    place.assert_nothing_left()


def test_server_in_use_is_measured_without_its_costs(server):
    done = server.run("bench", "latency", "--rounds", "20", "--rate", "2000", "-t", "shm", "--repeat", "1", "--json")
    assert done.returncode == 0, done.stderr
    r = json.loads(done.stdout)
    assert set(r["processes"]) == {"client"} and "place" not in r["case"]
    assert "not ours (-s)" in r["notes"]


def test_failed_benchmark_leaves_nothing(place, tmp_path):
    """A `grep` that finds nothing: search says so and fails, with a server and workers of its own running."""
    grep = tmp_path / "grep"
    grep.write_text("#!/bin/sh\necho 0\n")
    grep.chmod(0o755)
    place.path = f"{tmp_path}:{os.environ['PATH']}"
    done = place.run("search", "-C", "3000", "-t", "unix", "--place", "workers", "--workers", "2", "--repeat", "1")
    assert done.returncode == 1 and "search found 3 messages, grep 0" in done.err
    place.assert_nothing_left()
