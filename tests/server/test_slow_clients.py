"""Clients that send or read slowly take no thread away from others (issue 3, point 7).

The bounds are options: `request-buffer-size=`, `response-buffer-size=` and `response-spool-size=`.
"""

import contextlib
import os
import signal
import threading
import time

import pytest

import h2client
from waiting import SLACK, for_exit, until

APP = """
import os, sys

def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/quick":
        start_response("200 OK", [("Content-Length", "5")])
        return [b"quick"]
    if path.startswith("/down"):
        size = int(environ["QUERY_STRING"])
        start_response("200 OK", [("Content-Length", str(size))] if path == "/down/length" else [])
        return Down(size)
    got = environ["wsgi.input"].read()
    start_response("200 OK", [])
    return [str(len(got)).encode()]

class Down:
    def __init__(self, size):
        self.left = size
    def __iter__(self):
        return self
    def __next__(self):
        if self.left == 0:
            raise StopIteration
        piece = b"x" * min(self.left, 50000)
        self.left -= len(piece)
        return piece
    def close(self):
        print("response taken", file=sys.stderr)
"""

MEGABYTE = 1 << 20


@pytest.fixture
def serve(httpd):
    httpd.app("slow.wsgi", APP)
    httpd.error_log.allow("response taken", "WSGI0371", "WSGI0126")

    # A slow client takes a process of prefork, as it takes a thread of the others.
    size = "StartServers 25\nMinSpareServers 5\nMaxSpareServers 25\nMaxRequestWorkers 40" if httpd.mpm == "prefork" else None

    def start(*lines, options="threads=5"):
        return httpd.serve("slow.wsgi", *lines, options=options, size=size)

    return start


def quick(httpd, times=20):
    """The longest of some answers."""
    answers = [httpd.get("/quick", timeout=10) for _ in range(times)]
    assert all(answer.body == b"quick" for answer in answers)
    return max(answer.elapsed for answer in answers)


@contextlib.contextmanager
def senders(httpd, count, head, pace=1.0):
    """Clients that send `head` and then a byte each `pace` seconds."""
    over = threading.Event()
    connections = [httpd.connect() for _ in range(count)]
    for connection in connections:
        connection.send(head)

    def drip():
        while not over.wait(pace):
            for connection in connections:
                connection.send(b"x")

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        yield connections
    finally:
        over.set()
        thread.join(20)
        for connection in connections:
            connection.close()


@contextlib.contextmanager
def readers(httpd, count, target):
    """Clients that ask and do not read; their receive buffers are small."""
    import socket

    sockets = []
    try:
        for _ in range(count):
            client = socket.socket()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", httpd.port))
            client.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            sockets.append(client)
        yield sockets
    finally:
        for client in sockets:
            client.close()


def taken(httpd, count):
    httpd.error_log.expect("response taken", count=count)


@pytest.mark.differs("slow-clients-hold-no-thread", run=False)
@pytest.mark.parametrize("length", [100, 60_000, 10 * MEGABYTE])
def test_ten_clients_that_send_a_byte_a_second_hold_nobody_up(serve, length):
    httpd = serve()
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % length
    with senders(httpd, 10, head):
        assert quick(httpd) < 1 + SLACK


@pytest.mark.differs("slow-clients-hold-no-thread", run=False)
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_ten_clients_that_do_not_read_a_megabyte_hold_nobody_up(serve, framing):
    httpd = serve()
    with readers(httpd, 10, f"/down/{framing}?{MEGABYTE}") as clients:
        taken(httpd, 10)
        assert quick(httpd) < 1 + SLACK
        # Who reads in the end gets all of it.
        for client in clients:
            client.settimeout(20)
            got = b""
            while piece := client.recv(1 << 20):
                got += piece
            body = got.partition(b"\r\n\r\n")[2]
            assert body.count(b"x") == MEGABYTE
            assert framing == "length" or body.endswith(b"0\r\n\r\n")


@pytest.mark.differs("slow-clients-hold-no-thread", run=False)
def test_both_kinds_at_once_hold_nobody_up(serve):
    httpd = serve()
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
    with senders(httpd, 10, head), readers(httpd, 10, f"/down/length?{MEGABYTE}"):
        taken(httpd, 10)
        assert quick(httpd) < 1 + SLACK


@pytest.mark.differs("slow-clients-hold-no-thread", run=False)
def test_streams_of_http_2_that_do_not_read_hold_nobody_up(serve):
    httpd = serve("Protocols h2c http/1.1")
    with contextlib.ExitStack() as open_ones:
        for _ in range(10):
            connection = open_ones.enter_context(h2client.Connection(httpd.port, window=1000))
            connection.begin("GET", f"/down/length?{MEGABYTE}")
        taken(httpd, 10)
        assert quick(httpd) < 1 + SLACK


@pytest.mark.differs("slow-clients-hold-no-thread", run=False)
@pytest.mark.parametrize("option, held", [("", MEGABYTE), ("response-buffer-size=65536", 65536), ("response-buffer-size=4000000", 4_000_000)])
def test_what_is_held_for_a_client_has_a_bound(serve, option, held):
    httpd = serve(options=f"threads=1 response-spool-size=0 {option}")
    # Beside the buffer there is what the kernel takes: of the client's socket and of the worker's.
    size = held + 16 * MEGABYTE
    child = httpd.children()[0]
    # One that has just begun has next to no memory of its own.
    quick(httpd)
    before = child.private_memory
    with readers(httpd, 1, f"/down/length?{size}"):
        settled = [0.0]

        def still():
            settled.append(child.private_memory)
            return len(settled) > 100 and len(set(settled[-50:])) == 1

        until(still, 20)
        # The thread waits for the client, which is what the bound says.
        assert "response taken" not in httpd.error_log.text()
        assert child.private_memory - before < held + 2 * MEGABYTE


@pytest.mark.differs("slow-clients-hold-no-thread", run=False)
def test_a_client_that_reads_slowly_gets_everything(serve):
    httpd = serve(options="threads=1")
    size = 3 * MEGABYTE
    with readers(httpd, 1, f"/down/chunked?{size}") as clients:
        clients[0].settimeout(20)
        got = 0
        rounds = 0
        while piece := clients[0].recv(65536):
            got += piece.count(b"x")
            rounds += 1
            if rounds % 10 == 0:
                time.sleep(0.001)
        assert got == size
    assert quick(httpd, 3) < 1 + SLACK


@pytest.mark.differs("slow-clients-hold-no-thread", run=False)
@pytest.mark.parametrize("timeout, options", [(1, ""), (20, "socket-timeout=1"), (20, "socket-timeout=20 response-socket-timeout=1")])
def test_a_client_that_takes_nothing_at_all_is_given_up(serve, timeout, options):
    httpd = serve(f"Timeout {timeout}", options=f"threads=1 response-buffer-size=65536 response-spool-size=0 {options}")
    with readers(httpd, 1, f"/down/length?{32 * MEGABYTE}") as clients:
        httpd.error_log.expect("WSGI0371", level="info")
        # The worker hears of it and is free.
        taken(httpd, 1)
        assert quick(httpd, 3) < 1 + SLACK
        clients[0].settimeout(20)
        got = 0
        try:
            while piece := clients[0].recv(1 << 20):
                got += len(piece)
        except ConnectionError:
            pass
        assert got < 32 * MEGABYTE


# 20 MB of which no two pieces are the same.
LARGE = """
import os, signal, time

def application(environ, start_response):
    if environ["PATH_INFO"] == "/quick":
        start_response("200 OK", [("Content-Length", "5")])
        return [b"quick"]
    start_response("200 OK", [])
    return large(environ)

def large(environ):
    for number in range(20 << 8):
        yield b"%012d" % number * 341
    print("response taken", flush=True)
    while environ["PATH_INFO"] == "/stuck":
        time.sleep(0.01)
"""

LARGE_BODY = b"".join(b"%012d" % number * 341 for number in range(20 << 8))


@pytest.fixture
def large(httpd):
    httpd.app("large.wsgi", LARGE)
    httpd.error_log.allow("response taken", "WSGI0371", "WSGI0126")
    size = "StartServers 25\nMinSpareServers 5\nMaxSpareServers 25\nMaxRequestWorkers 40" if httpd.mpm == "prefork" else None
    return lambda *lines, options: httpd.serve("large.wsgi", *lines, options=options, size=size)


def spools(httpd):
    """The temporary files that Apache's children have open."""
    return [kind for child in httpd.children() for kind in child.descriptors.values() if kind.endswith("(deleted)") and "/spool/" in kind]


def whole(client):
    """All that a client gets until the server closes."""
    client.settimeout(30)
    got = []
    while piece := client.recv(1 << 20):
        got.append(piece)
    return b"".join(got)


def unchunked(body):
    out = []
    while True:
        size, _, body = body.partition(b"\r\n")
        size = int(size, 16)
        if size == 0:
            return b"".join(out)
        out.append(body[:size])
        assert body[size:size + 2] == b"\r\n"
        body = body[size + 2:]


@pytest.fixture
def spool(folder):
    made = folder / "spool"
    made.mkdir()
    made.chmod(0o777)
    return made


@pytest.mark.differs("slow-clients-hold-no-thread", run=False)
def test_ten_clients_that_do_not_read_twenty_megabytes_hold_nobody_up(large, httpd, spool):
    # The clients read one after the other: the last waits for long on a busy machine.
    large(options=f"threads=5 spool-directory={spool} response-socket-timeout=300")
    child = httpd.children()[0]
    quick(httpd, 3)
    memory = child.private_memory
    with readers(httpd, 10, "/large") as clients:
        taken(httpd, 10)
        assert quick(httpd) < 1 + SLACK
        assert len(spools(httpd)) == 10 and not list(spool.iterdir())
        # Twice what waits in memory, and what the memory allocator adds for a thread.
        assert child.private_memory - memory < 10 * 4 * MEGABYTE
        for client in clients:
            head, _, body = whole(client).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200") and unchunked(body) == LARGE_BODY
        assert child.private_memory - memory < 10 * 4 * MEGABYTE
    until(lambda: not spools(httpd), what="the temporary files to be closed")


@pytest.mark.differs("slow-clients-hold-no-thread", run=False)
def test_a_client_that_leaves_takes_its_temporary_file_along(large, httpd, spool):
    large(options=f"threads=5 spool-directory={spool}")
    with readers(httpd, 3, "/large"):
        taken(httpd, 3)
        assert len(spools(httpd)) == 3
    until(lambda: not spools(httpd), 30, "the temporary files to be closed")


@pytest.mark.differs("slow-clients-hold-no-thread", run=False)
def test_a_killed_worker_breaks_a_response_that_waits_in_a_file(large, httpd, spool):
    large(options=f"threads=2 spool-directory={spool}")
    httpd.error_log.allow("SIGKILL", "WSGI0119")
    worker, = httpd.workers(count=1)
    with readers(httpd, 1, "/stuck") as (client,):
        taken(httpd, 1)
        os.kill(worker.pid, signal.SIGKILL)
        for_exit(worker.pid)
        body = whole(client).partition(b"\r\n\r\n")[2]
        assert not body.endswith(b"0\r\n\r\n"), "the response looks complete"
    httpd.error_log.expect("WSGI0119")
    until(lambda: not spools(httpd), what="the temporary files to be closed")


@pytest.mark.differs("slow-clients-hold-no-thread", run=False)
def test_without_a_place_for_the_file_the_thread_waits_and_a_line_says_so(large, httpd):
    large(options="threads=1 spool-directory=/no/such/directory")
    with readers(httpd, 1, "/large") as (client,):
        httpd.error_log.expect("WSGI0440: .*'/no/such/directory': No such file", level="warn", count=1)
        assert "response taken" not in httpd.error_log.text()
        body = whole(client).partition(b"\r\n\r\n")[2]
        assert unchunked(body) == LARGE_BODY
    taken(httpd, 1)


@pytest.mark.differs("slow-clients-hold-no-thread", run=False)
def test_at_the_bound_of_its_file_the_thread_waits(large, httpd, spool):
    large(options=f"threads=1 response-spool-size=1048576 spool-directory={spool}")
    with readers(httpd, 1, "/large") as (client,):
        until(lambda: spools(httpd), what="a temporary file")
        assert "response taken" not in httpd.error_log.text()
        body = whole(client).partition(b"\r\n\r\n")[2]
        assert unchunked(body) == LARGE_BODY
    taken(httpd, 1)


def test_a_slow_client_of_a_stream_gets_each_piece(httpd):
    httpd.app("stream.wsgi", """
import time

def application(environ, start_response):
    start_response("200 OK", [])
    for n in range(20):
        yield b"%d;" % n
        time.sleep(0.01)
""")
    httpd.serve("stream.wsgi")
    answer = httpd.get("/")
    assert answer.body == b"".join(b"%d;" % n for n in range(20)) and len(answer.chunks) >= 10
