"""What holds while more is asked for than the threads of a process can do at once: the thread that has
Python's lock goes on from one request to the next, and others come to it when that one waits."""

import http.client
import socket
import time

import pytest

# Times out by itself, so that a fault does not leave the processor busy.
BUSY = """
import os, time
def application(environ, start_response):
    path, name = environ["PATH_INFO"], environ["QUERY_STRING"]
    if path == "/pieces":
        def pieces():
            yield b"one"
            while not os.path.exists(name):
                time.sleep(0.002)
            yield b"two"
        start_response("200 OK", [("Content-Length", "6")])
        return pieces()
    if path == "/endless":
        def more():
            while not os.path.exists(name):
                yield b"x" * 65536
        start_response("200 OK", [])
        return more()
    if path == "/wait":
        open(name + ".begun", "w").close()
        while not os.path.exists(name):
            time.sleep(0.002)
    if path == "/compute":
        open(name + ".begun", "w").close()
        until, rounds = time.monotonic() + 30, 0
        while not os.path.exists(name) and time.monotonic() < until:
            rounds += sum(1 for _ in range(1000))
    if path == "/short":
        sum(1 for _ in range(5000))
    start_response("200 OK", [("Content-Length", "2")])
    return iter([b"o", b"k"])
"""


@pytest.mark.parametrize("processes", [1, 2])
def test_a_piece_is_sent_while_the_next_is_made(httpd, folder, processes):
    httpd.app("busy.wsgi", BUSY)
    httpd.serve("busy.wsgi", options=f"processes={processes} threads=5")
    with httpd.load(path="/short", clients=8) as load:
        load.more(50)
        for number in range(20):
            name = folder / str(number)
            with socket.create_connection(("127.0.0.1", httpd.port), 20) as client:
                client.sendall(f"GET /pieces?{name} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
                response = http.client.HTTPResponse(client)
                response.begin()
                assert response.read(3) == b"one"
                name.touch()
                assert response.read() == b"two"
    assert not load.failures, load.failures[:3]


def test_requests_that_wait_hold_nobody_up(httpd, folder):
    httpd.app("busy.wsgi", BUSY)
    httpd.serve("busy.wsgi", options="threads=4")
    held = []
    for number in range(3):
        name = folder / str(number)
        held.append((name, httpd.begin("/wait", name)))
    with httpd.load(path="/short", clients=8) as load:
        load.more(300, within=30)
    assert not load.failures, load.failures[:3]
    for name, connection in held:
        name.touch()
        assert connection.response().text == "ok"
        connection.close()


def test_one_that_computes_for_long_shares_the_lock_with_short_ones(httpd, folder):
    httpd.app("busy.wsgi", BUSY)
    httpd.serve("busy.wsgi", options="threads=3")
    name = folder / "long"
    with httpd.begin("/compute", name) as connection:
        with httpd.load(path="/short", clients=6) as load:
            load.more(100, within=30)
            # It is seen to end while there is more to do than ever.
            name.touch()
            began = time.monotonic()
            assert connection.response().text == "ok"
            assert time.monotonic() - began < 10
            load.more(50, within=30)
    assert not load.failures, load.failures[:3]


def test_as_many_as_there_are_threads_are_served_at_once(httpd, folder):
    """Also where one's request comes a moment after its connection was taken by the busier process."""
    httpd.app("busy.wsgi", BUSY)
    httpd.serve("busy.wsgi", options="processes=2 threads=5")
    httpd.workers(count=2)
    for number in range(20):
        name = folder / str(number)
        connections = [httpd.connect(timeout=5) for _ in range(10)]
        for connection in connections:
            connection.send_request("GET", f"/endless?{name}")
        for connection in connections:
            assert connection.head().status == 200
        name.touch()
        for connection in connections:
            connection.close()
