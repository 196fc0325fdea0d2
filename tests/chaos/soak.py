"""Many requests, and what they leave behind: scripts/soak [--requests N]. See CONTRIBUTING.md.

Requests, a tenth as many posts, a hundredth aborted clients, and then a thousandth graceful restarts.
Everything is warmed up with a part of it first. The processes that do the work are the same before
and after: growth is theirs alone. The restarts come last, since they replace workers and children.
"""

import argparse
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "server"))

import growth
import processes
import waiting
from chaos import staged
from client import Connection
from httpd import Server

MAY_GROW = 1 << 20
WORKERS, THREADS = 2, 5
GROUPS = ("app",)
APPLICATION = """
def application(environ, start_response):
    body = environ["wsgi.input"].read()
    if environ["PATH_INFO"] == "/endless":
        start_response("200 OK", [])
        return (b"x" * 10000 for _ in range(10000))
    answer = b"%d bytes\\n" % len(body)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(answer)))])
    return [answer]
"""
POSTED = b"p" * 10_000


def lean(port, count, message, answer):
    """`count` times `message` over kept connections; each answer must end with `answer`.

    No client that parses could keep the server busy from Python.
    """
    connection, done = None, 0
    while done < count:
        fresh = connection is None
        if fresh:
            connection = socket.create_connection(("127.0.0.1", port), 20)
        got = b""
        try:
            connection.sendall(message)
            while not got.endswith(answer):
                piece = connection.recv(4096)
                if not piece:
                    break
                got += piece
        except ConnectionResetError:
            pass
        if got.endswith(answer) and got.startswith(b"HTTP/1.1 200 "):
            done += 1
            if b"\r\nConnection: close\r\n" not in got:
                continue
        elif fresh or got:
            raise AssertionError(f"{got[:500]!r} to {message[:60]!r}")
        connection.close()
        connection = None
    if connection is not None:
        connection.close()


def ask(port, count):
    lean(port, count, b"GET / HTTP/1.1\r\nHost: soak\r\n\r\n", b"\r\n\r\n0 bytes\n")


def post(port, count):
    head = b"POST / HTTP/1.1\r\nHost: soak\r\nContent-Length: %d\r\n\r\n" % len(POSTED)
    lean(port, count, head + POSTED, b"\r\n\r\n%d bytes\n" % len(POSTED))


def abort(port, count):
    """Half of the clients leave in the middle of a response, half in the middle of their request."""
    for number in range(count):
        with Connection(port) as connection:
            if number % 2:
                connection.send_request("GET", "/endless")
                connection.head()
            else:
                connection.send_request("POST", "/", [("Content-Length", "100000")])
                connection.send(POSTED * 7)


def leave_together(port, count):
    """Each time as many clients as workers have threads leave at once in the middle of a response."""
    for _ in range(count):
        connections = [Connection(port) for _ in range(WORKERS * THREADS)]
        for connection in connections:
            connection.send_request("GET", "/endless")
        for connection in connections:
            connection.head()
        for connection in connections:
            connection.close()


def with_clients(work, port, count, clients):
    """`work` by so many clients at once. What one of them finds ends the run."""
    faults = []

    def run(part):
        try:
            work(port, part)
        except (AssertionError, OSError) as fault:
            faults.append(fault)

    parts = [count // clients + (number < count % clients) for number in range(clients)]
    threads = [threading.Thread(target=run, args=(part,)) for part in parts if part]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if faults:
        raise faults[0]


def at_rest(server, before=None):
    """Figures when nobody asks any more and no process is leaving."""
    server.workers("app", count=WORKERS, within=60)
    waiting.until(lambda: len(server.family()) == 2 + WORKERS + len(server.children()), 60, server.described)
    return growth.take_again(server, GROUPS, before) if before else growth.take(server, GROUPS)


def judge(before, after, pids):
    """What has grown. Where `pids` is true the same processes must be there."""
    found = []
    if pids and [row.pid for row in before] != [row.pid for row in after]:
        found.append(f"processes came or went: {[r.pid for r in before]}, then {[r.pid for r in after]}")
    first, last = growth.by_role(before), growth.by_role(after)
    for role in last.keys() & first.keys():
        if not pids and role not in ("parent", "supervisor"):
            continue
        if last[role].private > first[role].private + MAY_GROW:
            found.append(f"{role} grew from {first[role].private >> 10} to {last[role].private >> 10} KiB")
        if last[role].descriptors > first[role].descriptors:
            found.append(f"{role} has {last[role].descriptors} descriptors, {first[role].descriptors} before")
    return found


def soak(requests, clients, mpm, say, restarts=None):
    """Run it; return what grew, as sentences."""
    posts, aborts = requests // 10, requests // 100
    restarts = requests // 1000 if restarts is None else restarts
    with tempfile.TemporaryDirectory(prefix="wsgi-soak-", dir="/tmp") as directory:
        server = Server(staged(Path(directory)), mpm)
        try:
            return run(server, requests, posts, aborts, restarts, clients, say)
        finally:
            server.close(judge=False)


def run(server, requests, posts, aborts, restarts, clients, say):
    server.app("soak.wsgi", APPLICATION)
    # glibc keeps a heap for every two or three threads, and each comes to hold the largest burst it
    # has seen (1.5 MB): that ends, but late. With one heap, which has seen the largest of all before
    # anything is measured, what still grows is a leak.
    server.environ = {"MALLOC_ARENA_MAX": "1"}
    # The children stay as they are: one that came late would be young at the end.
    server.serve("soak.wsgi", "MaxConnectionsPerChild 0", "KeepAlive On", "MaxKeepAliveRequests 1000",
                 options=f"processes={WORKERS} threads={THREADS}",
                 size="StartServers 1\nServerLimit 1\nThreadsPerChild 25\nMaxRequestWorkers 25\nMinSpareThreads 1\nMaxSpareThreads 25"
                 if server.mpm != "prefork" else None)

    def phase(work, count):
        start = time.monotonic()
        with_clients(work, server.port, count, clients)
        seconds = time.monotonic() - start
        say(f"{work.__name__:8} {count:9} in {seconds:7.1f} s, {count / max(seconds, 0.001):7.0f}/s")

    say("to warm up:")
    leave_together(server.port, 20)
    # Long enough for every thread of a child to have had the largest of each.
    for work, count in ((ask, requests // 20 + 2000), (post, posts // 20 + 1000), (abort, aborts // 20 + 4000)):
        phase(work, count)
    before = at_rest(server)
    say("measured:")
    for work, count in ((ask, requests), (post, posts), (abort, aborts)):
        phase(work, count)
    after = at_rest(server, before)
    grown = judge(before, after, True)
    say(growth.table(before, after))

    for _ in range(3):
        server.graceful()
    first = at_rest(server)
    start = time.monotonic()
    for _ in range(restarts):
        server.graceful()
        with_clients(ask, server.port, 4, 2)
    last = at_rest(server, first)
    say(f"{restarts} graceful restarts in {time.monotonic() - start:.1f} s")
    say(growth.table(first, last))
    grown += judge(first, last, False)
    server.stop()
    return grown + [f"left behind: {thing}" for thing in server.leftovers()]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--requests", type=int, default=20_000, help="a tenth as many posts, a hundredth aborts, a thousandth restarts")
    parser.add_argument("--restarts", type=int, help="another number of graceful restarts; httpd takes a second for each")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--mpm", default="event", choices=["event", "worker", "prefork"])
    options = parser.parse_args()
    processes.adopt_orphans()
    grown = soak(options.requests, options.clients, options.mpm, lambda text: print(text, flush=True), options.restarts)
    for thing in grown:
        print(f"BROKEN: {thing}")
    return 1 if grown else 0


if __name__ == "__main__":
    sys.exit(main())
