"""How the cost of a request grows: with clients, processes, groups, idle connections and a queue.

Runs in: the benchmark. Each curve has servers of its own, ours and mod_wsgi's, which are up at the same
time and measured in turns, as in the comparison. A point is the median of the rounds.
"""

import contextlib
import dataclasses
import os
import resource
import selectors
import shutil
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

import curves
import report
from app import QUEUE
from contestants import Module
from figures import cpu_seconds, settle, switches, wait_for
from workloads import WORKLOADS, Wrong, check, load

HELLO = WORKLOADS["hello"]
CLIENTS = [1, 2, 4, 8, 16, 32, 64]
PROCESSES = [1, 2, 4, 8]
GROUPS = [1, 10, 50, 200]
IDLE = [10, 100, 1000, 10000]
QUEUED = 1000

OURS, THEIRS = "we", "mod_wsgi 6.1.1"


@contextlib.contextmanager
def both(args, say, **settings):
    """Ours and mod_wsgi's server, started and checked."""
    up = {}
    try:
        for title, name, module in ((OURS, "ours", args.ours), (THEIRS, "mod_wsgi", args.mod_wsgi)):
            say(f"starting {name} {settings}")
            up[title] = Module(name, title, args, module, **settings)
            up[title].start()
            check(up[title], HELLO)
        yield up
    finally:
        for contestant in up.values():
            contestant.stop()


class Curve:
    """Points of several lines: `lines[title][x]` is a list of CPU per request, one per round."""

    def __init__(self, title, axis):
        self.title, self.axis = title, axis
        self.lines = {}

    def measure(self, say, rounds, x, takers):
        """`takers`: line title -> a function that measures once."""
        for round_ in range(rounds):
            for title, once in takers.items():
                say(f"{self.axis}: {x}, {round_ + 1}/{rounds} {title}")
                line = self.lines.setdefault(title, {})
                line.setdefault(x, []).append(once()["cpu"])


def by_clients(args, say):
    curve = Curve("Clients", "clients, connections kept")
    with both(args, say) as up:
        for count in CLIENTS:
            workload = dataclasses.replace(HELLO, clients=count)
            curve.measure(say, args.rounds, count, {
                title: lambda c=c: load(c, workload, args.seconds) for title, c in up.items()})
    return curve


def by_processes(args, say):
    curve = Curve("Processes of a group", "processes of 5 threads")
    for count in PROCESSES:
        with both(args, say, processes=count) as up:
            curve.measure(say, args.rounds, count, {
                title: lambda c=c: load(c, HELLO, args.seconds) for title, c in up.items()})
    return curve


def by_groups(args, say):
    curve = Curve("Groups configured", "process groups")
    for count in GROUPS:
        # Every path once; wrk asks them in turn.
        script = (f"local n = 0\nrequest = function()\n  n = (n + 1) % {count}\n"
                  '  return wrk.format("GET", "/" .. n .. "/hello")\nend\n')
        with both(args, say, groups=count) as up:
            takers = {title: lambda c=c: load(c, HELLO, args.seconds) for title, c in up.items()}
            if count > 1:
                for title, c in up.items():
                    ask_each(c)
                    takers[f"{title}, all in turn"] = lambda c=c: load(c, HELLO, args.seconds, script)
            curve.measure(say, args.rounds, count, takers)
    for title in (OURS, THEIRS):
        curve.lines[f"{title}, all in turn"][1] = curve.lines[title][1]
    return curve


def ask_each(contestant):
    """Asks every group, so that its first request is over."""
    with contestant.client() as client:
        for number in range(contestant.groups):
            contestant.asked = number
            client.get("hello")


def by_idle(args, say):
    curve = Curve("Idle clients", "idle keep-alive connections")
    lines = "AsyncRequestWorkerFactor 200\nListenBacklog 1000"
    with both(args, say, more_lines=lines) as up, contextlib.ExitStack() as stack:
        idle = {title: stack.enter_context(Idle(c)) for title, c in up.items()}
        for count in IDLE:
            for title in up:
                say(f"{count} idle connections to {title}")
                idle[title].grow(count)
            curve.measure(say, args.rounds, count, {
                title: lambda c=c: load(c, HELLO, args.seconds) for title, c in up.items()})
        for connections in idle.values():
            connections.still_open()
    return curve


class Idle:
    """Clients that had an answer and keep their connections; see idle.py."""

    def __init__(self, contestant):
        self.contestant = contestant

    def __enter__(self):
        self.process = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("idle.py"), str(self.contestant.port),
             self.contestant.path("hello")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *_):
        self.process.communicate()

    def tell(self, words):
        print(words, file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline().strip()
        if answer != "ok":
            raise Wrong(f"idle connections to {self.contestant.name}: {answer}\n"
                        f"{self.contestant.log_tail()}")

    def grow(self, count):
        self.tell(count)

    def still_open(self):
        self.tell("")


class Queue:
    """What became of a queue: which place each request had when it was sent and when it was run."""

    def __init__(self, title):
        self.title = title
        self.places = []
        self.cpu = self.switches = 0.0

    def correlation(self):
        return statistics.correlation(*map(list, zip(*self.places, strict=True)))

    def worst(self):
        return max(abs(sent - run) for sent, run in self.places)


def queues(args, say):
    """A queue of requests that wait while every thread is held, and are let go at once."""
    found = []
    for title, name, module, processes in ((f"{OURS}, 1x5", "ours", args.ours, 1),
                                           (f"{OURS}, 4x5", "ours", args.ours, 4),
                                           (f"{THEIRS}, 1x5", "mod_wsgi", args.mod_wsgi, 1),
                                           (f"{THEIRS}, 4x5", "mod_wsgi", args.mod_wsgi, 4)):
        say(f"queue of {QUEUED}, {title}")
        contestant = Module(name, title, args, module, processes=processes,
                            options="listen-backlog=2000", children=1,
                            threads_per_child=QUEUED + 100)
        try:
            contestant.start()
            check(contestant, HELLO)
            found.append(queue_of(contestant, title, processes * 5))
        finally:
            contestant.stop()
            shutil.rmtree(QUEUE, ignore_errors=True)
    return found


def queue_of(contestant, title, threads):
    os.mkdir(QUEUE)
    order = Path(QUEUE, "order")
    order.touch()
    order.chmod(0o666)
    held = [ask(contestant, "hold") for _ in range(threads)]
    wait_for(lambda: order.read_text().count("hold") == threads, "holding every thread")
    waiting = []
    for number in range(QUEUED):
        waiting.append(ask(contestant, f"queued?{number}"))
        # Long enough that Apache has passed it on before the next one comes.
        time.sleep(0.002)
    settle(contestant)
    if len(order.read_text().splitlines()) != threads:
        raise Wrong(f"{contestant.name} ran a request although every thread was held")
    result = Queue(title)
    pids = contestant.pids()
    cpu, switched = cpu_seconds(pids), switches(pids)
    Path(QUEUE, "open").touch()
    answers(contestant, held + waiting)
    result.cpu = (cpu_seconds(pids) - cpu) / QUEUED * 1e6
    result.switches = (switches(pids) - switched) / QUEUED
    noted = [line.split() for line in order.read_text().splitlines() if line != "hold"]
    run = [int(number) for number, when in sorted(noted, key=lambda line: int(line[1]))]
    if sorted(run) != list(range(QUEUED)):
        raise Wrong(f"{contestant.name} ran {len(set(run))} of {QUEUED} requests, {len(run)} times")
    result.places = [(sent, place) for place, sent in enumerate(run)]
    return result


def ask(contestant, path):
    one = socket.create_connection(("127.0.0.1", contestant.port), 30)
    one.sendall(f"GET {contestant.path(path)} HTTP/1.1\r\nHost: queue\r\nConnection: close\r\n\r\n"
                .encode())
    return one


def answers(contestant, sockets, seconds=60):
    """Reads until each has its whole answer."""
    selector = selectors.DefaultSelector()
    text = {}
    for one in sockets:
        text[one] = b""
        selector.register(one, selectors.EVENT_READ)
    end = time.monotonic() + seconds
    while selector.get_map():
        if time.monotonic() > end:
            raise Wrong(f"{contestant.name} left {len(selector.get_map())} requests unanswered")
        for key, _ in selector.select(1):
            got = key.fileobj.recv(4096)
            text[key.fileobj] += got
            if not got:
                selector.unregister(key.fileobj)
                key.fileobj.close()
    for answer in text.values():
        if not answer.startswith(b"HTTP/1.1 200 ") or not answer.endswith(b"Hello, World!"):
            raise Wrong(f"{contestant.name} answered a queued request with {answer[:200]!r}\n"
                        f"{contestant.log_tail()}")


CURVES = {"clients": by_clients, "processes": by_processes, "groups": by_groups, "idle": by_idle,
          "queue": queues}


def run(args, versions, say):
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    found = {name: CURVES[name](args, say) for name in args.curves or CURVES}
    say("")
    queue = found.pop("queue", [])
    text = [report.header(args.command, versions,
                          f"hello over kept connections of 16 clients where not said otherwise, medians of "
                          f"the rounds, which are {args.rounds} of {args.seconds} s"), ""]
    for curve in found.values():
        text += [*table(curve), ""]
    if queue:
        text += [*queue_table(queue), ""]
    print("\n".join(text))
    if args.markdown:
        report.put_between(args.markdown, "scripts/bench --growth", "\n".join(text))
        picture = args.markdown.with_name(f"{args.markdown.stem}-growth.svg")
        ours = [one for one in queue if one.title.startswith(OURS)]
        picture.write_text(curves.picture(found.values(), ours))


def table(curve):
    xs = sorted({x for line in curve.lines.values() for x in line})
    yield f"| {curve.axis} | {' | '.join(f'{x:,}' for x in xs)} |"
    yield "|---|" + "---|" * len(xs)
    for title, line in curve.lines.items():
        yield f"| {title} | {' | '.join(report.duration(statistics.median(line[x])) for x in xs)} |"


def queue_table(found):
    yield ("| queue of 1,000 | order run / order sent, correlation | worst displacement | CPU per request "
           "| context switches per request |\n|---|---|---|---|---|")
    for queue in found:
        yield (f"| {queue.title} | {queue.correlation():.4f} | {queue.worst()} "
               f"| {report.duration(queue.cpu)} | {queue.switches:.1f} |")
