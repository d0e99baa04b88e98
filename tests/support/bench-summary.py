#!/usr/bin/python3
"""What `make bench` found, in one table: each figure beside its reference from the same run.

    bench-summary.py DIRECTORY      reads DIRECTORY/*.json of `parley bench --json`, prints the table

A figure is the median of the runs, with the lowest and the highest behind it. A ratio is made in each run and then
treated likewise, so that what disturbs a run as a whole cancels out. "goal" is what the ratio (without one: the figure)
is meant to be. Rows of steps that were not run are left out, those that could not be measured say so.
"""

import json
import pathlib
import statistics
import sys

HEAD = ["what", "figure (lowest–highest)", "reference in the same run", "ratio (lowest–highest)", "goal"]


class Results:
    def __init__(self, directory):
        self.steps = {}
        for path in sorted(pathlib.Path(directory).glob("*.json")):
            with open(path, encoding="utf-8") as f:
                self.steps[path.stem] = [json.loads(line) for line in f]

    def find(self, step, **case):
        """The results of a step whose case has these fields."""
        return [r for r in self.steps.get(step, []) if all(r["case"].get(k) == v for k, v in case.items())]


def values(result, name):
    figure = result.get("figures", {}).get(name, {})
    return figure.get("values", []), figure.get("unit", "")


def server_cpu(result, per):
    """CPU time of hub and workers together, in each run."""
    of = [p[f"cpu_per_{per}"]["values"] for name, p in result.get("processes", {}).items()
          if name != "client" and p.get(f"cpu_per_{per}", {}).get("values")]
    return [sum(run) for run in zip(*of)], "ns"


def digits(v):
    return f"{v:.0f}" if abs(v) >= 100 else f"{v:.3g}"


def scaled(unit, greatest):
    """Factor and name of the unit to show."""
    if unit == "ns":
        return (1e6, " ms") if greatest >= 1e7 else (1e3, " µs") if greatest >= 1e3 else (1, " ns")
    if unit == "1/s":
        return (1e6, " M/s") if greatest >= 1e6 else (1e3, " k/s") if greatest >= 1e3 else (1, "/s")
    if unit == "bytes":
        return (1024, " KiB") if greatest >= 10240 else (1, " bytes")
    return 1, ""


def text(many, unit=""):
    if not many:
        return "–"
    by, name = scaled(unit, max(abs(v) for v in many))
    middle = digits(statistics.median(many) / by) + name
    return middle if len(many) == 1 else f"{middle} ({digits(min(many) / by)}–{digits(max(many) / by)})"


def ratios(a, b):
    return [x / y for x, y in zip(a, b) if y]


class Table:
    def __init__(self):
        self.rows = []

    def row(self, what, result, figure, reference=None, goal="", ratio=()):
        """`figure`, `reference`: (values, unit); the latter with the name of it in front."""
        if result.get("skipped"):
            self.rows.append([what, "not possible here: " + result["skipped"], "", "", goal])
            return
        name, theirs, unit = reference or ("", [], "")
        self.rows.append([what, text(*figure), f"{name} {text(theirs, unit)}" if name else "–",
                          text(list(ratio) or ratios(figure[0], theirs)), goal])

    def print(self):
        long = [r for r in self.rows if not r[1].startswith("not possible")]
        width = [max(len(r[i]) for r in [HEAD] + long) for i in range(4)]
        for row in [HEAD] + self.rows:
            print("  ".join(cell.ljust(w) for cell, w in zip(row, width)) + "  " + row[4]
                  if row in long or row is HEAD else f"{row[0].ljust(width[0])}  {row[1]}")


def delays(t, got):
    for step, what, name, case in [
            ("latency-1", "idle, to 1 subscriber", "first_p50", {"transport": "unix"}),
            ("latency-1-workers", "idle, to 1 subscriber, workers", "first_p50", {}),
            ("latency-10", "idle, to the last of 10", "last_p50", {"transport": "unix"}),
            ("latency-spin", "idle, to 1 subscriber, both spin", "first_p50", {})]:
        for r in got.find(step, **case):
            t.row(f"{what}, {r['case']['transport']}: p50", r, values(r, name))
    for r in got.find("hops"):
        place = f"{r['case']['workers']} workers" if r["case"].get("workers") else "hub"
        t.row(f"idle, to 1 subscriber, {place}, {r['case']['transport']}: p50", r, values(r, "delay_p50"),
              ("the same hops bare", *values(r, "bare_p50")), "<= 1.25" if place != "hub" else "")


def speed(t, got):
    for s, name in [(1, "posts"), (10, "deliveries"), (100, "deliveries"), (1000, "deliveries")]:
        for r in got.find(f"fanout-{s}") + got.find(f"fanout-{s}-checksum"):
            how = " (checksums)" if r["case"].get("variant") == "checksum" else ""
            t.row(f"{name} a second, S={s}, {r['case']['transport']}{how}", r, values(r, f"{name}_per_s"))


def cpu(t, got):
    def compare(what, mine, theirs, name, goal):
        for r in mine[:1]:
            for other in theirs[:1]:
                t.row(what, r, server_cpu(r, "delivery"), (name, *server_cpu(other, "delivery")), goal)
    compare("server CPU for a delivery, S=100, mmap", got.find("fanout-100", transport="mmap"),
            got.find("fanout-100", transport="unix"), "unix", "<= 0.1")
    for r in got.find("fanout-1000"):
        transport = r["case"]["transport"]
        compare(f"server CPU for a delivery, S=1000, {transport}", [r], got.find("fanout-10", transport=transport),
                "S=10", "<= 1.2")


def against_itself(t, got):
    for r in got.find("stream"):
        transport = r["case"]["transport"]
        t.row(f"stream through the chat, S=1, {transport}", r, values(r, "posts_per_s"),
              (f"bare, {text(values(r, 'batch')[0])} in a call:", *values(r, "bare_per_s")), ">= 0.5",
              values(r, "of_bare_stream")[0])
    for r in got.find("stream"):
        t.row(f"idle hops, S=1, {r['case']['transport']}: p50", r, values(r, "hop_p50"),
              ("bare", *values(r, "bare_hop_p50")), "<= 1.25", values(r, "of_bare_hop")[0])


def crowds(t, got):
    for r in got.find("idle"):
        what = f"{r['case']['items']} idle sessions, {r['case']['transport']}"
        t.row(f"{what}: server memory for each", r, values(r, "server_per_session"), None, "<= 8 KiB")
        t.row(f"{what}: posts a second to a room of 10", r, values(r, "posts_per_s"),
              ("empty server", *values(r, "empty_per_s")), ">= 0.83", values(r, "of_empty_rate")[0])
        for p in ["p50", "p99"]:
            t.row(f"{what}: to the last of 10, {p}", r, values(r, f"last_{p}"),
                  ("empty server", *values(r, f"empty_{p}")), "<= 1.2", values(r, f"of_empty_{p}")[0])
    for r in got.find("stopped"):
        what = f"one of 10 stopped, {r['case']['transport']}"
        t.row(f"{what}: deliveries a second to the others", r, values(r, "deliveries_per_s"),
              ("without it", *values(r, "without_per_s")), ">= 0.95", values(r, "of_without")[0])
        t.row(f"{what}: server memory", r, values(r, "memory_after"), ("before", *values(r, "memory_before")), "1")
        t.row(f"{what}: lag shown", r, values(r, "lag_shown"))


def rooms(t, got):
    for r in got.find("history"):
        t.row(f"history, {r['case']['items']} messages, {r['case']['transport']}: MB/s", r, values(r, "MB_per_s"),
              ("cat", *values(r, "cat_MB_per_s")), ">= 0.5", values(r, "of_cat")[0])
    for r in got.find("search"):
        t.row(f"search, {r['case']['items']} messages, {r['case']['transport']}", r, values(r, "search"),
              ("grep -cF", *values(r, "grep")), "<= 2", values(r, "of_grep")[0])
    for large in got.find("join"):
        for small in got.find("join", transport=large["case"]["transport"]):
            if small["case"]["items"] < large["case"]["items"]:
                t.row(f"join, last 20 of {large['case']['items']}, {large['case']['transport']}: p50", large,
                      values(large, "join_p50"), (f"of {small['case']['items']}", *values(small, "join_p50")), "1")


def changes(t, got):
    for r in got.find("switch"):
        t.row(f"switch under traffic, {r['case']['transport']}: p50", r, values(r, "switch_p50"))
        t.row(f"switch under traffic, {r['case']['transport']}: lost", r, values(r, "lost"), None, "0")
    for r in got.find("resume"):
        what = f"resume after {r['case']['items']} missed, {r['case']['transport']}"
        t.row(f"{what}: dial to next record, p50", r, values(r, "dial_next_p50"))
        t.row(f"{what}: lost", r, values(r, "lost"), None, "0")


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: bench-summary.py DIRECTORY")
    got = Results(sys.argv[1])
    t = Table()
    for part in [delays, speed, cpu, against_itself, crowds, rooms, changes]:
        part(t, got)
    if not t.rows:
        sys.exit(f"bench-summary.py: no result in {sys.argv[1]}: run make bench")
    t.print()


main()
