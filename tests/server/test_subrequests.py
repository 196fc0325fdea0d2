"""Answers of an application that are a part of another page: a subrequest, whose end is not the end of the
page (issue 10, B 4)."""

import pytest

import h2client

APPLICATION = """
import io

class Broken(Exception):
    pass

def application(environ, start_response):
    name, _, extra = environ["PATH_INFO"].strip("/").partition("/")
    fields = [("Content-Type", "text/html")]
    if name == "list":
        start_response("200 OK", fields + [("Content-Length", "6")])
        return [b"<list>"]
    if name == "pieces":
        start_response("200 OK", fields)
        return [b"<pie", b"ces>"]
    if name == "generator":
        start_response("200 OK", fields)
        return iter([b"<gene", b"", b"rator>"])
    if name == "large":
        start_response("200 OK", fields)
        return (b"x" * 1000 for _ in range(300))
    if name == "written":
        start_response("200 OK", fields)(b"<written>")
        return []
    if name == "file":
        start_response("200 OK", fields)
        return environ["wsgi.file_wrapper"](open(__file__ + ".part", "rb"))
    if name == "empty":
        start_response("200 OK", fields)
        return []
    if name == "nothing":
        start_response("204 No Content", [])
        return []
    if name == "missing":
        start_response("404 Not Found", fields)
        return [b"<missing>"]
    if name == "method":
        start_response("200 OK", fields)
        length = environ.get("CONTENT_LENGTH", "none")
        return [f"<{environ['REQUEST_METHOD']} {length} {environ['wsgi.input'].read()!r}>".encode()]
    if name == "page":
        # A page of the application that has httpd include others.
        start_response("200 OK", [("Content-Type", "text/html")])
        return [b'[<!--#include virtual="/app/list" -->|<!--#include virtual="/app/generator" -->]']
    if name == "raise":
        raise Broken("not this time")
    if name == "late":
        start_response("200 OK", fields)
        def late():
            yield b"<late"
            raise Broken("too late")
        return late()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"<plain>"]
"""

PARTS = {
    "list": "<list>", "pieces": "<pieces>", "generator": "<generator>", "written": "<written>", "file": "<file>",
    "empty": "", "nothing": "", "missing": "<missing>", "large": "x" * 300_000,
}


def serve(httpd, *lines):
    httpd.app("parts.wsgi", APPLICATION)
    httpd.app("parts.wsgi.part", "<file>")
    httpd.configure(
        "WSGIDaemonProcess app threads=3 display-name=%{GROUP}",
        "WSGIScriptAlias /app {apps}/parts.wsgi process-group=app application-group=%{GLOBAL}",
        "AddOutputFilter INCLUDES .shtml",
        "AddType text/html .shtml .wsgi",
        "<Directory {root}/htdocs>", "Options +Includes +Indexes", "</Directory>",
        *lines,
    )
    return httpd.start()


def page(httpd, name, text):
    path = httpd.root / "htdocs" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)


@pytest.fixture(scope="module")
def site(servers):
    httpd = serve(
        servers(), "Protocols h2c http/1.1", "HeaderName /app/list", "ReadmeName /app/file",
        "<Location /app/page>", "SetOutputFilter INCLUDES", "Options +Includes", "</Location>",
    )
    for name in PARTS:
        include = f'<!--#include virtual="/app/{name}" -->'
        page(httpd, f"{name}.shtml", f"[{include}|{include}]")
    every = "|".join(f'<!--#include virtual="/app/{name}" -->' for name in PARTS)
    page(httpd, "every.shtml", f"[{every}]")
    page(httpd, "nested.shtml", '(<!--#include virtual="/list.shtml" -->|<!--#include virtual="/file.shtml" -->|<!--#include virtual="/app/list" -->)')
    page(httpd, "method.shtml", '[<!--#include virtual="/app/method" -->|<!--#include virtual="/app/method" -->]')
    page(httpd, "raise.shtml", '[<!--#include virtual="/app/raise" -->|<!--#include virtual="/app/list" -->]')
    page(httpd, "late.shtml", '[<!--#include virtual="/app/late" -->|<!--#include virtual="/app/list" -->]')
    page(httpd, "listed/one.txt", "one")
    return httpd


@pytest.mark.parametrize("name", PARTS)
def test_a_page_goes_on_behind_what_it_includes(site, name):
    with site.connect() as connection:
        for _ in range(2):
            connection.send_request("GET", f"/{name}.shtml")
            answer = connection.response()
            assert (answer.status, answer.complete, answer.text) == (200, True, f"[{PARTS[name]}|{PARTS[name]}]")


def test_a_page_may_include_every_kind(site):
    answer = site.get("/every.shtml")
    assert (answer.complete, answer.text) == (True, f"[{'|'.join(PARTS.values())}]")


def test_pages_that_include_may_be_included(site):
    answer = site.get("/nested.shtml")
    assert (answer.complete, answer.text) == (True, "([<list>|<list>]|[<file>|<file>]|<list>)")


def test_a_page_of_the_application_may_include_others_of_it(site):
    answer = site.get("/app/page")
    assert (answer.complete, answer.text) == (True, "[<list>|<generator>]")


def test_head_of_such_a_page_leaves_the_connection_usable(site):
    with site.connect() as connection:
        for name in ("every", "file", "nested"):
            connection.send_request("HEAD", f"/{name}.shtml")
            answer = connection.response("HEAD")
            assert (answer.status, answer.body) == (200, b"")
        connection.send_request("GET", "/list.shtml")
        assert connection.response().text == "[<list>|<list>]"


@pytest.mark.parametrize("body", [
    pytest.param(b"x" * 5000, id="length", marks=pytest.mark.differs("error-pages-without-body")),
    pytest.param([b"x" * 5000], id="chunked"),
])
def test_what_is_included_by_the_answer_to_a_post_has_no_body(site, body):
    answer = site.post("/method.shtml", body)
    assert (answer.complete, answer.text) == (True, "[<GET none b''>|<GET none b''>]")


def test_such_a_page_over_http_2(site):
    with h2client.Connection(site.port) as connection:
        answer = connection.get("/every.shtml")
        assert (answer.complete, answer.text) == (True, f"[{'|'.join(PARTS.values())}]")


def test_a_failure_of_a_part_is_said_in_its_place(site):
    answer = site.get("/raise.shtml")
    assert (answer.status, answer.complete) == (200, True)
    assert answer.text.startswith("[") and "error" in answer.text and answer.text.endswith("|<list>]")
    site.error_log.expect_traceback("Broken: not this time")
    site.error_log.allow("unable to include")


@pytest.mark.differs("truncation-is-visible")
def test_a_part_that_breaks_off_breaks_the_page(site):
    answer = site.get("/late.shtml")
    assert not answer.complete
    site.error_log.expect_traceback("Broken: too late")
    assert site.get("/list.shtml").text == "[<list>|<list>]"


def test_a_listing_has_header_and_readme_of_the_application(site):
    answer = site.get("/listed/")
    assert answer.complete and answer.status == 200
    head, _, rest = answer.text.partition("<list>")
    assert "one.txt" in rest and "<file>" in rest.partition("one.txt")[2]

