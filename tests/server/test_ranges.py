"""Ranges: of files only. What an application makes need not be the same the next time, so nobody can say
that a part of it belongs to another (issue 10, B 7)."""

import pytest

import h2client

APPLICATION = """
BODY = b"0123456789"

def application(environ, start_response):
    name = environ["PATH_INFO"].strip("/")
    environ["wsgi.input"].read()
    fields = [("Content-Type", "text/plain"), ("ETag", '"v1"')]
    if name == "list":
        start_response("200 OK", fields)
        return [BODY]
    if name == "length":
        start_response("200 OK", fields + [("Content-Length", "10")])
        return [BODY]
    if name == "offers":
        start_response("200 OK", fields + [("Accept-Ranges", "bytes")])
        return [BODY]
    if name == "pieces":
        start_response("200 OK", fields)
        return [b"01234", b"56789"]
    if name == "generator":
        start_response("200 OK", fields)
        return (BODY[at:at + 1] for at in range(10))
    if name == "written":
        start_response("200 OK", fields)(BODY)
        return []
    if name == "made":
        start_response("206 Partial Content", fields + [("Content-Range", "bytes 2-4/10")])
        return [BODY[2:5]]
    if name == "none":
        fields += [("Accept-Ranges", "none")]
    start_response("200 OK", fields)
    return environ["wsgi.file_wrapper"](open(__file__ + ".digits", "rb"))
"""

RANGES = ["bytes=2-4", "bytes=-3", "bytes=0-", "bytes=10-", "bytes=99-", "bytes=0-1,5-6"]


@pytest.fixture(scope="module")
def site(servers):
    httpd = servers()
    httpd.app("ranges.wsgi", APPLICATION)
    httpd.app("ranges.wsgi.digits", "0123456789")
    return httpd.serve("ranges.wsgi", "Protocols h2c http/1.1", options="threads=3")


@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
@pytest.mark.parametrize("name", ["list", "length", "offers", "pieces", "generator", "written"])
def test_what_an_application_makes_is_sent_whole(site, name, method):
    with site.connect() as connection:
        for asked in RANGES:
            connection.send_request(method, f"/{name}", [("Range", asked)], None if method == "GET" else b"abc")
            answer = connection.response()
            assert (answer.status, answer.body, answer.complete) == (200, b"0123456789", True), asked
            assert answer.get("Content-Range") is None


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_a_file_that_answers_another_method_is_sent_whole(site, method):
    for asked in RANGES:
        answer = site.request(method, "/file", {"Range": asked}, b"abc")
        assert (answer.status, answer.body, answer.complete) == (200, b"0123456789", True), asked


def test_head_has_the_headers_of_the_whole(site):
    for name in ("list", "file"):
        answer = site.request("HEAD", f"/{name}", {"Range": "bytes=2-4"})
        assert (answer.status, answer.get("Content-Range")) == (200, None)


@pytest.mark.differs("ranges-of-files")
def test_a_file_is_sent_in_part(site):
    answer = site.get("/file", {"Range": "bytes=2-4"})
    assert (answer.status, answer.body, answer["Accept-Ranges"]) == (206, b"234", "bytes")


def test_an_application_may_refuse_ranges_of_a_file(site):
    for asked in RANGES:
        answer = site.get("/none", {"Range": asked})
        assert (answer.status, answer.body, answer["Accept-Ranges"]) == (200, b"0123456789", "none")


def test_a_part_that_the_application_made_is_its_own(site):
    answer = site.get("/made", {"Range": "bytes=2-4"})
    assert (answer.status, answer.body, answer["Content-Range"]) == (206, b"234", "bytes 2-4/10")


def test_ranges_over_http_2(site):
    with h2client.Connection(site.port) as connection:
        for name in ("list", "generator", "none"):
            answer = connection.get(f"/{name}", [("range", "bytes=2-4")])
            assert (answer.status, answer.body, answer.complete) == (200, b"0123456789", True)
