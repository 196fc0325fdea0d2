"""Many requests: nothing grows, nothing is lost."""

import concurrent.futures
import gc
import os
import threading

import wire
from harness import eventually

APP = """
    import sys, gc, io
    class Cycle: pass
    def application(environ, start_response):
        kind = environ["PATH_INFO"]
        if kind == "/counts":
            gc.collect()
            types = {}
            for o in gc.get_objects():
                types[type(o).__name__] = types.get(type(o).__name__, 0) + 1
            body = repr((sys.getrefcount(None), types)).encode()
            start_response("200 OK", [])
            return [body]
        if kind == "/error":
            raise ValueError("x")
        if kind == "/post":
            data = environ["wsgi.input"].read()
            start_response("200 OK", [("X-Len", str(len(data)))])
            return [data]
        if kind == "/stream":
            start_response("200 OK", [])
            return (b"x" * 100 for _ in range(5))
        if kind == "/print":
            print("line", file=sys.stderr)
        if kind == "/bad":
            start_response("200 OK", [("a b", "c")])
        if kind == "/write":
            start_response("200 OK", [])(b"written")
            return []
        if kind == "/file":
            start_response("200 OK", [])
            return environ["wsgi.file_wrapper"](open(__file__, "rb"))
        if kind == "/hold":
            c = Cycle(); c.environ = environ; c.start = start_response; c.me = c
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"hello"]
"""
#: Descriptors of an idle worker.
OWN = 14
KINDS = ["/", "/error", "/post", "/stream", "/print", "/bad", "/write", "/file", "/hold"]


def many(w, path, kinds, count, threads=4):
    """`count` requests on some threads; returns those that were not answered as they should be."""
    wrong = []

    def one(i):
        kind = kinds[i % len(kinds)]
        answer = w.get(path, kind, body=b"b" * 500 if kind == "/post" else b"")
        for fd in answer.files:
            os.close(fd)
        if kind in ("/error", "/bad"):
            if answer.fail != (500, ""):
                wrong.append((kind, answer))
        elif not answer.complete:
            wrong.append((kind, answer))

    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        list(pool.map(one, range(count)))
    return wrong


def counts(w, path):
    return eval(w.get(path, "/counts").body)


def test_nothing_grows(worker, script):
    count = int(os.environ.get("WSGI_SOAK", "6000"))
    path = script(APP)
    w = worker(threads=3)
    assert many(w, path, KINDS, 6000) == []
    before, none, objects = w.memory(), *counts(w, path)
    eventually(lambda: len(w.descriptors()) == OWN)
    assert many(w, path, KINDS, count) == []
    after, none_after, objects_after = w.memory(), *counts(w, path)
    grown = {name: n - objects.get(name, 0) for name, n in objects_after.items()
             if n > objects.get(name, 0) + 20}
    assert grown == {}
    assert abs(none_after - none) < 200
    assert after - before < 1024, (before, after)
    eventually(lambda: len(w.descriptors()) == OWN)


def test_clients_that_leave_cost_nothing(worker, script):
    path = script(APP)
    w = worker(threads=3)

    def leave(count):
        for i in range(count):
            connection = w.send(path, KINDS[i % len(KINDS)], flags=0 if i % 2 else wire.BODY_WHOLE)
            if i % 3:
                connection.recv(10)
            connection.close()

    many(w, path, KINDS, 3000)
    eventually(lambda: len(w.descriptors()) == OWN)
    leave(1500)
    before = w.memory()
    leave(1500)
    assert many(w, path, ["/"], 200) == []
    eventually(lambda: len(w.descriptors()) == OWN)
    assert w.memory() - before < 1024


def test_thousands_at_once_are_all_served(worker, script):
    path = script(APP)
    w = worker(threads=5)
    w.listener.listen(4096)
    connections = [w.send(path) for _ in range(900)]
    for connection in connections:
        assert w.answer(connection).body == b"hello"
        connection.close()
