"""wsgi.input."""

import threading

import pytest
import wire

APP = """
    import hashlib
    def application(environ, start_response):
        i = environ["wsgi.input"]
        try:
            result = eval(environ["QUERY_STRING"], {"i": i, "hashlib": hashlib})
        except OSError as error:
            result = f"OSError {error.errno} {error}"
        start_response("200 OK", [])
        return [repr(result).encode()]
"""


@pytest.fixture
def ask(worker, script):
    path = script(APP)
    w = worker()

    def ask(expression, **more):
        return w.get(path, environ={"QUERY_STRING": expression}, method="POST", **more)

    ask.worker, ask.path = w, path
    return ask


def body(*pieces, end=wire.frame(wire.BODY_END)):
    return [*(wire.frame(wire.BODY, piece) for piece in pieces), end]


def test_a_body_that_came_with_the_request(ask):
    data = b"one\ntwo\n\nlast"
    for expression, result in [
        ("i.read()", data), ("i.read(-1)", data), ("i.read(None)", data), ("i.read(3)", b"one"),
        ("(i.read(3), i.read(1), i.read(100), i.read(), i.read(5))", (b"one", b"\n", data[4:], b"", b"")),
        ("i.readline()", b"one\n"), ("i.readline(2)", b"on"), ("i.readline(0)", b""),
        ("i.readlines()", [b"one\n", b"two\n", b"\n", b"last"]),
        ("i.readlines(5)", [b"one\n", b"two\n"]), ("list(i)", [b"one\n", b"two\n", b"\n", b"last"]),
        ("(next(i), i.read(2), i.close(), i.read())", (b"one\n", b"tw", None, b"o\n\nlast")),
        ("[n for n in ('fileno', 'seek', 'tell', 'readinto') if hasattr(i, n)]", []),
    ]:
        answer = ask(expression, body=data)
        assert answer.body == repr(result).encode(), (expression, answer.log)
        assert wire.PULL not in answer.kinds
    assert "TypeError" in ask("i.read('x')", body=data).log
    assert "TypeError" in ask("i.read(1, 2)", body=data).log
    assert "TypeError" in ask("type(i)()").log


def test_the_rest_is_pulled_at_the_first_read_beyond_and_not_before(ask):
    supply = body(b"lo wor", b"", b"ld\nmore")
    for expression, pulled in [("i.read(3)", 0), ("i.readline(2)", 0), ("1", 0), ("i.read(4)", 1),
                               ("i.readline()", 1), ("i.read()", 1), ("(i.read(5), i.read())", 1)]:
        answer = ask(expression, body=b"hel", supply=supply, flags=0)
        assert (expression, answer.kinds.count(wire.PULL)) == (expression, pulled)
    assert ask("i.readline()", body=b"hel", supply=supply, flags=0).body == repr(b"hello world\n").encode()
    assert ask("i.read()", body=b"hel", supply=supply, flags=0).body == repr(b"hello world\nmore").encode()
    assert ask("list(i)", body=b"hel", supply=supply, flags=0).body == repr([b"hello world\n", b"more"]).encode()


def test_reading_nothing_first_asks_for_the_body(ask):
    answer = ask("(i.read(0), i.read())", supply=body(b"x"), flags=0)
    assert answer.kinds[0] == wire.PULL and answer.body == repr((b"", b"x")).encode()


def test_a_huge_body_in_many_frames(ask):
    piece = bytes(range(256)) * 1000
    supply = body(*[piece] * 200)
    whole = "hashlib.md5(i.read()).hexdigest()"
    parts = "[len(b) for b in iter(lambda: i.read(1000003), b'')]"
    import hashlib
    assert ask(whole, supply=supply, flags=0).body.decode() == repr(hashlib.md5(piece * 200).hexdigest())
    sizes = eval(ask(parts, supply=supply, flags=0).body)
    assert sum(sizes) == len(piece) * 200 and set(sizes[:-1]) == {1000003}


def test_failures_are_oserrors_with_a_text_and_stay(ask):
    def failed(reason):
        return body(b"part", end=wire.frame(wire.BODY_FAILED, bytes([reason])))

    for reason, words in [(1, "closed its connection"), (2, "time limit"), (3, "LimitRequestBody"),
                          (4, "framing")]:
        answer = ask("(i.read(4), i.read())", supply=failed(reason), flags=0)
        assert answer.body.startswith(b'"OSError') or answer.body.startswith(b"'OSError")
        assert words in answer.body.decode()
    answer = ask("i.read()", supply=[wire.frame(wire.END, b"\0" * 25)], flags=0)
    assert b"something else" in answer.body
    answer = ask("i.read()", supply=[b"\xff" * 8], flags=0)
    assert b"something else" in answer.body


def test_a_connection_that_ends_within_the_body(ask, worker):
    w = ask.worker
    connection = w.send(ask.path, environ={"QUERY_STRING": "i.read()"}, method="POST", flags=0)
    assert connection.recv(8) == wire.frame(wire.PULL)
    connection.sendall(wire.frame(wire.BODY, b"x" * 10)[:12])
    connection.shutdown(1)
    answer = w.answer(connection)
    connection.close()
    assert b"ended before the request body was complete" in answer.body


def test_an_answer_without_reading_leaves_the_body_alone(ask):
    answer = ask("'no'", body=b"abc", flags=0)
    assert answer.kinds == [wire.HEAD, wire.DATA, wire.END]


def test_both_directions_at_once(worker, script):
    path = script("""
    import threading
    def application(environ, start_response):
        total = []
        def read():
            total.append(len(environ["wsgi.input"].read()))
        reader = threading.Thread(target=read)
        write = start_response("200 OK", [])
        reader.start()
        for _ in range(64):
            write(b"x" * 65536)
        reader.join()
        return [b"%d" % total[0]]
    """)
    w = worker()
    answer = w.get(path, supply=body(*[b"y" * 65536] * 64), flags=0, method="POST")
    assert answer.body == b"x" * (64 * 65536) + b"%d" % (64 * 65536)


def test_continue_goes_out_with_the_applications_headers(worker, script):
    path = script("""
    def application(environ, start_response):
        i = environ["wsgi.input"]
        how = environ["QUERY_STRING"]
        if "set" in how:
            i.set_hundred_continue_response_headers([("X-Own", "1")])
        if "send" in how:
            i.send_hundred_continue_response()
            i.send_hundred_continue_response()
        data = i.read() if "read" in how else b"unread"
        start_response("200 OK", [])
        return [data]
    """)
    w = worker()

    def kinds(how, flags):
        answer = w.get(path, environ={"QUERY_STRING": how}, supply=body(b"x"), flags=flags)
        return answer.kinds, [(i.status, i.fields) for i in answer.interims]

    tail = [wire.HEAD, wire.DATA, wire.END]
    expects = wire.EXPECTS_CONTINUE
    own = (100, [("X-Own", "1")])
    assert kinds("read", expects) == ([wire.PULL, *tail], [])
    assert kinds("set", expects) == (tail, [])
    assert kinds("set read", expects) == ([wire.INTERIM, wire.PULL, *tail], [own])
    # Each call sends one, as with eventlet; the read none after that.
    twice = [wire.INTERIM, wire.INTERIM]
    assert kinds("set send read", expects) == ([*twice, wire.PULL, *tail], [own, own])
    assert kinds("send", expects) == ([*twice, *tail], [(100, []), (100, [])])
    assert kinds("set send read", 0) == ([wire.PULL, *tail], [])


def test_a_thread_that_still_reads_at_the_end_is_woken(worker, script):
    path = script("""
    import threading
    result = []
    def application(environ, start_response):
        global thread
        if environ["PATH_INFO"] == "/result":
            thread.join(10)
            start_response("200 OK", [])
            return [repr(result).encode()]
        def read():
            try:
                environ["wsgi.input"].read()
            except (OSError, RuntimeError) as error:
                result.append(type(error).__name__)
        thread = threading.Thread(target=read)
        thread.start()
        import time; time.sleep(0.2)
        start_response("200 OK", [])
        return [b"done"]
    """)
    w = worker()
    assert w.get(path, flags=0).body == b"done"
    assert w.get(path, "/result").body in (b"['OSError']", b"['RuntimeError']")
