"""What the chaos run does to a server: each fault is a method, drawn by the dice.

Names of reliability's list of faults: deaths, hangs, restarts, scripts, parents. What clients do to
themselves (aborts, slowness, exceptions) is in asks.py, since it needs no thread of its own.
"""

import os
import signal
import time
from dataclasses import dataclass

import asks
import waiting
from client import Connection
from processes import send_signal

BROKEN = "def application(environ, start_response:\n"
# A worker whose supervisor died may use this long to end.
ORPHANED = 3.0


@dataclass
class Death:
    """Worker `pid` was killed between the two moments: what it had begun may be lost."""

    pid: int
    start: float
    end: float
    how: str


@dataclass
class Outage:
    """A script was broken for a while: its group may answer 500 and 503."""

    group: str
    start: float
    end: float


@dataclass
class Cut:
    """Connections of Apache's children were cut: every request in flight meanwhile may be lost."""

    start: float
    end: float
    how: str


# How often each is drawn.
WEIGHTS = {
    "kill": 4,
    "crash": 2,
    "terminate": 3,
    "replace": 3,
    "freeze": 2,
    "exit_in_a_request": 2,
    "crash_in_a_request": 1,
    "kill_a_group": 2,
    "graceful": 4,
    "restart": 1,
    "kill_child": 1,
    "touch": 4,
    "break_script": 2,
    "kill_supervisor": 1,
}


class Faults:
    """Does them to `server`; remembers what may be lost by them."""

    def __init__(self, server, groups, dice, log, names=None):
        self.server = server
        self.groups = groups
        self.dice = dice
        self.log = log
        self.deaths = []
        self.outages = []
        self.cuts = []
        self.fatal = []  # Answers to requests that ended their worker: cut, but never wrong.
        self.count = 0
        self._weights = {name: WEIGHTS[name] for name in names or WEIGHTS}
        self._scripts = {group: server.apps / f"{group}.wsgi" for group in groups}

    def throw(self):
        """One fault. Returns when it is over, not when the server has got over it."""
        name = self.dice.choices(list(self._weights), self._weights.values())[0]
        self.count += 1
        getattr(self, name)(self.dice.choice(self.groups))

    # -- one worker --------------------------------------------------------------------------

    def _signal(self, group, number, deadly):
        """Signal a worker of `group`, if there is one; return its pid."""
        draw = self.dice.random()
        pids = sorted(worker.pid for worker in self.server.workers(group))
        if not pids:
            self.log(f"{number.name}: {group} has no worker at the moment")
            return None
        pid = pids[int(draw * len(pids))]
        self.log(f"{number.name} to worker {pid} of {group}")
        start = time.monotonic()
        if not send_signal(pid, number, may_have_gone=True):
            return None
        if deadly:
            waiting.for_exit(pid)
            self.deaths.append(Death(pid, start, time.monotonic(), number.name))
        return pid

    def kill(self, group):
        self._signal(group, signal.SIGKILL, deadly=True)

    def crash(self, group):
        self._signal(group, signal.SIGSEGV, deadly=True)

    def terminate(self, group):
        """Requests it has begun are to end: that costs nothing."""
        self._signal(group, signal.SIGTERM, deadly=False)

    def replace(self, group):
        self._signal(group, signal.SIGUSR1, deadly=False)

    def freeze(self, group):
        for_seconds = self.dice.choice([0.3, 1.5])
        pid = self._signal(group, signal.SIGSTOP, deadly=False)
        time.sleep(for_seconds)
        if pid is not None:
            send_signal(pid, signal.SIGCONT, may_have_gone=True)

    def kill_a_group(self, group):
        pids = [worker.pid for worker in self.server.workers(group)]
        self.log(f"SIGKILL to all workers of {group}: {pids}")
        start = time.monotonic()
        for pid in pids:
            send_signal(pid, signal.SIGKILL, may_have_gone=True)
        for pid in pids:
            waiting.for_exit(pid)
            self.deaths.append(Death(pid, start, time.monotonic(), "SIGKILL"))

    # -- a request that takes its worker along -----------------------------------------------

    def _fatal_request(self, group, how):
        middle = self.dice.random() < 0.7
        framing = self.dice.choice(["flow", "length", "write"])
        ask = asks.Ask(f"fault-{self.count}", group, "fatal", size=100_000, how=framing)
        ask.middle, ask.die = (how, "") if middle else ("", how)
        self.log(f"{how} {'in mid-stream' if middle else 'before the response'} in {group}")
        start = time.monotonic()
        with Connection(self.server.port) as connection:
            self.fatal.append(asks.have(ask, connection, True, b""))
        self.deaths.append(Death(-self.count, start, time.monotonic() + 1, how))

    def exit_in_a_request(self, group):
        self._fatal_request(group, "exit")

    def crash_in_a_request(self, group):
        self._fatal_request(group, "segv")

    def pids_of(self, begun):
        """Put the pids of workers that fatal requests ended into `deaths`: the ledger has them."""
        for death in self.deaths:
            if death.pid < 0:
                death.pid = next(iter(begun.get(f"fault-{-death.pid}", [])), 0)

    # -- Apache --------------------------------------------------------------------------

    def graceful(self, _):
        self.log("graceful restart")
        self.server.graceful()

    def restart(self, _):
        self.log("restart")
        start = time.monotonic()
        self.server.restart()
        self.cuts.append(Cut(start, time.monotonic(), "restart"))

    def kill_child(self, _):
        """A child of Apache itself: workers see the other end of their requests vanish."""
        draw = self.dice.random()
        pids = sorted(child.pid for child in self.server.children())
        if not pids:
            self.log("SIGKILL to a child of Apache: there is none at the moment")
            return
        pid = pids[int(draw * len(pids))]
        self.log(f"SIGKILL to child {pid} of Apache")
        start = time.monotonic()
        send_signal(pid, signal.SIGKILL, may_have_gone=True)
        waiting.for_exit(pid)
        self.cuts.append(Cut(start, time.monotonic(), "Apache child killed"))

    def kill_supervisor(self, _):
        supervisor = self.server.supervisor
        if supervisor is None:
            self.log("SIGKILL to the supervisor: there is none at the moment")
            return
        workers = [worker.pid for group in self.groups for worker in self.server.workers(group)]
        self.log(f"SIGKILL to the supervisor {supervisor.pid}")
        start = time.monotonic()
        supervisor.signal(signal.SIGKILL, may_have_gone=True)
        for pid in workers:
            self.deaths.append(Death(pid, start, start + ORPHANED, "supervisor killed"))

    # -- scripts -----------------------------------------------------------------------------

    def touch(self, group):
        self.log(f"touch {group}.wsgi")
        os.utime(self._scripts[group])

    def break_script(self, group):
        script = self._scripts[group]
        good = script.read_text()
        for_seconds = self.dice.choice([0.2, 1.0])
        self.log(f"break {script.name} for {for_seconds} s")
        start = time.monotonic()
        self.server.app(script.name, BROKEN)
        time.sleep(for_seconds)
        self.server.app(script.name, good)
        self.outages.append(Outage(group, start, time.monotonic()))
