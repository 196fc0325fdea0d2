"""Peers that are not what they should be."""

import os
import pathlib
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time

import pytest
import wire
from harness import LIMIT, eventually

HELLO = """
    ran = 0
    def application(environ, start_response):
        global ran
        ran += 1
        start_response("200 OK", [])
        return [str(ran).encode()]
"""


def ending(w, connection):
    """How the worker ended the connection, within two seconds."""
    connection.settimeout(2)
    try:
        return w.answer(connection).ending
    except BrokenPipeError:
        return "reset"


def test_a_wrong_key_is_dropped_and_the_application_not_run(worker, script):
    path = script(HELLO)
    w = worker(earlier_keys=[b"e" * 16])
    with w.send(path, key=b"x" * 16) as connection:
        assert ending(w, connection) == "reset"
    assert w.get(path).body == b"1"
    assert w.get(path, key=b"e" * 16).body == b"2"
    eventually(lambda: "WSGI0306" in w.log)


def test_a_silent_peer_is_dropped_after_a_second(worker, script):
    path = script(HELLO)
    w = worker(threads=2)
    silent = [w.connect() for _ in range(2)]
    begun = time.monotonic()
    assert w.get(path).body == b"1"
    assert time.monotonic() - begun < 1.5
    for connection in silent:
        assert connection.recv(1) == b""
        connection.close()


@pytest.mark.parametrize("garbage", [
    b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 100, b"\0" * 8, wire.frame(wire.BODY, b"x"),
    wire.frame(wire.REQUEST, b""), wire.frame(wire.REQUEST, b"\0" * 50),
    b"\1\1\0\0\xff\xff\xff\xff", b"\1\2\0\0\0\0\0\0"])
def test_garbage_ends_its_connection_and_nothing_else(worker, script, garbage):
    path = script(HELLO)
    w = worker(threads=1)
    with w.connect() as connection:
        connection.sendall(garbage)
        assert ending(w, connection) in ("reset", "eof", "last")
    assert w.get(path).body == b"1"


def test_a_request_in_drips_is_dropped(worker, script):
    path = script(HELLO)
    w = worker(threads=1)
    message = w.message(path)
    with w.connect() as connection:
        connection.sendall(message[:20])
        assert ending(w, connection) in ("reset", "eof")
    assert w.get(path).body == b"1"


def test_a_request_in_two_halves_is_served(worker, script):
    path = script(HELLO)
    w = worker(threads=1)
    message = w.message(path)
    with w.connect() as connection:
        connection.sendall(message[:100])
        time.sleep(0.1)
        connection.sendall(message[100:])
        assert w.answer(connection).body == b"1"


@pytest.mark.parametrize("size", [40_000, 130_000, 1_000_000, 15 << 20])
def test_requests_of_every_size(worker, script, size):
    path = script("""
    def application(environ, start_response):
        start_response("200 OK", [])
        return [b"%d" % len(environ["wsgi.input"].read())]
    """)
    w = worker(threads=1)
    for _ in range(8):
        assert w.get(path, body=b"x" * size, method="POST").body == b"%d" % size
    # The allocator keeps some of it, but not more with each request.
    assert w.memory() < 16_000 + 5 * size / 1024


def test_other_users_are_refused(worker, script):
    if os.getuid() != 0:
        pytest.skip("needs root")
    path = script(HELLO)
    w = worker(socket_uid=33)
    os.chmod(w.path, 0o777)
    for directory in pathlib.Path(w.path).parents:
        if pathlib.Path(tempfile.gettempdir()) in directory.parents:
            os.chmod(directory, 0o755)
    code = (
        "import os, socket, sys; os.setresuid(*[int(sys.argv[1])] * 3);"
        "s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[2]);"
        "\ntry: s.sendall(bytes.fromhex(sys.argv[3])); print(len(s.recv(1000)))\n"
        "except (ConnectionResetError, BrokenPipeError): print('reset')"
    )
    message = w.message(path).hex()
    for uid, seen in [("65534", "reset"), ("33", None), ("0", None)]:
        out = subprocess.run([sys.executable, "-c", code, uid, w.path, message], text=True,
                             capture_output=True)
        assert not out.stderr
        assert (out.stdout.strip() == "reset") == (seen == "reset")
    eventually(lambda: "WSGI0310" in w.log)


def test_mutated_requests_never_end_the_worker(worker, script):
    path = script(HELLO)
    w = worker(threads=4)
    message = w.message(path, environ={"HTTP_X": "y" * 50}, body=b"body")
    chance = random.Random(7)
    for _ in range(200):
        mutated = bytearray(message)
        for _ in range(chance.randint(1, 8)):
            mutated[chance.randrange(8, len(mutated))] = chance.randrange(256)
        with w.connect() as connection:
            connection.sendall(mutated)
            connection.shutdown(socket.SHUT_WR)
            connection.settimeout(5)
            try:
                w.answer(connection)
            except (ConnectionError, TimeoutError):
                pass
    assert w.get(path).complete
    assert w.process.poll() is None


def test_without_descriptors_it_waits_and_comes_back(worker, script):
    path = script("""
    import os
    held = []
    def application(environ, start_response):
        if environ["PATH_INFO"] == "/eat":
            import resource
            resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
            try:
                while True:
                    held.append(os.open("/dev/null", os.O_RDONLY))
            except OSError:
                pass
            import threading, time
            def free():
                time.sleep(0.5)
                [os.close(fd) for fd in held]
            threading.Thread(target=free).start()
        start_response("200 OK", [])
        return [b"x"]
    """)
    w = worker(threads=3)
    assert w.get(path, "/eat").body == b"x"
    assert w.get(path).body == b"x"
