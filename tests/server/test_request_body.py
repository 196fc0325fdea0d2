"""What an application reads from wsgi.input (issue 2, point 5)."""

import hashlib

import pytest

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


def test_the_client_is_asked_to_go_on_when_the_application_reads(site):
    with site.connect() as connection:
        connection.send(b"POST /?read HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
        assert connection.head().status == 100
        connection.send(b"abc")
        assert connection.response().json["pieces"] == ["abc"]


@pytest.mark.differs("continue-only-when-read")
def test_the_client_is_not_asked_to_go_on_when_nobody_reads(site):
    with site.connect() as connection:
        connection.send(b"POST /?none HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
        assert connection.head().status == 200


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
    httpd.serve("short.wsgi")
    with httpd.connect() as connection:
        connection.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + b"x" * 70000)
        # Wait until the application runs: the worker has read what there is.
        httpd.error_log.allow("caught OSError", "WSGI0126", "AH0", "WSGI01", "client")
    httpd.error_log.expect("caught OSError: .+")


@pytest.mark.differs("both-directions-at-once", run=False)
def test_four_megabytes_up_unread_and_four_down_complete(httpd):
    httpd.app("cross.wsgi", """
def application(environ, start_response):
    start_response("200 OK", [("Content-Length", str(4 << 20))])
    for _ in range(64):
        yield b"x" * 65536
""")
    httpd.serve("cross.wsgi")
    with httpd.connect() as connection:
        import threading
        sender = threading.Thread(target=connection.send_request, args=("POST", "/"), kwargs={"body": b"u" * (4 << 20)})
        sender.start()
        answer = connection.response()
        sender.join(20)
    assert answer.complete and len(answer.body) == 4 << 20


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
