"""kill -9 at every system call that a workload makes, in the hub (from its start to its clean end), in its
threads, and in a worker: for each transport and each kind of call, at the first, the second, … call."""

import functools
import operator
import os
import signal

import pytest

import ledger
import strace
from conftest import LONG, needs_root
from harness import DEADLINE, TRANSPORTS, quiet_port
from test_kills import set_budget

pytestmark = [needs_root, strace.needed]

# Of each kind of call so many are taken: all in the long run as far as that is sensible (a call made
# hundreds of times is a loop), one at random otherwise.
EACH = 40 if LONG else 1
KINDS = 1000 if LONG else 5
PARTS = TRANSPORTS if LONG else ["fifo", "shm"]


@functools.cache
def port_of_sweep():
    """One after the other may have the same, and there are more lives here than ports."""
    return quiet_port()


class Run:
    """One server and one workload that says and hears a few lines by one transport."""

    def __init__(self, make_server, transport, moving=False):
        self.server = make_server(ledger.FastServer)
        port = port_of_sweep()
        self.moving = moving
        place = ("--place", "auto", "--config", os.path.join(self.server.dir, "conf")) if moving else (
            "--place", "workers")
        self.options = ("--listen", f"127.0.0.1:{port}", *place, "--workers", "1")
        set_budget(self.server, 100)
        self.book = ledger.Ledger(self.server, port, tails=[transport], senders=[transport], peers=1,
                                  window=2)
        self.book.peers = self.book.peers[:1]
        for p in self.book.peers:
            p.limit = 20
        for s in self.book.senders:
            s.limit, s.lines = 1, 200 if moving else 20

    def ended(self):
        return self.server.process.poll() is not None

    def move(self, budget, where):
        """Have everybody served by the worker (0) or by the hub (100), unless the server dies of it."""
        def there():
            who = self.server.run("who", "--json")
            return who.returncode == 0 and ('"worker"' in who.stdout) == (budget == 0)
        set_budget(self.server, budget)
        if not self.ended():
            self.server.process.send_signal(signal.SIGHUP)
        self.book.until(lambda: self.ended() or there(), f"everybody is served by {where}")

    def talk(self):
        """Until all is said, or the server is dead. Moving: to the worker and back meanwhile."""
        if self.moving:
            self.book.until(lambda: self.ended() or self.book.acks > 5, "some of it is said")
            self.move(0, "the worker")
            self.move(100, "the hub")
        self.book.until(lambda: self.ended() or self.book.said_all(), "all is said")

    def finish(self):
        """After restarting whatever is dead: nothing is lost, doubled or left over."""
        self.book.until(self.server.is_ready, "the server is ready")
        self.book.settle()
        self.book.check()
        self.book.close()
        self.server.stop()
        self.server.close()


def sweep_hub(make_server, transport, moving, prefix):
    """One life of the hub, which ends by itself at the call that `prefix` names, or by SIGTERM. True if it
    got there."""
    run = Run(make_server, transport, moving)
    run.server.launch(*run.options, prefix=prefix)
    run.talk()
    if not run.ended():
        run.server.process.send_signal(signal.SIGTERM)
    code = run.server.process.wait(DEADLINE)
    run.server.process = None
    assert code in (0, -signal.SIGKILL), run.server.output()
    run.server.launch(*run.options)
    run.finish()
    return code != 0


def sweep_worker(make_server, transport, moving, *options):
    run = Run(make_server, transport, moving)
    run.server.launch(*run.options)
    run.book.until(run.server.is_ready, "the server is ready")
    (worker,) = run.server.workers()
    with strace.Attached(worker, *options):
        run.talk()
        run.book.settle()
    reached = run.server.workers() != [worker]
    run.finish()
    return reached


def record(make_server, trace, moving, role, transport):
    """The calls of one life that nothing cuts short, by name."""
    if role == "hub":
        sweep_hub(make_server, transport, moving, strace.around("-o", trace))
    else:
        sweep_worker(make_server, transport, moving, "-o", trace)
    calls = strace.count(trace)
    calls.pop("execve", None)
    if role == "worker":
        calls.pop("exit_group", None)
    assert sum(calls.values()) > (10 if moving else 20), calls  # a moving one does a part of the work
    return calls


def sites(calls, dice):
    """(call, n) to try, in an order that spreads over the kinds."""
    kinds = sorted(calls)
    dice.shuffle(kinds)
    for call in kinds[:KINDS]:
        n = calls[call]
        yield from ((call, i) for i in sorted(dice.sample(range(1, n + 1), min(n, EACH))))


@pytest.mark.parametrize("transport", PARTS)
@pytest.mark.parametrize("role", ["hub", "worker"])
@pytest.mark.parametrize("moving", [False, True], ids=["", "moving"])
def test_kill_at_every_call(make_server, tmp_path, dice, count, moving, role, transport):
    # How long the worker serves while all move is for the machine to say: only what each of three lives did is tried.
    lives = 3 if moving and role == "worker" else 1
    recorded = (record(make_server, str(tmp_path / "trace"), moving, role, transport) for _ in range(lives))
    calls = functools.reduce(operator.and_, recorded)
    tried = reached = 0
    for call, n in sites(calls, dice):
        tried += 1
        print(f"{role} {transport}: {call} number {n}")
        if role == "hub":
            reached += sweep_hub(make_server, transport, moving, strace.around(*strace.kill_at(call, n)))
        else:
            reached += sweep_worker(make_server, transport, moving, *strace.kill_at(call, n))
    # The number of calls differs from run to run, so the last ones are sometimes not reached.
    assert not LONG or reached > tried * 0.3  # the few of a short run may all lie behind its end
    count(kinds_of_call=len(calls), calls=sum(calls.values()), kills=reached, tried=tried)


# Calls of the threads that write to disk, and of a worker on its way to serving; -f follows all processes.
ELSEWHERE = [("fdatasync", 1), ("fdatasync", 2), ("seccomp", 1), ("dup2", 1), ("dup2", 3), ("close_range", 1)]


@pytest.mark.parametrize("call,n", ELSEWHERE if LONG else ELSEWHERE[:3:2])
def test_kill_in_a_thread_or_a_new_worker(make_server, count, call, n):
    run = Run(make_server, "shm")
    run.options += ("--sync", "always")
    run.server.launch(*run.options, prefix=strace.around(*strace.kill_at(call, n), follow=True))
    # A worker that dies while it starts is started again and dies again: the hub must not give up, and
    # nobody is served until strace is gone.
    run.book.run(0.5)
    if not run.ended():
        run.server.shoot()
    else:
        run.server.process = None
    run.server.launch(*run.options)
    run.finish()
    count(kills=1)
