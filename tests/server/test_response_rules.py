"""What may leave an application, where it goes, and what httpd makes of it (issue 3, point 3)."""

import gzip

import pytest

import h2client


@pytest.fixture
def run(httpd):
    """Serve the body of an application: `environ` and `start_response` are in scope."""
    def serve(body, *lines, options="threads=2", top=""):
        indented = "\n".join("    " + line for line in body.strip("\n").splitlines())
        httpd.app("case.wsgi", f"import sys, os, time\n{top}\n\ndef application(environ, start_response):\n{indented}\n")
        return httpd.serve("case.wsgi", *lines, options=options)

    return serve


# One server for all that a query can ask for.
ASKED = """
import json, sys
from urllib.parse import unquote

def application(environ, start_response):
    asked = json.loads(unquote(environ["QUERY_STRING"], encoding="latin-1"))
    try:
        start_response(asked.get("status", "200 OK"), [tuple(pair) for pair in asked.get("headers", [])])
    except Exception as error:
        start_response("200 OK", [("X-Refused", type(error).__name__), ("X-Why", str(error))])
        return [b"refused"]
    return [piece.encode() for piece in asked.get("body", ["body"])]
"""


@pytest.fixture(scope="module")
def site(servers):
    httpd = servers()
    httpd.app("asked.wsgi", ASKED)
    return httpd.serve("asked.wsgi", "Protocols h2c http/1.1", options="threads=4")


def query(**asked):
    import json
    from urllib.parse import quote

    return "/?" + quote(json.dumps(asked, ensure_ascii=True), safe="")


# -- what start_response refuses ----------------------------------------------------------------

CONTROLS = [chr(code) for code in [*range(0x20), 0x7F]]


@pytest.mark.parametrize("place", ["name", "value", "reason"])
@pytest.mark.differs("controls-in-headers")
def test_every_control_character_is_refused(site, place):
    taken = []
    for control in CONTROLS:
        if place == "name":
            asked = {"headers": [[f"X{control}Y", "1"]]}
        elif place == "value":
            asked = {"headers": [["X", f"a{control}b"]]}
        else:
            asked = {"status": f"200 O{control}K"}
        if site.get(query(**asked)).get("X-Refused") != "ValueError":
            taken.append(hex(ord(control)))
    # A tab is white space in a value, and so it is in a reason.
    assert taken == ([] if place == "name" else ["0x9"])


@pytest.mark.parametrize("name", ["", " ", "A B"])
def test_a_name_is_one_word(site, name):
    assert site.get(query(headers=[[name, "1"]])).get("X-Refused") == "ValueError", name


@pytest.mark.differs("controls-in-headers")
@pytest.mark.parametrize("name", ["A:", "A,B", "(A)", "A/B", 'A"', "[A]", "{A}", "A@", "\xe4"])
def test_a_name_is_a_token(site, name):
    assert site.get(query(headers=[[name, "1"]])).get("X-Refused") == "ValueError", name


def test_all_characters_of_a_token_are_taken(site):
    name = "X!#$%&'*+-.^_`|~09azAZ"
    assert site.get(query(headers=[[name, "1"]])).get(name) == "1"


@pytest.mark.differs("interim-status-refused")
@pytest.mark.parametrize("status", ["100 Continue", "101 Switching Protocols", "102 Processing", "103 Early Hints", "199 X", "000 X", "099 X"])
def test_an_interim_status_cannot_be_the_final_one(site, status):
    answer = site.get(query(status=status))
    assert answer.get("X-Refused") == "ValueError"
    assert "interim" in answer["X-Why"] or "status" in answer["X-Why"]


@pytest.mark.parametrize("status", [
    "200 OK", "200", "200 ", "299 Own", "418 I'm a teapot", "599 X", "777 Lucky", "200 K\xf6ln", "200 Continue", "200 Rejected",
    pytest.param("200 Error", marks=pytest.mark.differs("any-reason")),
])
def test_any_final_status_is_taken(site, status):
    answer = site.get(query(status=status))
    assert answer.status == int(status[:3]) and answer.get("X-Refused") is None
    if status[4:] and int(status[:3]) < 600:
        assert answer.reason == status[4:]


@pytest.mark.differs("content-length-is-digits")
@pytest.mark.parametrize("length", ["-1", "+4", "4.0", "0x4", "4,4", "four", "", "9223372036854775808", "4 4"])
def test_a_content_length_is_digits(site, length):
    assert site.get(query(headers=[["Content-Length", length]])).get("X-Refused") == "ValueError"


@pytest.mark.differs("content-length-is-digits")
def test_two_content_lengths_must_agree(site):
    assert site.get(query(headers=[["Content-Length", "4"], ["Content-Length", "5"]])).get("X-Refused") == "ValueError"
    answer = site.get(query(headers=[["Content-Length", "4"], ["content-length", "4"]]))
    assert answer["Content-Length"] == "4"


# -- headers of the connection ------------------------------------------------------------------

HOP_BY_HOP = {
    "Transfer-Encoding": "chunked", "Keep-Alive": "timeout=5000", "TE": "trailers", "Trailer": "X-Sum", "Upgrade": "websocket",
    "Proxy-Authenticate": "Basic", "Proxy-Connection": "keep-alive",
}


@pytest.mark.differs("connection-headers-stay-here")
@pytest.mark.parametrize("name", HOP_BY_HOP)
def test_what_belongs_to_the_connection_does_not_leave(site, name):
    site.error_log.allow("WSGI0320")
    with site.connect() as connection:
        for _ in range(2):
            connection.send_request("GET", query(headers=[[name, HOP_BY_HOP[name]], ["X-Own", "1"]], body=["a", "b"]))
            answer = connection.response()
            assert answer.get("X-Own") == "1" and answer.body == b"ab" and answer.complete
            assert HOP_BY_HOP[name] not in answer.all(name) or name == "Transfer-Encoding"
            assert len(answer.all("Transfer-Encoding")) <= 1


@pytest.mark.differs("connection-headers-stay-here")
def test_a_dropped_header_is_said_once(run):
    httpd = run("""
start_response("200 OK", [("Transfer-Encoding", "chunked"), ("Upgrade", "x"), ("Content-Length", "2")])
return [b"ok"]
""", options="threads=1")
    for _ in range(3):
        answer = httpd.get("/")
        assert answer.body == b"ok" and answer.complete and answer["Content-Length"] == "2"
    found = httpd.error_log.expect("WSGI0320", level="warn", count=1)
    assert "transfer-encoding" in found[0].text


@pytest.mark.parametrize("value", ["close", "Close", "foo, close"])
def test_connection_close_of_the_application_closes_the_connection(site, value):
    with site.connect() as connection:
        connection.send_request("GET", query(headers=[["Connection", value], ["Content-Length", "4"]]))
        answer = connection.response()
        assert answer.body == b"body" and "close" in answer["Connection"].lower()
        assert connection.at_end(within=2)


@pytest.mark.differs("connection-headers-stay-here")
def test_connection_keep_alive_of_the_application_keeps_nothing_alive(site):
    site.error_log.allow("WSGI0320")
    with site.connect() as connection:
        connection.send_request("GET", query(headers=[["Connection", "keep-alive, X-Secret"]]), close=True)
        assert "keep-alive" not in connection.response()["Connection"].lower()
        assert connection.at_end(within=2)


def test_connection_close_over_http_2_ends_nothing_else(site):
    site.error_log.allow("WSGI0320")
    with h2client.Connection(site.port) as connection:
        for _ in range(2):
            answer = connection.get(query(headers=[["Connection", "close"], ["Transfer-Encoding", "chunked"]]))
            assert answer.complete and answer.body == b"body"
            assert not answer.all("connection") and not answer.all("transfer-encoding")


# -- lengths and bodies -------------------------------------------------------------------------

def test_a_body_is_cut_at_its_length(site):
    with site.connect() as connection:
        for _ in range(2):
            connection.send_request("GET", query(headers=[["Content-Length", "3"]], body=["ab", "cdefg"]))
            answer = connection.response()
            assert (answer.body, answer["Content-Length"]) == (b"abc", "3")


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
@pytest.mark.parametrize("body", [[], ["body"]])
def test_a_status_without_body_has_none(site, status, body):
    with site.connect() as connection:
        for _ in range(2):
            connection.send_request("GET", query(status=status, body=body, headers=[["X-Own", "1"], ["ETag", '"x"']]))
            answer = connection.response()
            assert (answer.status, answer.body, answer.get("Transfer-Encoding")) == (int(status[:3]), b"", None)
        connection.send_request("GET", query())
        assert connection.response().body == b"body"


@pytest.mark.parametrize("headers", [[], [["Content-Length", "4"]]])
def test_head_has_the_headers_and_no_body(site, headers):
    with site.connect() as connection:
        for _ in range(2):
            connection.send_request("HEAD", query(headers=[["X-Own", "1"], *headers]))
            answer = connection.response("HEAD")
            assert (answer.status, answer["X-Own"]) == (200, "1")
            assert answer.get("Content-Length") in ("4", None)
        connection.send_request("GET", query())
        assert connection.response().body == b"body"


METHOD = """
start_response("200 OK", [("Content-Type", "text/plain"), ("X-Method", environ["REQUEST_METHOD"])])
return [b"x" * 1000]
"""


@pytest.mark.parametrize(
    "lines, seen",
    [([], "HEAD"), (["WSGIMapHEADToGET On"], "GET"), (["WSGIMapHEADToGET Off"], "HEAD"), (["WSGIMapHEADToGET Auto"], "HEAD"),
     (["SetOutputFilter DEFLATE"], "GET"), (["SetOutputFilter DEFLATE", "WSGIMapHEADToGET Off"], "HEAD"),
     (["SetOutputFilter DEFLATE", "WSGIMapHEADToGET Auto"], "GET")],
)
def test_head_is_shown_as_get_where_it_was_asked_for_or_a_filter_needs_it(run, lines, seen):
    httpd = run(METHOD, *lines)
    with httpd.connect() as connection:
        connection.send_request("HEAD", "/")
        answer = connection.response("HEAD")
        assert answer["X-Method"] == seen
        connection.send_request("GET", "/")
        assert connection.response()["X-Method"] == "GET"


def test_a_filter_sees_the_content_type(run):
    httpd = run(METHOD, "AddOutputFilterByType DEFLATE text/plain")
    answer = httpd.get("/", headers={"Accept-Encoding": "gzip"})
    assert answer["Content-Encoding"] == "gzip" and gzip.decompress(answer.body) == b"x" * 1000


# -- duplicates ---------------------------------------------------------------------------------

@pytest.mark.parametrize(
    "name, values, seen",
    [
        ("Set-Cookie", ["a=1", "b=2"], ["a=1", "b=2"]),
        ("WWW-Authenticate", ["Basic", "Bearer"], ["Basic", "Bearer"]),
        ("X-Own", ["1", "2"], ["1, 2"]),
        ("Vary", ["Cookie", "Accept"], ["Cookie, Accept"]),
        ("Link", ["</a>", "</b>"], ["</a>, </b>"]),
        ("Location", ["http://a/", "http://b/"], ["http://b/"]),
        ("Content-Range", ["bytes 0-3/9", "bytes 0-4/9"], ["bytes 0-4/9"]),
        ("Content-Type", ["Text/Plain; charset=UTF-8"], ["text/plain; charset=UTF-8"]),
        ("Last-Modified", ["Thu, 01 Jan 2015 00:00:00 GMT"], ["Thu, 01 Jan 2015 00:00:00 GMT"]),
    ],
)
def test_duplicates_are_folded(site, name, values, seen):
    answer = site.get(query(headers=[[name, value] for value in values]))
    # httpd writes Vary without blanks.
    assert [value.replace(",", ", ").replace(",  ", ", ") if name == "Vary" else value for value in answer.all(name)] == seen


def test_cookies_and_challenges_stay_apart_with_an_error_too(site):
    headers = [["Set-Cookie", "a=1"], ["Set-Cookie", "b=2"], ["WWW-Authenticate", "Basic"], ["WWW-Authenticate", "Bearer"]]
    answer = site.get(query(status="401 No", headers=headers))
    assert answer.all("Set-Cookie") == ["a=1", "b=2"]
    assert answer.all("WWW-Authenticate") == ["Basic", "Bearer"]


def test_last_modified_in_the_future_is_now(site):
    answer = site.get(query(headers=[["Last-Modified", "Fri, 01 Jan 2100 00:00:00 GMT"]]))
    assert "2100" not in answer.get("Last-Modified", "")


def test_the_date_of_the_application_does_not_stand_beside_httpd_s(site):
    assert len(site.get(query(headers=[["Date", "Thu, 01 Jan 2015 00:00:00 GMT"]])).all("Date")) == 1


# -- internal redirects -------------------------------------------------------------------------

REDIRECTING = """
path = environ["PATH_INFO"]
if path == "/to":
    start_response("200 OK", [("Location", environ["QUERY_STRING"]), ("Content-Type", "image/x-own"), ("Set-Cookie", "a=1"), ("X-Own", "1")])
    return [b"dropped"]
start_response("200 OK", [("Content-Type", "text/plain")])
return [(environ["REQUEST_METHOD"] + " " + path + " " + environ.get("REDIRECT_URL", "") + " " + str(len(environ["wsgi.input"].read()))).encode()]
"""


@pytest.mark.differs("one-local-redirect")
def test_a_local_location_is_answered_from_there(run):
    httpd = run(REDIRECTING, 'Alias /static "{root}/htdocs"')
    (httpd.root / "htdocs" / "page.html").write_text("a page")
    answer = httpd.get("/to?/static/page.html")
    assert (answer.status, answer.body, answer.get("Location")) == (200, b"a page", None)
    # Neither the type nor other headers of the application are carried over.
    assert answer.get("Content-Type") != "image/x-own" and answer.get("X-Own") is None
    assert httpd.get("/to?/there").text.startswith("GET /there /to")


@pytest.mark.parametrize("size", [3, 100_000])
def test_a_redirected_post_becomes_a_get_without_a_body(run, size):
    httpd = run(REDIRECTING)
    with httpd.connect() as connection:
        connection.send_request("POST", "/to?/there", body=b"x" * size)
        assert connection.response().text == "GET /there /to 0"
        connection.send_request("GET", "/next")
        assert connection.response().text == "GET /next  0"


def test_only_a_200_with_a_slash_is_a_redirect(site):
    for asked in (
        {"headers": [["Location", "http://x/"]]}, {"headers": [["Location", "there"]]},
        {"status": "302 Found", "headers": [["Location", "/there"]]}, {"status": "201 Created", "headers": [["Location", "/there"]]},
    ):
        answer = site.get(query(**asked))
        assert answer.body == b"body" and answer["Location"].endswith(asked["headers"][0][1])


@pytest.mark.differs("one-local-redirect", run=False)
def test_one_hop_is_allowed(run):
    answer = run("""
start_response("200 OK", [("Location", environ["PATH_INFO"] + "x"), ("Content-Length", "4")])
return [b"body"]
""").get("/a")
    assert (answer.body, answer["Location"]) == (b"body", "/axx")


@pytest.mark.differs("one-local-redirect", run=False)
def test_local_redirects_can_be_switched_off(run):
    answer = run(REDIRECTING, "WSGILocalRedirect Off").get("/to?/there")
    assert (answer.status, answer.body, answer["Location"]) == (200, b"dropped", "/there")


def test_access_control_holds_for_the_redirect(run):
    httpd = run(REDIRECTING, 'Alias /secret "{root}/htdocs"', "<Location /secret>", "Require all denied", "</Location>")
    (httpd.root / "htdocs" / "page.html").write_text("a secret")
    httpd.error_log.allow("AH01630")
    assert httpd.get("/to?/secret/page.html").status == 403


# -- errors -------------------------------------------------------------------------------------

def test_the_application_s_error_page_is_its_own(site):
    answer = site.get(query(status="404 Not Here", body=["mine"]))
    assert (answer.status, answer.reason, answer.body) == (404, "Not Here", b"mine")


@pytest.mark.parametrize("status", ["404 Not Here", "503 Later"])
def test_error_override_makes_it_httpd_s(run, status):
    httpd = run(f"""
start_response("{status}", [("Content-Type", "text/x-own"), ("Content-Length", "4"), ("Set-Cookie", "a=1"), ("WWW-Authenticate", "Basic")])
return [b"mine"]
""", "WSGIErrorOverride On", f"ErrorDocument {status[:3]} theirs")
    for _ in range(2):
        answer = httpd.get("/")
        assert (answer.status, answer.body) == (int(status[:3]), b"theirs")
        assert answer["WWW-Authenticate"] == "Basic"


@pytest.mark.parametrize("status", [302, 399, 600, 999])
def test_error_override_leaves_others_alone(run, status):
    httpd = run(f"""
start_response("{status} So", [("Location", "http://x/"), ("Content-Length", "4")])
return [b"mine"]
""", "WSGIErrorOverride On", "ErrorDocument 302 theirs")
    answer = httpd.get("/")
    assert (answer.status, answer.body) == (status, b"mine")


def test_an_error_page_can_be_an_application(run):
    httpd = run("""
if environ["PATH_INFO"] == "/error":
    start_response(environ["REDIRECT_STATUS"] + " Sorry", [])
    return [b"sorry"]
raise ValueError("first")
""", "ErrorDocument 500 /error")
    answer = httpd.get("/")
    assert (answer.status, answer.body) == (500, b"sorry")
    httpd.error_log.expect_traceback("ValueError: first")


# -- flushing -----------------------------------------------------------------------------------

def test_every_piece_is_sent_while_the_next_is_being_made(run):
    httpd = run("""
start_response("200 OK", [])
for n in range(5):
    yield b"%d" % n
    assert events[n].wait(10)
""", top="import threading\nevents = [threading.Event() for _ in range(5)]\n\ndef go(n):\n    events[n].set()", options="threads=3")
    httpd.app("go.wsgi", "")
    source = (httpd.apps / "case.wsgi").read_text().replace(
        "def application(environ, start_response):\n",
        "def application(environ, start_response):\n    if environ['QUERY_STRING']:\n        events[int(environ['QUERY_STRING'])].set()\n"
        "        start_response('200 OK', [])\n        return\n",
    )
    httpd.app("case.wsgi", source)
    with httpd.connect() as connection:
        connection.send_request("GET", "/")
        assert connection.head().status == 200
        for n in range(5):
            assert (connection.line(), connection.line()) == (b"1", b"%d" % n)
            httpd.get(f"/?{n}")


def test_no_piece_stays_behind_when_other_requests_come_and_go_beside_the_stream(run):
    httpd = run("""
stream, _, go = environ["QUERY_STRING"].partition("-")
start_response("200 OK", [])
if go:
    yield b""
    events[stream + go].set()
    return
for n in range(5):
    yield b"%d" % n
    if not events[stream + str(n)].wait(10):
        yield b"late"
        return
""", top="import collections, threading\nevents = collections.defaultdict(threading.Event)", options="threads=3")
    for stream in range(150):
        with httpd.connect() as connection:
            connection.send_request("GET", f"/?{stream}")
            assert connection.head().status == 200
            for n in range(5):
                assert (connection.line(), connection.line()) == (b"1", b"%d" % n)
                httpd.get(f"/?{stream}-{n}")


def test_pieces_that_are_there_already_go_together(run):
    httpd = run("""
start_response("200 OK", [])
return [b"a"] * 1000
""")
    answer = httpd.get("/")
    assert answer.body == b"a" * 1000
    assert httpd.is_reference or len(answer.chunks) <= 5


def test_a_list_of_one_gets_no_length_but_a_small_response_may(site):
    answer = site.get(query(body=["one"]))
    assert answer.framing in ("length", "chunked") and answer.complete


def test_a_piece_reaches_an_http_2_client_while_the_next_is_being_made(run):
    httpd = run("""
if environ["PATH_INFO"] == "/go":
    go.set()
    start_response("200 OK", [])
    return
start_response("200 OK", [])
yield b"first"
assert go.wait(10)
yield b"second"
""", "Protocols h2c http/1.1", top="import threading\ngo = threading.Event()")
    with h2client.Connection(httpd.port) as connection:
        stream = connection.begin("GET", "/")
        while not connection.answers[stream].body:
            assert connection.pump()
        assert connection.answers[stream].body == b"first"
        connection.get("/go")
        assert connection.answer(stream).body == b"firstsecond"


@pytest.mark.parametrize("length", [True, pytest.param(False, marks=pytest.mark.differs("bodies-over-http-2"))])
def test_a_body_reaches_the_application_over_http_2(httpd, length):
    httpd.serve("echo.wsgi", "WSGIChunkedRequest On", "Protocols h2c http/1.1")
    for size in (0, 3, 70_000, 1_000_000):
        with h2client.Connection(httpd.port) as connection:
            headers = [("content-length", str(size))] if length else []
            answer = connection.request("POST", "/?read", headers, b"x" * size)
            assert answer.json["length"] == size


# -- bounds -------------------------------------------------------------------------------------

LONG = """
size, count = environ["QUERY_STRING"].split("x")
try:
    start_response("200 OK", [(f"X-H{n}", "y" * int(size)) for n in range(int(count))])
except ValueError as error:
    start_response("200 OK", [("X-Refused", str(error))])
return [b"body"]
"""


@pytest.mark.parametrize("option, size, status", [("", 32_000, 200), ("", 40_000, 500), ("header-buffer-size=65536", 40_000, 200), ("header-buffer-size=8192", 9000, 500)])
def test_a_response_header_has_a_longest_length(run, option, size, status):
    httpd = run(LONG, options=f"threads=2 {option}")
    answer = httpd.get(f"/?{size}x1")
    assert answer.status == status
    if status == 200:
        assert answer["X-H0"] == "y" * size
    else:
        httpd.error_log.expect("WSGI0144", level="error", count=1)
    assert httpd.get("/?1x1").status == 200


@pytest.mark.parametrize("size, count", [(10, 1000), (900, 1000), (30_000, 30)])
def test_many_response_headers_arrive(run, size, count):
    answer = run(LONG).get(f"/?{size}x{count}")
    assert answer.status == 200 and answer.complete
    assert all(answer[f"X-H{n}"] == "y" * size for n in range(count))


@pytest.mark.differs("response-headers-are-bounded")
@pytest.mark.parametrize("size, count", [(1, 1001), (30_000, 40), (1, 50_000)])
def test_response_headers_without_end_are_refused(run, size, count):
    answer = run(LONG).get(f"/?{size}x{count}")
    assert answer.status == 200 and answer["X-Refused"] and answer.get("X-H0") is None
