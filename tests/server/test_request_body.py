"""What an application reads from wsgi.input (issue 2, point 5)."""

import hashlib
import threading

import pytest

from client import Broken

BIG = bytes(range(256)) * 4096 * 3  # 3 MiB, larger than any buffer on the way


@pytest.fixture(scope="module")
def site(servers):
    return servers().serve("echo.wsgi", "WSGIChunkedRequest On", options="threads=4")


def chunks(data, size=1000):
    return (data[at : at + size] for at in range(0, len(data), size))


@pytest.mark.parametrize("how", ["length", "chunked"])
@pytest.mark.parametrize("size", [1, 100, 8192, 65536, len(BIG)])
def test_a_body_arrives_whole(site, how, size):
    data = BIG[:size]
    got = site.post("/?read", data if how == "length" else chunks(data, max(1, size // 7))).json
    assert got["length"] == size
    assert got["sha256"] == hashlib.sha256(data).hexdigest()
    assert got["again"] == ""


def test_a_chunked_body_has_no_content_length_and_names_its_coding(site):
    got = site.post("/?read", chunks(b"abc")).json
    assert got["content_length"] is None
    assert got["transfer_encoding"] == "chunked"


def test_a_request_without_a_body_reads_empty_at_once(site):
    got = site.get("/?read").json
    assert (got["length"], got["content_length"]) == (0, None)


def test_an_empty_body_reads_empty(site):
    assert site.post("/?read", b"").json["length"] == 0
    assert site.post("/?read", iter(())).json["length"] == 0


def test_read_with_a_size_gives_just_so_much(site):
    got = site.post("/?read=4", b"abcdefghij").json
    assert got["pieces"] == ["abcd", "efgh", "ij"]
    assert got["types"] == ["bytes"]


def test_read_with_a_size_waits_for_all_of_it(site):
    with site.connect() as connection:
        connection.send(b"POST /?read=4 HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\n")
        for byte in b"abcdef":
            connection.send(bytes([byte]))
        assert connection.response().json["pieces"] == ["abcd", "ef"]


@pytest.mark.differs("slow-clients-hold-no-thread", run=False)
def test_a_short_body_that_comes_slowly_holds_no_thread(servers):
    site = servers().serve("echo.wsgi", options="threads=1")
    slow = [site.connect() for _ in range(5)]
    for connection in slow:
        connection.send(b"POST /?read HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nabc")
    assert site.post("/?read", b"quick").json["length"] == 5
    for connection in slow:
        connection.send(b"def")
        assert connection.response().json["length"] == 6
        connection.close()


def test_readline_keeps_the_line_s_end(site):
    assert site.post("/?readline", b"one\ntwo\r\n\nlast").json["pieces"] == ["one\n", "two\r\n", "\n", "last"]


def test_readline_with_a_size_is_bounded(site):
    assert site.post("/?readline=2", b"one\ntwo").json["pieces"] == ["on", "e\n", "tw", "o"]


def test_readlines_gives_every_line(site):
    assert site.post("/?readlines", b"one\ntwo\nlast").json["pieces"] == ["one\n", "two\n", "last"]


def test_readlines_stops_after_its_hint(site):
    assert site.post("/?readlines=5", b"one\ntwo\nthree\n").json["pieces"] == ["one\n", "two\n"]


def test_iterating_gives_every_line(site):
    assert site.post("/?iterate", b"one\ntwo\nlast").json["pieces"] == ["one\n", "two\n", "last"]


def test_a_line_longer_than_any_buffer_is_one_line(site):
    line = b"x" * 200_000 + b"\n"
    got = site.post("/?readline", line + b"end").json
    assert [len(piece) for piece in got["pieces"]] == [200_001, 3]


def test_an_unread_body_is_not_the_next_request(site):
    with site.connect() as connection:
        smuggled = b"GET /?smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
        connection.send_request("POST", "/?none", body=smuggled)
        assert connection.response().json["length"] == 0
        connection.send_request("POST", "/?read", body=b"second")
        assert connection.response().json["pieces"] == ["second"]


def test_a_large_unread_body_does_not_stop_the_answer(site):
    answer = site.post("/?none", BIG)
    assert answer.status == 200 and answer.complete


def test_two_requests_in_one_packet_are_answered_in_order(site):
    one = b"POST /?read HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\none"
    two = b"POST /?read HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\ntwo"
    with site.connect() as connection:
        connection.send(one + two)
        assert [connection.response().json["pieces"] for _ in range(2)] == [["one"], ["two"]]


def test_a_body_that_comes_slowly_arrives_whole(site):
    with site.connect() as connection:
        connection.send(b"POST /?read HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(20):
            connection.send_chunk(b"0123456789")
        connection.send(b"0\r\n\r\n")
        assert connection.response().json["length"] == 200


@pytest.mark.differs("chunked-by-default")
def test_a_chunked_body_is_accepted_by_default(httpd):
    httpd.serve("echo.wsgi")
    assert httpd.post("/?read", chunks(b"abc")).json["pieces"] == ["abc"]


def test_a_chunked_body_is_411_where_it_was_switched_off(httpd):
    httpd.serve("echo.wsgi", "WSGIChunkedRequest Off")
    assert httpd.post("/?read", chunks(b"abc")).status == 411
    httpd.error_log.allow("WSGI0139")
    assert httpd.post("/?read", b"abc").json["pieces"] == ["abc"]


def test_another_transfer_coding_is_501(site):
    answer = site.raw(b"POST /?read HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: gzip\r\n\r\n")
    assert answer.split(b" ", 2)[1] in (b"400", b"501")
    site.error_log.allow("gzip", "WSGI0138", "AH0256", "AH10453", "AH01587")


@pytest.mark.parametrize("length", [b"abc", b"-1", b"1, 2", b"+3"])
def test_a_content_length_that_is_no_number_is_400(site, length):
    answer = site.raw(b"POST /?read HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: " + length + b"\r\n\r\nabc")
    assert answer.startswith(b"HTTP/1.1 400 ")
    site.error_log.allow("Content-Length", "AH01587", "AH0256")


def test_a_body_over_the_limit_is_413_and_the_application_is_not_called(httpd):
    httpd.serve("echo.wsgi", "LimitRequestBody 1000")
    assert httpd.post("/?read", b"x" * 1000).status == 200
    assert httpd.post("/?read", b"x" * 1001).status == 413
    httpd.error_log.allow("AH01588", "LimitRequestBody")


# The application is asked before the body is whole, however slowly that comes.
AT_ONCE = "threads=2 request-spool-size=0"


def test_a_body_cut_short_by_the_client_is_an_oserror_in_the_application(httpd):
    httpd.app("short.wsgi", """
def application(environ, start_response):
    try:
        environ["wsgi.input"].read()
        print("read without error")
    except OSError as error:
        print("caught OSError:", error)
    start_response("200 OK", [("Content-Length", "0")])
    return []
""")
    # Here it is not asked as long as the body is not whole, unless that is switched off.
    httpd.serve("short.wsgi", options="threads=2" if httpd.is_reference else AT_ONCE)
    with httpd.connect() as connection:
        connection.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + b"x" * 70000)
        # Wait until the application runs: the worker has read what there is.
        httpd.error_log.allow("caught OSError", "WSGI0126", "AH0", "WSGI01", "client")
    httpd.error_log.expect("caught OSError: .+")


def test_wsgi_input_is_unusable_after_its_request(httpd):
    httpd.app("keep.wsgi", """
kept = []

def application(environ, start_response):
    start_response("200 OK", [])
    if not kept:
        kept.append(environ["wsgi.input"])
        return [b"kept"]
    try:
        kept[0].read()
    except RuntimeError as error:
        return [b"RuntimeError"]
    return [b"read"]
""")
    httpd.serve("keep.wsgi")
    assert httpd.post("/", b"one").text == "kept"
    assert httpd.post("/", b"two").text == "RuntimeError"


# -- limits, and clients that break off ---------------------------------------------------------

READER = """
import sys

def application(environ, start_response):
    got = 0
    try:
        while piece := environ["wsgi.input"].read(4096):
            got += len(piece)
        print("read", got, "without error", file=sys.stderr)
    except OSError as error:
        print("after", got, "caught", type(error).__name__ + ":", error, file=sys.stderr)
        try:
            environ["wsgi.input"].read(1)
        except OSError as again:
            print("again:", again, file=sys.stderr)
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""

DECLARED = ("caught OSError", "again:", "WSGI0126", "AH0", "LimitRequestBody", "framing", "client", "without error")

@pytest.fixture
def reader(httpd):
    httpd.app("reader.wsgi", READER)
    httpd.error_log.allow(*DECLARED)
    return httpd


@pytest.mark.parametrize("size, status", [(100_000, 200), (100_001, 413), (4_000_000, 413)])
def test_a_chunked_body_over_the_limit_is_413(reader, size, status):
    reader.serve("reader.wsgi", "WSGIChunkedRequest On", "LimitRequestBody 100000")
    assert reader.post("/", chunks(b"x" * size, 10_000)).status == status


@pytest.mark.differs("body-errors-are-clear")
def test_an_application_learns_that_the_body_is_over_the_limit(reader):
    reader.serve("reader.wsgi", "WSGIChunkedRequest On", "LimitRequestBody 100000", options=AT_ONCE)
    with reader.connect() as connection:
        # The limit is passed in the middle, long after the application has begun to read.
        connection.send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(9):
            connection.send_chunk(b"x" * 10_000)
        connection.send_chunk(b"x" * 20_000)
        connection.send(b"0\r\n\r\n")
        assert connection.response().status == 413
    reader.error_log.expect("caught OSError: .*LimitRequestBody")


def test_a_body_over_the_limit_does_not_become_the_next_request(reader):
    reader.serve("reader.wsgi", "LimitRequestBody 1000")
    body = b"GET /?smuggled HTTP/1.1\r\nHost: x\r\n\r\n" * 100
    with reader.connect() as connection:
        connection.send_request("POST", "/", body=body)
        assert connection.response().status == 413
        try:
            connection.send_request("GET", "/")
            assert connection.response().status == 200
        except (Broken, ConnectionError):
            pass  # Closed, which is right too.
    assert reader.error_log.text().count("without error") <= 1


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.differs("body-errors-are-clear")
def test_a_client_that_leaves_in_its_body_is_an_oserror_with_the_reason(reader, framing):
    reader.serve("reader.wsgi", "WSGIChunkedRequest On", options=AT_ONCE)
    with reader.connect() as connection:
        if framing == "length":
            connection.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n" + b"x" * 100_000)
        else:
            connection.send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
            connection.send_chunk(b"x" * 100_000)
    found = reader.error_log.expect("caught OSError: ")
    assert "the client closed its connection before it had sent the whole request body" in found[0].text
    reader.error_log.expect("again: the client closed")


@pytest.mark.differs("slow-clients-hold-no-thread", sometimes=True)
def test_a_client_that_leaves_before_the_first_part_is_there_never_meets_the_application(reader):
    reader.serve("reader.wsgi")
    with reader.connect() as connection:
        connection.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n" + b"x" * 1000)
    # The next request comes through the same child, and its line is the only one.
    assert reader.post("/", b"abc").text == "ok"
    reader.error_log.expect("read 3 without error", count=1)
    assert "caught" not in reader.error_log.text()


@pytest.mark.differs("body-errors-are-clear")
def test_broken_chunks_are_an_oserror_and_a_400(reader):
    reader.serve("reader.wsgi", "WSGIChunkedRequest On", options=AT_ONCE)
    with reader.connect() as connection:
        connection.send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        connection.send_chunk(b"x" * 70_000)
        connection.send(b"no number\r\nabc\r\n")
        assert connection.response().status == 400
    reader.error_log.expect("caught OSError: .*framing")


@pytest.mark.differs("body-errors-are-clear")
def test_a_client_that_stops_sending_is_408_and_an_oserror(reader):
    reader.serve("reader.wsgi", "Timeout 1", options=AT_ONCE)
    with reader.connect() as connection:
        connection.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n" + b"x" * 100_000)
        assert connection.response().status == 408
    reader.error_log.expect("caught OSError: .*time limit")


def test_trailers_are_read_over(site):
    with site.connect() as connection:
        connection.send(b"POST /?read HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n")
        connection.send_chunk(b"abc")
        connection.send(b"0\r\nX-Sum: 1\r\nX-More: 2\r\n\r\n")
        assert connection.response().json["pieces"] == ["abc"]
        connection.send_request("GET", "/?read")
        assert connection.response().json["length"] == 0


@pytest.mark.parametrize("size", ["2", "80000"])
def test_chunk_extensions_and_odd_sizes_are_read_over(site, size):
    with site.connect() as connection:
        connection.send(b"POST /?read HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        connection.send(b"%04x;name=value\r\n%s\r\n0\r\n\r\n" % (int(size), b"y" * int(size)))
        assert connection.response().json["length"] == int(size)


# -- unread bodies ------------------------------------------------------------------------------

@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("size", [50, 70_000, 3_000_000])
def test_no_unread_body_becomes_the_next_request(site, framing, size):
    smuggled = (b"GET /?smuggled HTTP/1.1\r\nHost: x\r\n\r\n" * (size // 39 + 1))[:size]
    with site.connect() as connection:
        body = smuggled if framing == "length" else chunks(smuggled, 65536)
        sender = threading.Thread(target=connection.send_request, args=("POST", "/?none"), kwargs={"body": body})
        sender.start()
        assert connection.response().json["length"] == 0
        sender.join(20)
        try:
            connection.send_request("POST", "/?read", body=b"second")
            assert connection.response().json["pieces"] == ["second"]
        except (Broken, ConnectionError):
            pass  # Closed, which is right too.


def test_a_body_read_in_part_is_not_the_next_request(httpd):
    httpd.app("part.wsgi", """
def application(environ, start_response):
    got = environ["wsgi.input"].read(5)
    start_response("200 OK", [("Content-Length", str(len(got)))])
    return [got]
""")
    httpd.serve("part.wsgi")
    with httpd.connect() as connection:
        for size in (10, 100_000):
            connection.send_request("POST", "/", body=b"abcde" * (size // 5))
            assert connection.response().text == "abcde"


# -- the object --------------------------------------------------------------------------------

def test_after_the_end_every_way_of_reading_finds_the_end(httpd):
    httpd.app("end.wsgi", """
def application(environ, start_response):
    stream = environ["wsgi.input"]
    first = stream.read()
    found = [stream.read(), stream.read(10), stream.read(-1), stream.read(0), stream.readline(), stream.readline(5),
             stream.readlines(), stream.readlines(3), list(stream), next(iter(stream), "nothing")]
    start_response("200 OK", [])
    return [repr((first, found)).encode()]
""")
    httpd.serve("end.wsgi", "WSGIChunkedRequest On")
    nothing = "[b'', b'', b'', b'', b'', b'', [], [], [], 'nothing']"
    for body in (b"a body", iter([b"a ", b"body"])):
        assert httpd.post("/", body).text == f"(b'a body', {nothing})"
    assert httpd.get("/").text == f"(b'', {nothing})"


def test_a_negative_size_means_everything(httpd):
    httpd.app("sizes.wsgi", """
def application(environ, start_response):
    how = environ["QUERY_STRING"]
    stream = environ["wsgi.input"]
    got = {"minus": lambda: stream.read(-1), "far": lambda: stream.read(-100),
           "line": lambda: stream.readline(-1), "lines": lambda: stream.readlines(0), "more": lambda: stream.read(1000)}[how]()
    start_response("200 OK", [])
    return [repr(got).encode()]
""")
    httpd.serve("sizes.wsgi")
    for how, seen in [("minus", "b'one\\ntwo'"), ("far", "b'one\\ntwo'"), ("line", "b'one\\n'"), ("lines", "[b'one\\n', b'two']"), ("more", "b'one\\ntwo'")]:
        assert httpd.post(f"/?{how}", b"one\ntwo").text == seen, how


def test_it_is_a_stream_that_nobody_can_go_back_in(httpd):
    httpd.app("object.wsgi", """
def application(environ, start_response):
    stream = environ["wsgi.input"]
    absent = [name for name in ("fileno", "seek", "tell", "readinto") if hasattr(stream, name)]
    closed = [stream.read(2), stream.close(), stream.read()]
    start_response("200 OK", [])
    return [repr((absent, closed, iter(stream) is stream)).encode()]
""")
    httpd.serve("object.wsgi")
    assert httpd.post("/", b"a body").text == "([], [b'a ', None, b'body'], True)"


# -- how much is waited for ---------------------------------------------------------------------

WHEN = """
import sys

def application(environ, start_response):
    print("the application runs", file=sys.stderr)
    body = str(len(environ["wsgi.input"].read())).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


@pytest.mark.differs("slow-clients-hold-no-thread", run=False)
@pytest.mark.parametrize("option, first, whole", [("", 65536, 100_000), ("request-buffer-size=1000", 1000, 2000), ("request-buffer-size=8388608", 200_000, 200_000)])
def test_the_application_runs_when_the_first_part_is_there(httpd, option, first, whole):
    httpd.app("when.wsgi", WHEN)
    httpd.serve("when.wsgi", options=f"threads=1 {option}")
    httpd.error_log.allow("the application runs")
    with httpd.connect() as connection:
        connection.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % whole + b"x" * (first - 1))
        # The only thread is free for others.
        assert httpd.get("/").text == "0"
        assert len(httpd.error_log.records("the application runs")) == 1
        connection.send(b"x")
        httpd.error_log.expect("the application runs", count=2)
        connection.send(b"x" * (whole - first))
        assert connection.response().text == str(whole)


@pytest.mark.differs("slow-clients-hold-no-thread", run=False)
def test_with_zero_nothing_is_waited_for(httpd):
    httpd.app("when.wsgi", WHEN)
    httpd.serve("when.wsgi", options="threads=1 request-buffer-size=0")
    httpd.error_log.allow("the application runs")
    with httpd.connect() as connection:
        connection.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n")
        httpd.error_log.expect("the application runs", count=1)
        connection.send(b"abc")
        assert connection.response().text == "3"


@pytest.mark.parametrize("value", ["8388609", "-1", "many"])
def test_a_request_buffer_has_a_largest_size(httpd, value):
    if httpd.is_reference:
        pytest.skip("an option of ours")
    httpd.configure(f"WSGIDaemonProcess app request-buffer-size={value}")
    assert "request-buffer-size" in httpd.refusal()
