"""start_response, write, and what becomes of what the application returns."""

import os
import stat

import pytest
import wire

APP = """
    import io, os, sys
    seen = []

    class Closing:
        def __init__(self, items):
            self.items = iter(items)
        def __iter__(self):
            return self
        def __next__(self):
            return next(self.items)
        def close(self):
            seen.append("closed")

    def application(environ, start_response):
        return globals()[environ["PATH_INFO"].strip("/")](environ, start_response)
"""


@pytest.fixture
def app(worker, script):
    """A worker and a function that calls a function of a script in it."""

    def make(source, **setup):
        path = script(APP + source)
        w = worker(**setup)

        def call(name, **more):
            return w.get(path, f"/{name}", **more)

        call.worker, call.path = w, path
        return call

    return make


def test_a_small_list_is_one_message_of_head_data_and_end(app):
    call = app("""
    def one(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain"), ("X-A", "1"), ("X-A", "2")])
        return [b"hello"]
    def several(environ, start_response):
        start_response("201 Created", [])
        return (b"a", b"", b"bc")
    def none(environ, start_response):
        start_response("204 No Content", [])
        return []
    """)
    with call.worker.send(call.path, "/one") as connection:
        data = connection.recv(1 << 16)
    answer = call("one")
    assert len(data) == sum(8 + len(payload) for _, payload in answer.frames)
    assert answer.kinds == [wire.HEAD, wire.DATA, wire.END]
    assert answer.headers == [("Content-Type", "text/plain"), ("X-A", "1"), ("X-A", "2")]
    assert (answer.status, answer.head.reason, answer.body) == (200, b"OK", b"hello")
    end = answer.end
    assert (end["broken"], end["pid"], 1 <= end["thread"] <= 2) == (False, call.worker.pid, True)
    assert end["queue_time"] < 10_000_000
    assert (call("several").status, call("several").body) == (201, b"abc")
    assert call("none").kinds == [wire.HEAD, wire.END]


def test_a_generators_chunks_leave_as_they_are_made(app):
    call = app("""
    import threading
    go = threading.Event()
    def chunks(environ, start_response):
        start_response("200 OK", [])
        yield b""
        yield b"first"
        go.wait(10)
        yield b"second"
    def release(environ, start_response):
        go.set()
        start_response("200 OK", [])
        return [b"ok"]
    """)
    with call.worker.send(call.path, "/chunks") as connection:
        connection.settimeout(5)
        first = connection.recv(1 << 16)
        assert first.endswith(b"first")
        assert call("release").body == b"ok"
        rest = call.worker.answer(connection)
    assert (rest.body, rest.complete) == (b"second", True)


def test_write_and_the_returned_items_follow_each_other(app):
    call = app("""
    def both(environ, start_response):
        write = start_response("200 OK", [])
        write(b"")
        write(b"a"); write(b"b")
        return [b"c"]
    def text(environ, start_response):
        start_response("200 OK", [])("text")
    """)
    answer = call("both")
    assert (answer.body, answer.kinds[0], answer.complete) == (b"abc", wire.HEAD, True)
    assert call("text").fail[0] == 500


def test_a_large_body_arrives_whole(app):
    call = app("""
    def big(environ, start_response):
        start_response("200 OK", [])
        return [b"x" * (5 << 20), b"y" * 100, b"z" * 70000]
    def stream(environ, start_response):
        start_response("200 OK", [])
        for i in range(200):
            yield bytes([i]) * 50000
    """)
    assert call("big").body == b"x" * (5 << 20) + b"y" * 100 + b"z" * 70000
    assert call("stream").body == b"".join(bytes([i]) * 50000 for i in range(200))


def test_close_is_called_whatever_happens_but_not_when_the_call_itself_raised(app):
    call = app("""
    def fine(environ, start_response):
        start_response("200 OK", [])
        return Closing([b"x"])
    def wrong(environ, start_response):
        start_response("200 OK", [])
        return Closing([b"x", "text"])
    def late(environ, start_response):
        def items():
            yield b"x"
            1 / 0
        start_response("200 OK", [])
        return Closing(items())
    def unstarted(environ, start_response):
        return Closing([b"x"])
    def raising(environ, start_response):
        class Bad(Closing):
            def close(self):
                seen.append("closed")
                raise KeyError("in close")
        start_response("200 OK", [])
        return Bad([b"x"])
    def count(environ, start_response):
        body = str(len(seen)).encode()
        start_response("200 OK", [])
        return [body]
    """)
    assert call("fine").complete
    wrong = call("wrong")
    assert (wrong.end["broken"], "TypeError" in wrong.log) == (True, True)
    assert "ZeroDivisionError" in call("late").log
    unstarted = call("unstarted")
    assert unstarted.fail[0] == 500 and "start_response" in unstarted.log
    raising = call("raising")
    assert raising.complete and "KeyError: 'in close'" in raising.log
    assert call("count").body == b"5"


def test_an_error_before_the_head_is_a_failure_and_after_it_a_broken_end(app):
    call = app("""
    def before(environ, start_response):
        raise ValueError("before")
    def with_head(environ, start_response):
        start_response("200 OK", [])
        raise ValueError("with head")
    def after(environ, start_response):
        start_response("200 OK", [])
        yield b"part"
        raise ValueError("after")
    def leaving(environ, start_response):
        sys.exit(3)
    def notiterable(environ, start_response):
        start_response("200 OK", [])
        return 5
    def bare(environ, start_response):
        start_response("200 OK", [])
        return b"bytes"
    def mixed(environ, start_response):
        start_response("200 OK", [])
        return [b"bytes", "text"]
    def deep(environ, start_response):
        return deep(environ, start_response)
    """)
    for name, words in [
        ("before", "ValueError: before"), ("with_head", "ValueError: with head"),
        ("leaving", "SystemExit: 3"), ("notiterable", "not iterable"), ("bare", "not int"),
        ("deep", "RecursionError"), ("mixed", "not str"),
    ]:
        answer = call(name)
        assert answer.fail == (500, "")
        assert len(answer.logs) == 1 and words in answer.log
        assert ("WSGI0175" if name == "leaving" else "WSGI0174") in answer.log
        assert str(call.path) in answer.log and "process group 'shop'" in answer.log
    answer = call("after")
    assert (answer.status, answer.body, answer.end["broken"]) == (200, b"part", True)
    assert answer.kinds == [wire.HEAD, wire.DATA, wire.LOG, wire.END]
    assert "ValueError: after" in answer.log and answer.log.count("Traceback") == 1


def test_start_response_checks_at_the_call(app):
    call = app('''
    CASES = {
        "status_type": (TypeError, 200, []),
        "status_bytes": (TypeError, b"200 OK", []),
        "status_short": (ValueError, "20", []),
        "status_long": (ValueError, "2000 OK", []),
        "status_text": (ValueError, "OK", []),
        "status_control": (ValueError, "200 a\\r\\nX: 1", []),
        "status_interim": (ValueError, "100 Continue", []),
        "status_unicode": (UnicodeEncodeError, "200 \\u20ac", []),
        "headers_tuple": (TypeError, "200 OK", ()),
        "header_list": (TypeError, "200 OK", [["a", "b"]]),
        "header_three": (ValueError, "200 OK", [("a", "b", "c")]),
        "name_bytes": (TypeError, "200 OK", [(b"a", "b")]),
        "value_int": (TypeError, "200 OK", [("a", 1)]),
        "name_empty": (ValueError, "200 OK", [("", "b")]),
        "name_blank": (ValueError, "200 OK", [("a b", "b")]),
        "name_colon": (ValueError, "200 OK", [("a:", "b")]),
        "value_crlf": (ValueError, "200 OK", [("a", "b\\r\\nc: d")]),
        "value_nul": (ValueError, "200 OK", [("a", "b\\0")]),
        "value_unicode": (UnicodeEncodeError, "200 OK", [("a", "\\u20ac")]),
        "length_sign": (ValueError, "200 OK", [("Content-Length", "-5")]),
        "length_twice": (ValueError, "200 OK", [("Content-Length", "5"), ("Content-Length", "6")]),
        "long": (ValueError, "200 OK", [("a", "b" * 70000)]),
        "many": (ValueError, "200 OK", [("a", "b")] * 1001),
    }
    def check(environ, start_response):
        wrong = []
        for name, (kind, status, headers) in CASES.items():
            try:
                start_response(status, headers)
            except Exception as error:
                if type(error) is not kind or not str(error):
                    wrong.append((name, repr(error)))
            else:
                wrong.append((name, "no exception"))
        start_response("200", [("X-\\u00e4"[:2] + "Own", "\\u00e4")])
        return [repr(wrong).encode()]
    ''')
    answer = call("check")
    assert answer.body == b"[]", answer.log
    assert (answer.status, answer.head.reason, answer.headers) == (200, b"", [("X-Own", "\u00e4")])


def test_start_response_twice_exc_info_and_after_the_end(app):
    call = app("""
    kept = []
    def twice(environ, start_response):
        start_response("200 OK", [("X-First", "1")])
        start_response("404 Not Found", [("X-Second", "1")])
        return [b"x"]
    def replaced(environ, start_response):
        start_response("200 OK", [])
        try:
            raise ValueError("late")
        except ValueError:
            start_response("500 Oops", [], sys.exc_info())
        return [b"sorry"]
    def reraised(environ, start_response):
        start_response("200 OK", [])
        yield b"part"
        try:
            raise ValueError("too late")
        except ValueError:
            start_response("500 Oops", [], sys.exc_info())
        yield b"never"
    def again(environ, start_response):
        start_response("200 OK", [])(b"part")
        start_response("200 OK", [])
    def wrong(environ, start_response):
        try:
            start_response("200 OK", [], "exc")
        except RuntimeError as error:
            start_response("200 OK", [])
            return [b"refused"]
    def keep(environ, start_response):
        kept.append((start_response, start_response("200 OK", []), environ))
        return [b"kept"]
    def use(environ, start_response):
        begin, write, old = kept.pop()
        lines = []
        for action in (lambda: begin("200 OK", []), lambda: write(b"x"), lambda: old["wsgi.input"].read(),
                       lambda: old["wsgi.errors"].write("x"), lambda: old["wsgi.early_hints"]([])):
            try:
                action()
            except RuntimeError as error:
                lines.append(str(error))
        start_response("200 OK", [])
        return ["\\n".join(lines).encode()]
    """)
    twice = call("twice")
    assert (twice.status, twice.headers) == (404, [("X-Second", "1")])
    assert (call("replaced").status, call("replaced").body) == (500, b"sorry")
    reraised = call("reraised")
    assert (reraised.body, reraised.end["broken"]) == (b"part", True)
    assert "ValueError: too late" in reraised.log
    again = call("again")
    assert again.end["broken"] and "RuntimeError" in again.log
    assert call("wrong").body == b"refused"
    assert call("keep").body == b"kept"
    used = call("use")
    assert used.body.count(b"\n") == 4 and used.body.count(b"ended") == 5


def test_the_declared_length_bounds_the_body(app):
    call = app("""
    def more(environ, start_response):
        start_response("200 OK", [("Content-Length", "3")])
        return [b"ab", b"cdef"]
    def stream(environ, start_response):
        start_response("200 OK", [("Content-Length", "3")])
        yield b"abcdef"
        yield b"ghi"
    def less(environ, start_response):
        start_response("200 OK", [("Content-Length", "10")])
        return [b"abc"]
    def unmodified(environ, start_response):
        start_response("304 Not Modified", [("Content-Length", "10")])
        return [b"abc"]
    """)
    for name in ("more", "stream"):
        assert (call(name).body, call(name).complete) == (b"abc", True)
    less = call("less")
    assert (less.body, less.end["broken"]) == (b"abc", True) and "7 bytes" in less.log
    assert (call("unmodified").body, call("unmodified").complete) == (b"", True)
    head = call("less", method="HEAD", flags=wire.BODY_WHOLE | wire.IS_HEAD)
    assert (head.body, head.complete) == (b"", True)
    assert head.headers == [("Content-Length", "10")]


def test_hop_by_hop_headers_never_leave(app):
    call = app("""
    def hop(environ, start_response):
        names = ["Connection", "Keep-Alive", "Transfer-Encoding", "TE", "Trailer", "Upgrade",
                 "Proxy-Authenticate", "proxy-connection"]
        start_response("200 OK", [(name, "chunked") for name in names] + [("X-Own", "1")])
        return [b"x"]
    """)
    said = call("hop")
    assert said.headers == [("X-Own", "1")]


def test_a_wish_to_close_the_connection_is_passed_on(app):
    call = app("""
    def closing(environ, start_response):
        start_response("200 OK", [("connection", "Close, X-Own")])
        return [b"x"]
    """)
    assert call("closing").headers == [("Connection", "close")]


FILES = """
    def wrapped(environ, start_response, headers=(), at=0, size=None):
        f = open(environ["QUERY_STRING"], "rb")
        f.seek(at)
        start_response("200 OK", list(headers))
        w = environ["wsgi.file_wrapper"](f) if size is None else environ["wsgi.file_wrapper"](f, size)
        return w
    def plain(environ, start_response):
        return wrapped(environ, start_response)
    def middle(environ, start_response):
        return wrapped(environ, start_response, at=5)
    def cut(environ, start_response):
        return wrapped(environ, start_response, [("Content-Length", "4")])
    def beyond(environ, start_response):
        return wrapped(environ, start_response, [("Content-Length", "40")])
    def memory(environ, start_response):
        start_response("200 OK", [])
        return environ["wsgi.file_wrapper"](io.BytesIO(b"m" * 20000), 7000)
    def pipe(environ, start_response):
        r, w = os.pipe()
        os.write(w, b"through a pipe")
        os.close(w)
        start_response("200 OK", [])
        return environ["wsgi.file_wrapper"](os.fdopen(r, "rb"))
    def written(environ, start_response):
        start_response("200 OK", [])(b"before ")
        return environ["wsgi.file_wrapper"](open(environ["QUERY_STRING"], "rb"))
    def unstarted(environ, start_response):
        return environ["wsgi.file_wrapper"](open(environ["QUERY_STRING"], "rb"))
    def subclass(environ, start_response):
        import mod_wsgi
        class Own(mod_wsgi.FileWrapper):
            pass
        start_response("200 OK", [])
        return Own(filelike=open(environ["QUERY_STRING"], "rb"), blksize=3)
    def about(environ, start_response):
        w = environ["wsgi.file_wrapper"]
        lines = []
        try:
            w(None, -1)
        except ValueError:
            lines.append("negative")
        class Bad:
            def read(self, n): return "text"
            def close(self): raise ValueError("swallowed")
        bad = w(Bad(), 5)
        lines.append((bad.blksize, type(bad.filelike).__name__))
        try:
            next(iter(bad))
        except TypeError:
            lines.append("text")
        bad.close()
        try:
            bad.filelike
        except ValueError:
            lines.append("closed")
        try:
            bad.blksize = 1
        except AttributeError:
            lines.append("readonly")
        start_response("200 OK", [])
        return [repr(lines).encode()]
"""


def test_a_regular_file_travels_as_a_descriptor(app, tmp_path):
    call = app(FILES)
    file = tmp_path / "data"
    file.write_bytes(b"0123456789")
    environ = {"QUERY_STRING": str(file)}
    for name, offset, length, headers, broken in [
        ("plain", 0, 10, [("Content-Length", "10")], False),
        ("middle", 5, 5, [("Content-Length", "5")], False),
        ("cut", 0, 4, [("Content-Length", "4")], False),
        ("beyond", 0, 10, [("Content-Length", "40")], True),
        ("subclass", 0, 10, [("Content-Length", "10")], False),
    ]:
        answer = call(name, environ=environ)
        (descriptor,) = answer.files
        assert stat.S_ISREG(os.fstat(descriptor).st_mode)
        assert os.pread(descriptor, 100, 0) == b"0123456789"
        os.close(descriptor)
        (frame,) = answer.of(wire.FILE)
        assert (name, frame) == (name, offset.to_bytes(8, "little") + length.to_bytes(8, "little"))
        assert (answer.headers, answer.end["broken"], answer.body) == (headers, broken, b"")
    head = call("plain", environ=environ, method="HEAD", flags=wire.BODY_WHOLE | wire.IS_HEAD)
    assert (head.files, head.complete, head.headers) == ([], True, [("Content-Length", "10")])


def test_what_is_no_regular_file_is_read(app, tmp_path):
    call = app(FILES)
    file = tmp_path / "data"
    file.write_bytes(b"0123456789")
    environ = {"QUERY_STRING": str(file)}
    memory = call("memory")
    assert memory.body == b"m" * 20000
    assert [len(data) for data in memory.of(wire.DATA)] == [7000, 7000, 6000]
    assert call("pipe").body == b"through a pipe"
    assert call("written", environ=environ).body == b"before 0123456789"
    assert call("unstarted", environ=environ).fail[0] == 500
    assert call("about").body == repr(
        ["negative", (5, "Bad"), "text", "closed", "readonly"]).encode()


def test_interim_responses(app):
    call = app("""
    def hints(environ, start_response):
        hint = environ["wsgi.early_hints"]
        hint([("Link", "</a.css>; rel=preload")])
        hint((("Link", "</b.css>; rel=preload"),))
        try:
            hint([("Link", "a\\r\\nb")])
        except ValueError:
            pass
        start_response("200 OK", [])
        yield b"x"
        hint([("Link", "late")])
    """)
    answer = call("hints")
    assert answer.kinds == [wire.INTERIM, wire.INTERIM, wire.HEAD, wire.DATA, wire.END]
    assert [(i.status, i.fields) for i in answer.interims] == [
        (103, [("Link", "</a.css>; rel=preload")]), (103, [("Link", "</b.css>; rel=preload")])]
    old = call("hints", flags=wire.BODY_WHOLE | wire.HTTP_1_0)
    assert old.kinds == [wire.HEAD, wire.DATA, wire.END]


def test_a_client_that_leaves_ends_iteration_quietly_and_write_with_oserror(app):
    call = app("""
    import threading, time
    ended = threading.Event()
    def endless(environ, start_response):
        start_response("200 OK", [])
        try:
            while True:
                yield b"x" * 100000
        finally:
            ended.set()
    def writes(environ, start_response):
        write = start_response("200 OK", [])
        try:
            while True:
                write(b"x" * 100000)
        except OSError as error:
            seen.append(str(error))
            ended.set()
            raise
    def wait(environ, start_response):
        ended.wait(10)
        ended.clear()
        start_response("200 OK", [])
        return [repr(seen).encode()]
    """)
    for name in ("endless", "writes"):
        connection = call.worker.send(call.path, f"/{name}")
        connection.recv(1000)
        connection.close()
        waited = call("wait")
    assert b"client closed its connection" in waited.body
    assert "Traceback" not in call.worker.log and "OSError" not in call.worker.log


def test_the_validator_finds_nothing(app):
    call = app("""
    from wsgiref.validate import validator
    def inner(environ, start_response):
        environ["wsgi.input"].read(3)
        environ["wsgi.input"].readline()
        environ["wsgi.errors"].write("")
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"valid"]
    checked = validator(inner)
    def get(environ, start_response):
        return checked(environ, start_response)
    """)
    for method, body in [("GET", b""), ("POST", b"a=1\nb=2\n"), ("PUT", b"x"), ("HEAD", b"")]:
        environ = {"CONTENT_LENGTH": str(len(body))} if body else {}
        answer = call("get", method=method, body=body, environ=environ)
        if method == "HEAD":
            continue
        assert (answer.status, answer.body) == (200, b"valid"), answer.log
