"""What becomes of an application's answer (issue 2, point 5)."""

import pytest


@pytest.fixture
def run(httpd):
    """Serve the body of an application: `environ`, `start_response` and `done` are in scope."""
    def serve(body, *lines, options="threads=2", top=""):
        indented = "\n".join("    " + line for line in body.strip("\n").splitlines())
        httpd.app("case.wsgi", f"import sys, os, time\n{top}\n\ndef application(environ, start_response):\n{indented}\n")
        return httpd.serve("case.wsgi", *lines, options=options)

    return serve


def test_status_headers_and_body_arrive_as_given(run):
    answer = run("""
start_response("201 Made Here", [("Content-Type", "text/x-own"), ("X-One", "1"), ("Content-Length", "4")])
return [b"made"]
""").get("/")
    assert (answer.status, answer.reason) == (201, "Made Here")
    assert answer["Content-Type"] == "text/x-own"
    assert answer["X-One"] == "1"
    assert (answer.body, answer.framing, answer.complete) == (b"made", "length", True)


def test_an_answer_without_length_is_chunked_and_ends_properly(run):
    answer = run("""
start_response("200 OK", [])
return iter([b"one", b"", b"two"])
""").get("/")
    assert (answer.body, answer.framing, answer.complete) == (b"onetwo", "chunked", True)


def test_an_empty_answer_is_complete(run):
    answer = run("""
start_response("200 OK", [("Content-Type", "text/plain")])
return []
""").get("/")
    assert (answer.status, answer.body, answer.complete) == (200, b"", True)


def test_each_cookie_is_a_header_of_its_own(run):
    answer = run("""
start_response("200 OK", [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2; Path=/"), ("Set-Cookie", "c=3")])
return [b""]
""").get("/")
    assert answer.all("Set-Cookie") == ["a=1", "b=2; Path=/", "c=3"]


def test_header_values_travel_in_latin_1(run):
    answer = run("""
start_response("200 OK", [("X-Name", "k\\xf6ln")])
return [b""]
""").get("/")
    assert answer["X-Name"] == "k\xf6ln"


def test_a_piece_is_sent_before_the_next_one_is_made(run):
    httpd = run("""
start_response("200 OK", [])
if environ["PATH_INFO"] == "/go":
    go.set()
else:
    yield b"first"
    assert go.wait(10)
    yield b"second"
""", top="import threading\ngo = threading.Event()")
    with httpd.connect() as connection:
        connection.send_request("GET", "/")
        assert connection.head().status == 200
        assert (connection.line(), connection.line()) == (b"5", b"first")
        httpd.get("/go")
        assert (connection.line(), connection.line()) == (b"6", b"second")


@pytest.mark.differs("both-directions-at-once", run=False)
def test_a_piece_is_sent_while_the_client_still_holds_its_body_back(run):
    httpd = run("""
start_response("200 OK", [])
yield b"first"
yield environ["wsgi.input"].read(1)
""")
    with httpd.connect() as connection:
        # A short body of known length would be waited for before the application is asked.
        connection.send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert connection.head().status == 200
        assert (connection.line(), connection.line()) == (b"5", b"first")
        connection.send(b"1\r\n!\r\n0\r\n\r\n")
        assert (connection.line(), connection.line()) == (b"1", b"!")


def test_write_sends_before_what_is_returned(run):
    answer = run("""
write = start_response("200 OK", [])
write(b"one ")
write(b"two ")
return [b"three"]
""").get("/")
    assert answer.body == b"one two three"


def test_a_large_answer_arrives_whole(run):
    answer = run("""
start_response("200 OK", [])
return (bytes([n % 256]) * 65536 for n in range(160))
""").get("/")
    assert answer.complete
    assert answer.body == b"".join(bytes([n % 256]) * 65536 for n in range(160))


def test_many_small_pieces_arrive_whole_and_in_order(run):
    answer = run("""
start_response("200 OK", [])
return (b"%d " % n for n in range(5000))
""").get("/")
    assert answer.body == b"".join(b"%d " % n for n in range(5000))


def test_head_has_no_body_and_the_application_sees_it(run):
    httpd = run("""
start_response("200 OK", [("Content-Length", "5"), ("X-Method", environ["REQUEST_METHOD"])])
return [b"hello"]
""")
    with httpd.connect() as connection:
        connection.send_request("HEAD", "/")
        answer = connection.response("HEAD")
        assert (answer.status, answer["Content-Length"], answer["X-Method"]) == (200, "5", "HEAD")
        connection.send_request("GET", "/")
        assert connection.response().body == b"hello"


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_an_answer_that_has_no_body_leaves_the_connection_usable(run, status):
    httpd = run(f"""
start_response("{status}", [("X-One", "1")])
return [b"ignored"] if environ["PATH_INFO"] == "/body" else []
""")
    with httpd.connect() as connection:
        for path in ("/", "/body", "/"):
            connection.send_request("GET", path)
            assert connection.response().status == int(status[:3])


def test_an_error_status_of_the_application_keeps_its_body(run):
    answer = run("""
start_response("404 Not Here", [("Content-Type", "text/plain")])
return [b"mine"]
""", "ErrorDocument 404 theirs").get("/")
    assert (answer.status, answer.body) == (404, b"mine")


def test_an_http_1_0_client_gets_the_answer_and_the_end_of_the_connection(run):
    answer = run("""
start_response("200 OK", [])
return iter([b"one", b"two"])
""").get("/", version="HTTP/1.0")
    assert (answer.body, answer.framing) == (b"onetwo", "close")


# -- start_response ----------------------------------------------------------------------------

CALLS = [
    ('"200 OK", (("A", "b"),)', "TypeError"),
    ('"200 OK", [["A", "b"]]', "TypeError"),
    ('"200 OK", [("A",)]', "ValueError"),
    ('"200 OK", [("A", "b", "c")]', "ValueError"),
    ('"200 OK", [("A", 1)]', "TypeError"),
    ('"200 OK", [(b"A", "b")]', "TypeError"),
    ('"200 OK", [("A", "\\u20ac")]', "UnicodeEncodeError"),
    ('"200 OK", [("", "b")]', "ValueError"),
    ('"200 OK", [("A B", "b")]', "ValueError"),
    ('"200 OK", [("A\\x01", "b")]', "ValueError"),
    ('"200 OK", [("A", "b\\r\\nX-Evil: 1")]', "ValueError"),
    ('"200 OK", [("A", "b\\nc")]', "ValueError"),
    ('200, []', "TypeError"),
    ('b"200 OK", []', "TypeError"),
    ('"OK", []', "ValueError"),
    ('"20 OK", []', "ValueError"),
    ('"2000 OK", []', "ValueError"),
    ('"200-OK", []', "ValueError"),
    ('"200 O\\r\\nK", []', "ValueError"),
    ('"200 OK", [], "no tuple"', "RuntimeError"),
]


@pytest.mark.parametrize("call, error", CALLS, ids=[call for call, _ in CALLS])
def test_start_response_refuses(run, call, error):
    answer = run(f"""
try:
    start_response({call})
except Exception as problem:
    start_response("200 OK", [])
    return [type(problem).__name__.encode()]
return [b"taken"]
""").get("/")
    assert answer.text == error


@pytest.mark.differs("controls-in-headers")
def test_start_response_refuses_a_nul_in_a_value(run):
    answer = run("""
try:
    start_response("200 OK", [("A", "b\\x00c")])
except ValueError:
    start_response("200 OK", [])
    return [b"ValueError"]
return [b"taken"]
""").get("/")
    assert answer.text == "ValueError"


def test_a_status_without_reason_is_taken(run):
    assert run("""
start_response("200", [])
return [b"yes"]
""").get("/").text == "yes"


def test_headers_may_be_a_subclass_of_list(run):
    assert run("""
class Headers(list): pass
start_response("200 OK", Headers([("X-One", "1")]))
return [b"yes"]
""").get("/")["X-One"] == "1"


def test_start_response_may_be_called_again_before_the_head_is_out(run):
    answer = run("""
start_response("200 OK", [("X-One", "1")])
start_response("202 Later", [("X-Two", "2")])
return [b"x"]
""").get("/")
    assert answer.status == 202
    assert (answer.all("X-One"), answer.all("X-Two")) == ([], ["2"])


def test_start_response_with_exc_info_replaces_before_the_head_is_out(run):
    answer = run("""
start_response("200 OK", [])
try:
    raise KeyError("x")
except KeyError:
    start_response("500 Own", [("X-Mine", "1")], sys.exc_info())
return [b"own page"]
""").get("/")
    assert (answer.status, answer.body) == (500, b"own page")


def test_start_response_with_exc_info_raises_it_again_after_the_head(run):
    httpd = run("""
write = start_response("200 OK", [("Content-Length", "7")])
write(b"abc")
try:
    raise KeyError("own")
except KeyError:
    try:
        start_response("500 Own", [], sys.exc_info())
    except KeyError as error:
        print("raised again", error, file=sys.stderr)
return [b"defg"]
""")
    httpd.get("/")
    httpd.error_log.expect("raised again 'own'")


def test_start_response_after_the_head_without_exc_info_is_a_runtime_error(run):
    httpd = run("""
write = start_response("200 OK", [])
write(b"abc")
try:
    start_response("500 Own", [])
except RuntimeError:
    return [b" RuntimeError"]
return [b" taken"]
""")
    assert httpd.get("/").text == "abc RuntimeError"


@pytest.mark.parametrize("late", ['start_response("200 OK", [])', 'write(b"late")'])
def test_nothing_can_be_said_after_the_request(run, late):
    httpd = run(f"""
if environ["PATH_INFO"] == "/keep":
    kept.append((start_response, start_response("200 OK", [("Content-Length", "4")])))
    return [b"kept"]
own = start_response
start_response, write = kept[0]
try:
    {late}
    said = "taken"
except Exception as error:
    said = type(error).__name__
own("200 OK", [])
return [said.encode()]
""", top="kept = []", options="threads=1")
    with httpd.connect() as connection:
        connection.send_request("GET", "/keep")
        assert connection.response().text == "kept"
        connection.send_request("GET", "/late")
        assert connection.response().text == "RuntimeError"


def test_write_raises_an_oserror_when_the_client_has_gone(run):
    httpd = run("""
write = start_response("200 OK", [])
try:
    for _ in range(10_000):
        write(b"x" * 65536)
except OSError as error:
    print("write raised OSError:", error, file=sys.stderr)
return []
""")
    httpd.error_log.allow("WSGI01", "AH0")
    with httpd.connect() as connection:
        connection.send_request("GET", "/")
        assert connection.head().status == 200
    httpd.error_log.expect("write raised OSError: .+", count=1)


def test_any_subclass_of_bytes_is_a_piece(run):
    answer = run("""
class Piece(bytes): pass
start_response("200 OK", [])
return iter([Piece(b"one"), b"", Piece(b"two")])
""").get("/")
    assert answer.body == b"onetwo" and answer.complete


def test_empty_pieces_do_not_send_the_head(run):
    answer = run("""
start_response("200 OK", [])
yield b""
start_response("202 Changed", [("X-Own", "1")])
yield b"body"
""").get("/")
    assert (answer.status, answer["X-Own"], answer.body) == (202, "1", b"body")


def test_an_answer_without_start_response_is_500(run):
    httpd = run("""
return [b"x"]
""")
    assert httpd.get("/").status == 500
    httpd.error_log.allow("start_response", "RuntimeError", "WSGI0174", "Traceback")
    httpd.error_log.expect("start_response")


@pytest.mark.parametrize("value", ['"text"', "None", "[1]", '["text"]', '"text".encode()'])
def test_a_body_that_is_not_bytes_is_500(run, value):
    httpd = run(f"""
start_response("200 OK", [("Content-Type", "text/plain")])
return {value}
""")
    answer = httpd.get("/")
    assert answer.status == 500 or (answer.status == 200 and not answer.complete)
    httpd.error_log.expect(r"(TypeError|bytes)")
    httpd.error_log.allow("WSGI0", "Traceback", r"\]\s+\S")


def test_write_refuses_what_is_not_bytes(run):
    httpd = run("""
write = start_response("200 OK", [])
try:
    write("text")
except TypeError:
    return [b"TypeError"]
return [b"taken"]
""")
    assert httpd.get("/").text == "TypeError"


# -- close -------------------------------------------------------------------------------------

CLOSER = """
class Body:
    def __init__(self, pieces):
        self.pieces = iter(pieces)
    def __iter__(self):
        return self
    def __next__(self):
        piece = next(self.pieces)
        if isinstance(piece, Exception):
            raise piece
        return piece
    def close(self):
        print("close was called", file=sys.stderr)
"""


@pytest.mark.parametrize("pieces", ['[b"x"]', "[]", '[b"x", ValueError("mid")]', '[ValueError("first")]', '["text"]'])
def test_close_is_always_called_once(run, pieces):
    httpd = run(f"""
start_response("200 OK", [])
return Body({pieces})
""", top=CLOSER)
    httpd.get("/")
    httpd.error_log.allow("WSGI0", "Traceback", "Error", r"\]\s+\S")
    httpd.error_log.expect("close was called", count=1)


def test_close_is_called_when_the_client_has_gone(run):
    httpd = run("""
start_response("200 OK", [])
return Body(b"x" * 65536 for _ in range(1000))
""", top=CLOSER)
    with httpd.connect() as connection:
        connection.send_request("GET", "/")
        assert connection.head().status == 200
    httpd.error_log.expect("close was called", count=1)
    httpd.error_log.allow("WSGI01", "OSError", "client connection closed", "Traceback", r"\]\s+\S")


def test_close_is_called_for_head(run):
    httpd = run("""
start_response("200 OK", [])
return Body([b"x"])
""", top=CLOSER)
    httpd.request("HEAD", "/")
    httpd.error_log.expect("close was called", count=1)


def test_a_failing_close_is_logged_and_the_answer_stands(run):
    httpd = run("""
class Body(list):
    def close(self):
        raise ValueError("in close")
start_response("200 OK", [("Content-Length", "1")])
return Body([b"x"])
""")
    answer = httpd.get("/")
    assert (answer.status, answer.body) == (200, b"x")
    httpd.error_log.expect_traceback("ValueError: in close")


# -- file_wrapper ------------------------------------------------------------------------------

def test_a_file_is_sent_by_the_file_wrapper(run):
    httpd = run("""
start_response("200 OK", [("Content-Type", "application/octet-stream")])
return environ["wsgi.file_wrapper"](open(environ["DOCUMENT_ROOT"] + "/file", "rb"), 1000)
""")
    data = bytes(range(256)) * 4000
    (httpd.root / "htdocs" / "file").write_bytes(data)
    answer = httpd.get("/")
    assert answer.body == data
    assert answer["Content-Length"] == str(len(data))


def test_the_file_wrapper_starts_at_the_file_s_position(run):
    httpd = run("""
file = open(environ["DOCUMENT_ROOT"] + "/file", "rb")
file.seek(3)
start_response("200 OK", [])
return environ["wsgi.file_wrapper"](file)
""")
    (httpd.root / "htdocs" / "file").write_bytes(b"0123456789")
    assert httpd.get("/").body == b"3456789"


def test_the_file_wrapper_sends_what_is_no_file_too(run):
    httpd = run("""
import io
start_response("200 OK", [])
return environ["wsgi.file_wrapper"](io.BytesIO(b"0123456789"), 3)
""")
    assert httpd.get("/").body == b"0123456789"


# -- concurrency -------------------------------------------------------------------------------

def test_requests_wait_for_each_other_in_threads_of_one_process(run):
    httpd = run("""
start_response("200 OK", [])
return [str(barrier.wait(10)).encode()]
""", top="import threading\nbarrier = threading.Barrier(3)", options="threads=3")
    connections = [httpd.connect() for _ in range(3)]
    for connection in connections:
        connection.send_request("GET", "/")
    assert sorted(connection.response().text for connection in connections) == ["0", "1", "2"]
    for connection in connections:
        connection.close()


def test_the_interpreter_is_free_while_a_thread_waits_for_a_client(run):
    httpd = run("""
start_response("200 OK", [])
if environ["PATH_INFO"] == "/slow":
    return [environ["wsgi.input"].read()]
return [b"quick"]
""", options="threads=2")
    with httpd.connect() as connection:
        connection.send(b"POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab")
        assert httpd.get("/quick").text == "quick"
        connection.send(b"cde")
        assert connection.response().text == "abcde"


def test_a_thread_keeps_its_locals_from_request_to_request(run):
    httpd = run("""
local.count = getattr(local, "count", 0) + 1
start_response("200 OK", [])
return [str(local.count).encode()]
""", top="import threading\nlocal = threading.local()", options="threads=1")
    assert [httpd.get("/").text for _ in range(3)] == ["1", "2", "3"]
