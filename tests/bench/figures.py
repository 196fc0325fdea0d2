"""What the kernel counts about a contestant's processes: processor time, switches, memory, calls.

Runs in: the benchmark, which is pinned to the client's core and does not measure itself.
"""

import os
import re
import subprocess
import tempfile
import threading
import time
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")


def wait_for(test, what, seconds=20, pause=0.02):
    end = time.monotonic() + seconds
    while not test():
        if time.monotonic() > end:
            raise RuntimeError(f"{what} did not happen within {seconds} s")
        time.sleep(pause)


def tree(pid):
    """The process and all that descend from it."""
    found, queue = [], [pid]
    while queue:
        pid = queue.pop()
        found.append(pid)
        for task in Path(f"/proc/{pid}/task").glob("*/children"):
            try:
                queue += [int(child) for child in task.read_text().split()]
            except OSError:
                pass
    return found


def cpu_seconds(pids):
    """User and system time of the processes, of their ended threads, and of their ended children."""
    total = 0.0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            # The process's own clock counts nanoseconds where stat counts hundredths of a second;
            # CPUCLOCK_SCHED is 2, see clock_getcpuclockid(3).
            own = time.clock_gettime(~pid * 8 + 2)
        except (OSError, ValueError):
            continue
        total += own + (int(fields[13]) + int(fields[14])) / TICK
    return total


def settle(contestant, seconds=5):
    """Waits until the contestant has finished what clients left behind."""
    end = time.monotonic() + seconds
    before = cpu_seconds(contestant.pids())
    while time.monotonic() < end:
        time.sleep(0.01)
        now = cpu_seconds(contestant.pids())
        if now - before < 0.0005:
            return
        before = now


def switches(pids):
    """Context switches so far, wanted and unwanted, of all threads that live."""
    total = 0
    for pid in pids:
        for status in Path(f"/proc/{pid}/task").glob("*/status"):
            try:
                total += sum(map(int, re.findall(r"ctxt_switches:\s+(\d+)", status.read_text())))
            except OSError:
                pass
    return total


def memory_kib(pid):
    """(private, PSS) of a process."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    private = sum(map(int, re.findall(r"Private_(?:Clean|Dirty):\s+(\d+)", rollup)))
    return private, int(re.search(r"^Pss:\s+(\d+)", rollup, re.M)[1])


class Tracer:
    """strace attached to every thread of a contestant; lines of its log are system calls."""

    def __init__(self, contestant):
        self.pids = contestant.pids()
        self.processes = {int(task.name): pid for pid in self.pids
                          for task in Path(f"/proc/{pid}/task").iterdir()}
        self.log = tempfile.NamedTemporaryFile("r", suffix=".strace")

    def __enter__(self):
        attach = [word for pid in self.pids for word in ("-p", str(pid))]
        # On the client's core and not the server's, as the benchmark itself.
        self.process = subprocess.Popen(["strace", "-f", "-o", self.log.name, *attach],
                                        stderr=subprocess.PIPE, text=True)
        waiting = set(map(str, self.pids))
        limit = threading.Timer(30, self.process.kill)
        limit.start()
        for line in self.process.stderr:
            told = re.search(r"Process (\d+) attached", line)
            if told:
                waiting.discard(told[1])
            if not waiting:
                break
        limit.cancel()
        if waiting:
            raise RuntimeError(f"strace could not attach to {sorted(waiting)}")
        # What it says later must not fill the pipe.
        threading.Thread(target=self.process.stderr.read, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        self.log.close()

    def lines(self):
        """What was logged so far, once no more comes."""
        size = -1
        while size != (now := os.path.getsize(self.log.name)):
            size = now
            time.sleep(0.2)
        self.log.seek(0)
        return self.log.readlines()

    def calls(self):
        """How many calls were made so far."""
        # A call during which another thread ran is written twice, the second time as resumed.
        return sum(1 for line in self.lines() if not re.search(r"resumed>|--- |\+\+\+ ", line))

    def process_of(self, thread):
        return self.processes.get(thread)


def system_calls(contestant, requests=200):
    """System calls per keep-alive request of one client, over all processes."""
    with contestant.client() as client, Tracer(contestant) as tracer:
        for _ in range(20):
            client.get("hello")
        before = tracer.calls()
        for _ in range(requests):
            client.get("hello")
        return (tracer.calls() - before) / requests
