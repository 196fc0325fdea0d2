"""What others were found vulnerable to, where responses and headers are concerned: one test for each
(issue 3, "Hostile input"; the anchors of the threat model).

Those of httpd are about what a backend, there one of its proxies', could put into a response. Here
there are two who could: the application, and a worker that was taken over.
"""

import threading

import pytest

from fakeworker import FakeWorker, data, end, head

APP = """
import json
from urllib.parse import unquote

def application(environ, start_response):
    asked = json.loads(unquote(environ["QUERY_STRING"], encoding="latin-1"))
    try:
        start_response(asked.get("status", "200 OK"), [tuple(pair) for pair in asked.get("headers", [])])
    except ValueError:
        start_response("200 OK", [])
        return [b"refused"]
    return [b"body"]
"""

# What splits a response where it is let through, or cuts a header off.
SPLITTERS = ["\r\n", "\n", "\r", "\0", "\r\n\r\n", "\x0b", "\x0c", "\x1b", "\x7f", "\r\n ", "\n\t"]
SECOND = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Evil: yes\r\n\r\nPWNED"


@pytest.fixture(scope="module")
def site(servers):
    httpd = servers()
    httpd.app("asked.wsgi", APP)
    httpd.app("secret.wsgi", 'PASSWORD = "sesame"\n')
    httpd.configure(
        "WSGIDaemonProcess app threads=4 socket-timeout=5", "WSGIProcessGroup app", "WSGIApplicationGroup %{GLOBAL}",
        "WSGIScriptAlias /asked {apps}/asked.wsgi", 'Alias /files "{apps}"', "ExtendedStatus On",
        "<Location /server-status>", "SetHandler server-status", "Require all denied", "</Location>",
        "LogLevel warn",
    )
    (httpd.apps / "page.txt").write_text("a page")
    return httpd.start()


def query(**asked):
    import json
    from urllib.parse import quote

    return "/asked?" + quote(json.dumps(asked, ensure_ascii=True), safe="")


def answered_once(site, target):
    """Everything that comes for one request, which must be one response."""
    got = site.raw(f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    assert got.count(b"HTTP/1.1 ") == 1 and b"PWNED" not in got and b"X-Evil" not in got, got
    return got


def worker_says(site, *fields, **how):
    """A worker that sends this head: its response does not reach the client."""
    site.error_log.allow("WSGI0")
    with FakeWorker(site) as worker:
        worker.reply = head(200, *fields, **how) + data(b"body") + end()
        got = answered_once(site, query())
    assert got.startswith(b"HTTP/1.1 502 "), got


def only_ours(site):
    if site.is_reference:
        pytest.skip("the workers of the C module speak another protocol")


@pytest.mark.differs("controls-in-headers")
@pytest.mark.parametrize("where", ["name", "value", "reason"])
def test_cve_2024_24795_an_application_cannot_split_its_response(site, where):
    """Response splitting by headers of a backend, in several modules of httpd."""
    taken = []
    for splitter in SPLITTERS:
        evil = f"x{splitter}X-Evil: yes\r\n\r\n{SECOND}"
        asked = {
            "name": {"headers": [[f"X{splitter}X-Evil", "1"]]},
            "value": {"headers": [["X-Own", evil]]},
            "reason": {"status": f"200 {evil}"},
        }[where]
        if not answered_once(site, query(**asked)).endswith(b"refused\r\n0\r\n\r\n" if site.is_reference else b"refused"):
            taken.append(splitter)
    assert taken == []


@pytest.mark.parametrize("where", ["name", "value", "reason"])
def test_cve_2024_24795_a_worker_cannot_split_its_response(site, where):
    only_ours(site)
    for splitter in (splitter.encode() for splitter in SPLITTERS):
        evil = b"x" + splitter + b"X-Evil: yes\r\n\r\n" + SECOND.encode()
        match where:
            case "name":
                worker_says(site, (b"X" + splitter + b"X-Evil", b"1"))
            case "value":
                worker_says(site, (b"X-Own", evil))
            case "reason":
                worker_says(site, reason=evil)


@pytest.mark.parametrize("name", ["Content-Type", "Location", "Content-Length", "Set-Cookie", "WWW-Authenticate", "Last-Modified", "Content-Range"])
def test_cve_2024_38709_no_header_that_httpd_treats_by_itself_splits_a_response(site, name):
    """Response splitting through what a content generator gives httpd's core."""
    for splitter in ("\r\n", "\n", "\r", "\r\n\r\n"):
        got = answered_once(site, query(headers=[[name, f"1{splitter}X-Evil: yes\r\n\r\n{SECOND}"]]))
        assert b"refused" in got
        if not site.is_reference:
            worker_says(site, (name.encode(), f"1{splitter}X-Evil: yes".encode()))


@pytest.mark.parametrize("value", [
    "text/html\r\nX-Evil: yes", "text/html\nX-Evil: yes", "text/html;\r\n charset=utf-8", "text/html; charset=\"\r\n\r\nPWNED\"",
])
def test_cve_2024_42516_a_content_type_does_not_split_a_response(site, value):
    """The same once more, through Content-Type alone."""
    assert b"refused" in answered_once(site, query(headers=[["Content-Type", value]]))
    if not site.is_reference:
        worker_says(site, (b"Content-Type", value.encode()))


@pytest.mark.differs("one-local-redirect")
@pytest.mark.parametrize("kind", ["server-status", "wsgi-script", "application/x-httpd-wsgi", "application/x-httpd-cgi", "text/x-own"])
def test_cve_2024_38476_a_local_redirect_chooses_no_handler(site, kind):
    """Headers of a backend chose the local handler that an internal redirect ran."""
    for target in ("/files/page.txt", "/files/secret.wsgi"):
        answer = site.get(query(headers=[["Location", target], ["Content-Type", kind], ["Handler", kind]]))
        # The file as it is: neither run nor taken for the place of somebody else's page.
        assert (answer.status, answer.body) == (200, (site.apps / target.rpartition("/")[2]).read_bytes())
        assert answer.get("Content-Type") != kind


def test_cve_2024_38476_a_local_redirect_gets_past_no_rule(site):
    site.error_log.allow("AH01630")
    assert site.get(query(headers=[["Location", "/server-status"], ["Content-Type", "server-status"]])).status == 403


@pytest.mark.parametrize("reason", [b"OK\0", b"OK\n", b"OK\r", b"OK\r\nX-Evil: yes", b"OK\x7f", b"\x01"])
def test_cve_2023_27522_special_characters_neither_cut_nor_split_a_response(site, reason):
    """mod_proxy_uwsgi passed on what stands in the origin's status line and headers."""
    only_ours(site)
    worker_says(site, reason=reason)
    worker_says(site, (b"X-Own", reason), (b"X-Evil", b"yes"))


@pytest.mark.parametrize("listed", ["X-Forwarded-For", "X-Client-IP", "X-Real-IP"])
def test_cve_2022_2255_a_stranger_s_x_client_ip_does_not_reach_the_application(httpd, listed):
    """mod_wsgi left X-Client-IP in environ, whoever had sent it."""
    httpd.serve("environ.wsgi", "WSGITrustedProxies 192.0.2.1", f"WSGITrustedProxyHeaders {listed}")
    forged = {name: "203.0.113.9" for name in ("X-Forwarded-For", "X-Client-IP", "X-Real-IP")}
    for headers in (forged, {"X-Client-IP": "203.0.113.9"}, {"x-client-ip": "203.0.113.9"}):
        got = httpd.ask("/", headers=headers)
        assert got["REMOTE_ADDR"] == ["str", "127.0.0.1"]
        assert "203.0.113.9" not in [value for _, value in got.values()]


def test_cve_2014_0242_the_content_type_of_one_request_is_not_another_s(httpd):
    """mod_wsgi let go of a Content-Type that it still used: with threads, others wrote over it."""
    httpd.app("types.wsgi", """
import os
seen = []

def application(environ, start_response):
    kind = "text/x-" + environ["QUERY_STRING"] * 20
    headers = [("Content-Type", kind + "; charset=" + environ["QUERY_STRING"])]
    start_response("200 OK", headers)
    # All that stood for it here is gone or changed before the first byte leaves.
    headers[:] = [("Content-Type", "text/x-wrong")]
    del kind
    yield b""
    seen[:] = [os.urandom(64) for _ in range(100)]
    yield environ["QUERY_STRING"].encode()
""")
    httpd.serve("types.wsgi", options="threads=8")
    wrong = []

    def ask(name):
        with httpd.connect() as connection:
            for _ in range(60):
                connection.send_request("GET", f"/?{name}")
                answer = connection.response()
                if answer.all("Content-Type") != [f"text/x-{name * 20}; charset={name}"] or answer.text != name:
                    wrong.append((name, answer.headers))

    threads = [threading.Thread(target=ask, args=(name * 3,)) for name in "abcdefgh"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
