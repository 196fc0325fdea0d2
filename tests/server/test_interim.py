"""Interim responses: 100, 102 and 103 (issue 3, point 5; seed 003 of eventlet)."""

import re
import subprocess

import pytest

from waiting import SLACK

HINTS = [("Link", "</a.css>; rel=preload; as=style"), ("X-Own", "1")]


@pytest.fixture
def run(httpd):
    def serve(body, *lines, options="threads=2", top=""):
        indented = "\n".join("    " + line for line in body.strip("\n").splitlines())
        httpd.app("case.wsgi", f"import sys, time, threading\nimport mod_wsgi\n{top}\n\ndef application(environ, start_response):\n{indented}\n")
        return httpd.serve("case.wsgi", *lines, options=options)

    return serve


def interim_of(answer):
    return [(head.status, head.headers) for head in answer.interim]


# -- 102 and 103 -------------------------------------------------------------------------------

TWO = f"""
environ["wsgi.early_hints"]({HINTS!r})
environ["wsgi.early_hints"]([("Link", "</b.js>; rel=preload")])
start_response("200 OK", [("Content-Type", "text/plain"), ("X-Final", "1")])
return [b"body"]
"""


@pytest.mark.differs("interim-responses")
def test_early_hints_arrive_in_order_before_the_response(run):
    answer = run(TWO).get("/")
    assert interim_of(answer) == [(103, HINTS), (103, [("Link", "</b.js>; rel=preload")])]
    assert (answer.status, answer.body, answer["X-Final"]) == (200, b"body", "1")
    assert answer.get("Link") is None and answer.get("X-Own") is None


@pytest.mark.differs("interim-responses")
def test_early_hints_arrive_while_the_application_works(run):
    httpd = run("""
if environ["PATH_INFO"] == "/go":
    go.set()
else:
    environ["wsgi.early_hints"]([("Link", "</a>")])
    assert go.wait(10)
start_response("200 OK", [])
return [b"body"]
""", top="go = threading.Event()")
    with httpd.connect() as connection:
        connection.send_request("GET", "/")
        assert connection.head().status == 103
        httpd.get("/go")
        assert connection.response().body == b"body"


@pytest.mark.differs("interim-responses")
def test_102_and_103_by_a_call_of_our_own(run):
    answer = run("""
said = [mod_wsgi.send_interim(102, []), mod_wsgi.send_interim(103, [("Link", "</a>")])]
start_response("200 OK", [])
yield b""
said.append(mod_wsgi.send_interim(102, []))
yield repr(said).encode()
said.append(mod_wsgi.send_interim(102, []))
yield repr(said).encode()
""").get("/")
    # An empty piece does not send the head yet.
    assert interim_of(answer) == [(102, []), (103, [("Link", "</a>")]), (102, [])]
    assert answer.text == "[True, True, True][True, True, True, False]"


@pytest.mark.differs("interim-responses")
@pytest.mark.parametrize("call, error", [
    ('mod_wsgi.send_interim(100, [])', "ValueError"),
    ('mod_wsgi.send_interim(101, [])', "ValueError"),
    ('mod_wsgi.send_interim(200, [])', "ValueError"),
    ('mod_wsgi.send_interim(-1, [])', "ValueError"),
    ('mod_wsgi.send_interim("103", [])', "TypeError"),
    ('environ["wsgi.early_hints"]([("A", "b\\r\\nX-Evil: 1")])', "ValueError"),
    ('environ["wsgi.early_hints"]([("A", "b\\x00")])', "ValueError"),
    ('environ["wsgi.early_hints"]([("A B", "b")])', "ValueError"),
    ('environ["wsgi.early_hints"]([("A", 1)])', "TypeError"),
    ('environ["wsgi.early_hints"]([("A", "\\u20ac")])', "UnicodeEncodeError"),
    ('environ["wsgi.input"].set_hundred_continue_response_headers([("A", "b\\nc")])', "ValueError"),
])
def test_what_may_not_be_sent_raises_and_nothing_is_sent(run, call, error):
    answer = run(f"""
try:
    {call}
    name = "taken"
except Exception as problem:
    name = type(problem).__name__
start_response("200 OK", [])
return [name.encode()]
""").get("/")
    assert (answer.text, answer.interim) == (error, [])


@pytest.mark.differs("interim-responses")
def test_what_belongs_to_the_connection_is_not_sent(run):
    answer = run("""
environ["wsgi.early_hints"]([("Connection", "close"), ("Transfer-Encoding", "chunked"), ("Content-Length", "3"), ("Link", "</a>")])
start_response("200 OK", [])
return [b"body"]
""").get("/")
    assert interim_of(answer) == [(103, [("Link", "</a>")])]
    assert answer.body == b"body"


@pytest.mark.differs("interim-responses")
def test_a_client_of_http_1_0_gets_none(run):
    httpd = run(TWO.replace('b"body"', 'repr(mod_wsgi.send_interim(103, [])).encode()'))
    raw = httpd.raw(b"GET / HTTP/1.0\r\nHost: x\r\n\r\n")
    assert raw.startswith(b"HTTP/1.1 200") and b" 103" not in raw
    assert raw.endswith(b"False")


@pytest.mark.differs("interim-responses")
def test_after_the_head_hints_are_silent(run):
    answer = run("""
write = start_response("200 OK", [])
write(b"one")
environ["wsgi.early_hints"]([("Link", "</a>")])
return [b"two"]
""").get("/")
    assert (answer.interim, answer.body, answer.complete) == ([], b"onetwo", True)


@pytest.mark.differs("interim-responses")
def test_after_the_request_they_can_not_be_sent(run):
    httpd = run("""
start_response("200 OK", [])
if not kept:
    kept.append(environ["wsgi.early_hints"])
    return [b"kept"]
try:
    kept[0]([("Link", "</a>")])
except RuntimeError:
    return [b"RuntimeError"]
return [b"taken"]
""", top="kept = []")
    httpd.get("/")
    assert httpd.get("/").text == "RuntimeError"


@pytest.mark.differs("interim-responses")
def test_very_many_of_them_end_by_themselves(run):
    answer = run("""
sent = sum(mod_wsgi.send_interim(102, []) for _ in range(1500))
start_response("200 OK", [])
return [str(sent).encode()]
""").get("/")
    assert (answer.text, len(answer.interim)) == ("1000", 1000)


@pytest.mark.differs("interim-responses")
def test_an_error_after_hints_is_a_plain_500(run):
    httpd = run('environ["wsgi.early_hints"]([("Link", "</a>")])\nraise ValueError("lost")')
    answer = httpd.get("/")
    assert ([head.status for head in answer.interim], answer.status) == ([103], 500)
    httpd.error_log.expect_traceback("ValueError: lost")


@pytest.mark.differs("interim-responses")
def test_an_interim_status_can_not_be_the_final_one(run):
    httpd = run("""
try:
    start_response("103 Early Hints", [])
except ValueError as error:
    start_response("200 OK", [])
    return [str(error).encode()]
return [b"taken"]
""")
    assert "early_hints" in httpd.get("/").text


# -- HTTP/2 ------------------------------------------------------------------------------------

def curl(httpd, *arguments):
    done = subprocess.run(
        ["curl", "-s", "-i", "--http2-prior-knowledge", "--max-time", "10", *arguments, f"http://127.0.0.1:{httpd.port}/"],
        capture_output=True, check=False,
    )
    assert done.returncode == 0, done
    return done.stdout.decode()


def statuses(said):
    return re.findall(r"^HTTP/2 (\d+)", said, re.M)


@pytest.mark.differs("interim-responses")
def test_over_http_2_hints_arrive_where_mod_http2_lets_them(run):
    httpd = run(TWO, "Protocols h2c http/1.1", "H2EarlyHints On")
    said = curl(httpd)
    assert statuses(said) == ["103", "103", "200"]
    assert "link: </a.css>; rel=preload; as=style" in said and said.endswith("body")
    httpd.error_log.expect("WSGI0370", level="info", count=1)
    assert statuses(curl(httpd)) == ["103", "103", "200"]


@pytest.mark.differs("interim-responses")
def test_over_http_2_without_the_switch_the_log_says_so_once(run):
    httpd = run(TWO, "Protocols h2c http/1.1")
    assert statuses(curl(httpd)) == ["200"]
    assert statuses(curl(httpd)) == ["200"]
    # Once a child.
    httpd.error_log.expect("WSGI0370: .*H2EarlyHints On", level="info", count=None if httpd.mpm == "prefork" else 1)


@pytest.mark.differs("interim-responses")
def test_102_over_http_2(run):
    httpd = run("""
mod_wsgi.send_interim(102, [])
mod_wsgi.send_interim(102, [])
start_response("200 OK", [])
return [b"body"]
""", "Protocols h2c http/1.1")
    assert statuses(curl(httpd)) == ["102", "102", "200"]


@pytest.mark.differs("interim-responses")
def test_100_with_headers_over_http_2(run):
    httpd = run(SEED_A, "Protocols h2c http/1.1")
    said = curl(httpd, "-X", "PUT", "-H", "Expect: 100-continue", "--data", "x" * 10)
    assert statuses(said) == ["100", "200"]
    assert "hundred-continue-header-1: H1" in said and said.endswith("x" * 10)


# -- 100, as eventlet has it -------------------------------------------------------------------

EXPECTING = b"PUT / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"

SEED_A = """
if environ.get("HTTP_EXPECT") != "100-continue":
    start_response("417 Expectation Failed", [])
    return [b"failure"]
environ["wsgi.input"].set_hundred_continue_response_headers(
    [("Hundred-Continue-Header-1", "H1"), ("hundred-continue-header-k", "Hk")])
text = environ["wsgi.input"].read()
start_response("200 OK", [("Content-Length", str(len(text)))])
return [text]
"""


@pytest.mark.differs("interim-responses")
def test_100_carries_the_headers_of_the_application(run):
    httpd = run(SEED_A)
    with httpd.connect() as connection:
        connection.send(EXPECTING + b"Content-Length: 4\r\n\r\n")
        head = connection.head()
        assert (head.status, head.headers) == (100, [("Hundred-Continue-Header-1", "H1"), ("Hundred-Continue-Header-K", "Hk")])
        connection.send(b"data")
        answer = connection.response()
        assert (answer.interim, answer.body) == ([], b"data")
        connection.send(b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\ndata")
        assert connection.response().status == 417


@pytest.mark.differs("interim-responses")
@pytest.mark.parametrize("argument, name", [
    ("", "X-Own-Name"), (", True", "X-Own-Name"), (", False", "x-oWn-name"), (", capitalize_response_headers=False", "x-oWn-name"),
])
def test_names_are_capitalised_as_eventlet_does(run, argument, name):
    httpd = run(f"""
environ["wsgi.input"].set_hundred_continue_response_headers([("x-oWn-name", "1")]{argument})
text = environ["wsgi.input"].read()
start_response("200 OK", [])
return [text]
""")
    with httpd.connect() as connection:
        connection.send(EXPECTING + b"Content-Length: 4\r\n\r\n")
        assert connection.head().headers == [(name, "1")]
        connection.send(b"data")
        assert connection.response().body == b"data"


SEVERAL = """
reader = environ["wsgi.input"]
reader.set_hundred_continue_response_headers([("Number", "1")])
parts = [reader.read(1)]
for number in "23":
    reader.set_hundred_continue_response_headers([("Number", number)])
    assert reader.send_hundred_continue_response() is True
    parts.append(reader.read(1))
start_response("200 OK", [])
yield b"-".join(parts) + reader.read()
assert reader.send_hundred_continue_response() is False
"""


@pytest.mark.differs("interim-responses")
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_several_100s_each_with_its_headers(run, framing):
    httpd = run(SEVERAL)
    with httpd.connect() as connection:
        connection.send(EXPECTING + (b"Content-Length: 3\r\n\r\n" if framing == "length" else b"Transfer-Encoding: chunked\r\n\r\n"))
        for number, byte in zip("123", (b"a", b"b", b"c"), strict=True):
            head = connection.head()
            assert (head.status, head.headers) == (100, [("Number", number)])
            if framing == "length":
                connection.send(byte)
            else:
                connection.send_chunk(byte)
        if framing == "chunked":
            connection.send(b"0\r\n\r\n")
        answer = connection.response()
        assert (answer.interim, answer.body, answer.complete) == ([], b"a-b-c", True)


@pytest.mark.differs("interim-responses")
def test_without_expect_no_100_is_sent_whatever_is_called(run):
    httpd = run("""
reader = environ["wsgi.input"]
reader.set_hundred_continue_response_headers([("A", "1")])
sent = reader.send_hundred_continue_response()
text = reader.read()
start_response("200 OK", [])
return [repr(sent).encode() + text]
""")
    answer = httpd.post("/", b"data")
    assert (answer.interim, answer.text) == ([], "Falsedata")


@pytest.mark.differs("interim-responses")
def test_one_sent_early_is_not_repeated_by_the_first_read(run):
    httpd = run("""
reader = environ["wsgi.input"]
reader.send_hundred_continue_response()
text = reader.read()
start_response("200 OK", [])
return [text]
""")
    with httpd.connect() as connection:
        connection.send(EXPECTING + b"Content-Length: 4\r\n\r\n")
        assert connection.head().status == 100
        connection.send(b"data")
        answer = connection.response()
        assert (answer.interim, answer.body) == ([], b"data")


@pytest.mark.differs("continue-only-when-read")
def test_an_application_that_refuses_sends_no_100(run):
    httpd = run('start_response("401 No", [("Content-Length", "2")])\nreturn [b"no"]')
    with httpd.connect() as connection:
        connection.send(EXPECTING + b"Content-Length: 4\r\n\r\n")
        answer = connection.response()
    assert (answer.status, answer.interim) == (401, []) and answer.elapsed < 1 + SLACK
