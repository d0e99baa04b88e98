#!/usr/bin/python3
"""Builds and runs the test suites: one line for each, details only of what failed, and a closing
line `N passed, N failed`. Used by `make check`, `make asan` and `make tsan`.

    run-tests.py --make "make ..." --build DIR --jobs N [SUITE...]

Suites, in order: build layers unit contract asan tsan fuzz model integration faults. Without names:
all of them. PARLEY_FAULTS=long in the environment makes the faults a long run.
The exit code is 0 only if something ran and nothing failed.
"""

import argparse
import collections
import concurrent.futures
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree

# A test program that hangs is a failed one. Far above what any needs on a slow machine.
PROGRAM_SECONDS = 300
INTEGRATION_SECONDS = 1800
FAULTS_SECONDS = 3 * 3600  # the long run

SUITES = ["build", "layers", "unit", "contract", "asan", "tsan", "fuzz", "model", "integration", "faults"]


class Result:
    def __init__(self, passed=0, failed=0, skipped=0, details=""):
        self.passed, self.failed, self.skipped, self.details = passed, failed, skipped, details

    def add(self, r):
        self.passed += r.passed
        self.failed += r.failed
        self.skipped += r.skipped
        self.details += r.details
        return self


def environment(**more):
    """What tests see: nothing of the user's own server or settings."""
    env = {k: v for k, v in os.environ.items()
           if not k.startswith(("XDG_", "PARLEY_", "CMOCKA_")) and k not in
           ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "LD_PRELOAD", "NO_COLOR")}
    env.update(LC_ALL="C.UTF-8", TERM="dumb", PYTHONDONTWRITEBYTECODE="1")
    env.update(more)
    return env


def usual_signals():
    """What is started by nohup or in the background of a script ignores these, and so would all that
    it starts. Tests send them."""
    for n in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        signal.signal(n, signal.SIG_DFL)


def run(command, seconds, env=None, shell=False):
    """Run to its end or the time limit; (exit code or None, output). Leaves no process behind."""
    with tempfile.TemporaryFile() as out:
        child = subprocess.Popen(command, shell=shell, stdin=subprocess.DEVNULL, stdout=out,
                                 stderr=subprocess.STDOUT, env=env or environment(),
                                 start_new_session=True, preexec_fn=usual_signals)
        try:
            code = child.wait(seconds)
        except subprocess.TimeoutExpired:
            code = None
        except BaseException:
            os.killpg(child.pid, signal.SIGTERM)
            raise
        finally:
            # Whatever it started and forgot is in its process group.
            try:
                os.killpg(child.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            child.wait()
        out.seek(0)
        return code, out.read().decode("utf-8", "replace")


def ending(code):
    if code is None:
        return f"no end after {PROGRAM_SECONDS} s"
    return f"exit {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"


def run_program(path, env, prefix):
    """One cmocka program. A test that began and did not come to an end has failed."""
    code, out = run(prefix + [path], PROGRAM_SECONDS, env)
    begun = len(re.findall(r"^\[ RUN      \]", out, re.M))
    passed = len(re.findall(r"^\[       OK \]", out, re.M))
    skipped = len(re.findall(r"^\[  SKIPPED \]", out.split("[==========] ")[1] if
                             out.count("[==========] ") > 1 else out, re.M))
    failed = max(begun - passed - skipped, 0)
    if code != 0 and failed == 0:
        failed = 1  # a leak, a failed teardown, or a crash before the first test
    if failed == 0:
        return Result(passed, 0, skipped)
    noise = re.compile(r"^\[( RUN      |       OK |==========)\].*\n", re.M)
    return Result(passed, failed, skipped, f"--- {path}: {ending(code)}\n{noise.sub('', out)}\n")


def run_programs(programs, env, jobs, prefix=()):
    total = Result()
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        for r in pool.map(lambda p: run_program(p, env, list(prefix)), programs):
            total.add(r)
    return total


def counts(tree):
    """What tests have counted (how many kills, how many images, …), a line for each test function."""
    totals = {}
    for case in tree.iter("testcase"):
        mine = totals.setdefault(case.get("name").split("[")[0], collections.Counter())
        for p in case.iter("property"):
            mine[p.get("name")] += int(p.get("value"))
    return "".join(f"  {name}: " + ", ".join(f"{what.replace('_', ' ')} {n}" for what, n in c.items()) + "\n"
                   for name, c in totals.items() if c)


class Runner:
    def __init__(self, options):
        self.make, self.build, self.jobs = options.make, options.build, options.jobs

    def make_target(self, targets, variant="release"):
        code, out = run(f"{self.make} VARIANT={variant} BUILD={self.build} {targets}",
                        INTEGRATION_SECONDS, dict(os.environ), shell=True)
        return Result() if code == 0 else Result(0, 1, 0, out[-20000:])

    def listed(self, target, variant):
        _, out = run(f"{self.make} -s VARIANT={variant} BUILD={self.build} {target}",
                     PROGRAM_SECONDS, dict(os.environ), shell=True)
        return [line for line in out.split() if line.startswith(self.build)]

    def programs(self, kind, variant="release"):
        return [p for p in self.listed("list-tests", variant) if f"/tests/{kind}/" in p]

    def programs_of(self, kind):
        built = self.make_target("tests")  # for a suite run by itself
        if built.failed:
            return built
        return run_programs(self.programs(kind), environment(), self.jobs)

    def suite_build(self):
        return self.make_target("all lib tests")

    def suite_layers(self):
        return self.make_target("layers")

    def suite_unit(self):
        return self.programs_of("unit")

    def suite_contract(self):
        return self.programs_of("contract")

    def suite_asan(self):
        """The test programs; the library, as programs use it, with a server that is checked too; and
        sessions that never come to be."""
        built = self.make_target("all lib tests", "asan")
        if built.failed:
            return built
        options = {"ASAN_OPTIONS": "detect_leaks=1:strict_string_checks=1",
                   "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1"}
        total = run_programs(self.listed("list-tests", "asan"), environment(**options), self.jobs)
        more = ["tests/integration/test_library.py",
                "tests/integration/test_bad_input.py::test_address_that_is_none"]
        return total.add(self.pytest(more, INTEGRATION_SECONDS, "asan", **options))

    def suite_tsan(self):
        built = self.make_target("tsan-tests", "tsan")
        if built.failed:
            return built
        # ThreadSanitizer maps fixed addresses; kernels with much address randomisation put
        # something else there. setarch -R switches that off for the program.
        return run_programs(self.listed("list-tsan", "tsan"),
                            environment(TSAN_OPTIONS="halt_on_error=1:second_deadlock_stack=1"),
                            self.jobs, ("setarch", platform.machine(), "-R"))

    def suite_fuzz(self):
        """A slice of `make fuzz`: the corpus, and 10 seconds of new inputs for each target. Two minutes
        in all would be too much of a check that people wait for; the long run is `make fuzz`."""
        built = self.make_target("CC=clang fuzzers", "fuzz")
        if built.failed:
            return built
        code, out = run(["tests/fuzz/run.sh", os.path.join(self.build, "fuzz"), "10", str(self.jobs)],
                        PROGRAM_SECONDS)
        return self.counted(code, out, "nothing found")

    def suite_model(self):
        code, out = run(["tests/model/run.sh", os.path.join(self.build, "model")], PROGRAM_SECONDS)
        return self.counted(code, out, "as expected")

    def counted(self, code, out, good):
        """The lines of a script that says one about each thing it did."""
        passed = len(re.findall(rf"^\S+: .*{good}", out, re.M))
        failed = len(re.findall(r"^\S+: FAILED", out, re.M)) or int(code != 0 or passed == 0)
        return Result(passed, failed, 0, out if failed else "")

    def suite_integration(self):
        return self.pytest(["tests/integration"], INTEGRATION_SECONDS)

    def suite_faults(self):
        return self.pytest(["tests/faults"], FAULTS_SECONDS)

    def pytest(self, tests, seconds, variant="release", **more):
        with tempfile.TemporaryDirectory(prefix="parley-check-") as scratch:
            report = os.path.join(scratch, "report.xml")
            # Tests mostly wait for processes, so a few more than processors run side by side.
            code, out = run(
                [sys.executable, "-m", "pytest", "-q", "--no-header", "--tb=short", "-p",
                 "no:cacheprovider", "-n", str(self.jobs + 2), "--dist", "loadgroup",
                 f"--junitxml={report}", *tests],
                seconds, environment(PARLEY_BIN=os.path.join(self.build, variant),
                                     PARLEY_FAULTS=os.environ.get("PARLEY_FAULTS", "short"), **more))
            try:
                tree = ElementTree.parse(report)
                suite = tree.getroot().find("testsuite")
                count = {k: int(suite.get(k)) for k in ("tests", "failures", "errors", "skipped")}
            except (OSError, ElementTree.ParseError, AttributeError):
                return Result(0, 1, 0, f"--- pytest: {ending(code)}\n{out}")
        failed = count["failures"] + count["errors"]
        if failed == 0 and code != 0:
            failed = 1
        print(counts(tree), end="")
        return Result(count["tests"] - count["failures"] - count["errors"] - count["skipped"],
                      failed, count["skipped"], out if failed else "")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--make", default="make")
    parser.add_argument("--build", default="build")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 2)
    parser.add_argument("suites", nargs="*")
    options = parser.parse_args()
    for name in options.suites:
        if name not in SUITES:
            parser.error(f"no such suite: {name} (there are: {' '.join(SUITES)})")
    runner = Runner(options)
    passed = failed = 0
    for name in options.suites or SUITES:
        started = time.monotonic()
        result = getattr(runner, "suite_" + name)()
        passed += result.passed
        failed += result.failed
        took = f"{time.monotonic() - started:.0f} s"
        if name in ("build", "layers"):
            print(f"{name:12} {'failed' if result.failed else 'ok'}  ({took})")
        else:
            skips = f", {result.skipped} skipped" if result.skipped else ""
            print(f"{name:12} {result.passed} passed, {result.failed} failed{skips}  ({took})")
        if result.failed:
            print(result.details, end="" if result.details.endswith("\n") else "\n")
        sys.stdout.flush()
        if name == "build" and result.failed:
            break  # nothing that follows would say more
    print(f"{passed} passed, {failed} failed")
    return 0 if passed and not failed else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
