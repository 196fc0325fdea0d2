"""What the error log says of requests and processes at `LogLevel wsgi:debug` and the trace levels."""

import re

import pytest
import waiting

pytestmark = pytest.mark.differs("debug-lines", run=False)

SECRETS = ("querysecret", "headersecret", "cookiesecret", "bodysecret", "replysecret", "fieldsecret")
REQUEST = {
    "headers": {"Authorization": "Basic headersecret", "Cookie": "session=cookiesecret", "X-Token": "headersecret"},
    "body": b"bodysecret" * 10,
}
APP = """
def application(environ, start_response):
    environ["wsgi.input"].read()
    start_response("201 Created", [("X-Field", "fieldsecret"), ("Content-Length", "11")])
    return [b"replysecret"]
"""


def serve(httpd, *lines):
    httpd.app("app.wsgi", APP)
    httpd.configure(
        "WSGIDaemonProcess app display-name=%{GROUP} threads=2",
        "WSGIScriptAlias /shop {apps}/app.wsgi process-group=app application-group=%{GLOBAL}",
        *lines,
    )
    return httpd.start()


def ask(httpd, path="/shop/cart", **more):
    response = httpd.post(path + "?key=querysecret", **(REQUEST | more))
    assert response.status == 201 and response.body == b"replysecret"


def ended(httpd, count=1):
    """The last line of each request."""
    waiting.until(lambda: len(httpd.error_log.records("complete with status")) >= count, 10, "the request's end in the log")
    return httpd.error_log.records("complete with status")


def of_requests(httpd):
    """What was logged of requests, below info."""
    return [record for record in httpd.error_log.records(r"\[wsgi:(debug|trace\d)\]") if record.client]


def assert_no_secrets(httpd):
    text = httpd.error_log.text()
    assert not [secret for secret in SECRETS if secret in text], text


def test_debug_tells_where_a_request_goes_and_how_it_ended(httpd):
    serve(httpd, "LogLevel info wsgi:debug")
    ask(httpd)
    ended(httpd)
    texts = [record.text for record in of_requests(httpd)]
    script = re.escape(str(httpd.apps / "app.wsgi"))
    for pattern, text in zip(
        (
            rf"^WSGIScriptAlias /shop \(.*:\d+\) leads /shop/cart to {script}/cart$",
            rf"^\[script {script}\] POST /shop/cart goes to process group 'app', the main interpreter, callable 'application', "
            r"in a message of \d+ bytes with 100 bytes of the request body$",
            rf"^\[script {script}\] complete with status 201 after [\d.]+ ms: attempt 1 over a new connection; worker (\d+), thread \d; "
            r"[\d.]+ ms in the queue, [\d.]+ ms in the application; head of the response after [\d.]+ ms; 11 bytes of the response body sent$",
        ),
        texts,
        strict=True,
    ):
        assert re.search(pattern, text), texts
    [worker] = httpd.workers(count=1)
    assert f"worker {worker.pid}," in texts[-1]
    assert_no_secrets(httpd)


def test_debug_tells_that_a_connection_came_from_the_pool(httpd):
    serve(httpd, "LogLevel info wsgi:debug")
    [worker] = httpd.workers(count=1)
    with httpd.connect() as client:
        for _ in range(2):
            client.send_request("GET", "/shop/cart")
            assert client.response().status == 201
    last = ended(httpd, 2)[-1]
    assert f"attempt 1 over a pooled connection to worker {worker.pid};" in last.text


def test_trace_shows_the_frames_both_ways(httpd):
    serve(httpd, "LogLevel info wsgi:trace8")
    ask(httpd, body=b"bodysecret" * 10_000)
    ended(httpd)
    frames = [re.search(r"(sent to|received from) the worker: (\w+), (\d+) bytes", record.text) for record in of_requests(httpd)]
    frames = [(frame[1], frame[2], int(frame[3])) for frame in frames if frame]
    kinds = [(way.split()[0], kind) for way, kind, _ in frames]
    # The body comes in as many frames as httpd had reads.
    kinds = [kind for at, kind in enumerate(kinds) if kind != ("sent", "Body") or kinds[at - 1] != kind]
    assert kinds == [
        ("sent", "Request"), ("received", "Pull"), ("sent", "Body"), ("sent", "BodyEnd"),
        ("received", "Head"), ("received", "Data"), ("received", "End"),
    ]
    assert sum(length for _, kind, length in frames if kind == "Body") == 100_000 - 65536
    assert [length for _, kind, length in frames if kind == "Data"] == [11]
    assert_no_secrets(httpd)


def test_trace_names_a_url_that_no_alias_takes(httpd):
    serve(httpd, "LogLevel info wsgi:trace1")
    assert httpd.get("/elsewhere?key=querysecret").status == 404
    httpd.error_log.expect("no WSGIScriptAlias takes /elsewhere$", level="trace1", count=1)
    assert_no_secrets(httpd)


def test_at_info_a_request_leaves_no_line(httpd):
    serve(httpd, "LogLevel info")
    httpd.workers(count=1)
    ask(httpd)
    httpd.stop()
    assert not httpd.error_log.records(r"\[wsgi:(debug|trace\d)\]")
    # A script that is loaded is told, a request is not.
    known = "was loaded in|process group 'app': "
    assert not [record for record in httpd.error_log.records(r"\[wsgi:info\]") if not re.search(known, record.text)]


def test_a_directory_and_a_virtual_host_have_levels_of_their_own(httpd):
    httpd.app("app.wsgi", APP)
    (httpd.apps / "loud").mkdir()
    httpd.app("loud/app.wsgi", APP)
    httpd.configure(
        "LogLevel info",
        "WSGIDaemonProcess app display-name=%{GROUP} threads=2",
        "WSGIProcessGroup app",
        "WSGIScriptAlias /quiet {apps}/app.wsgi",
        "WSGIScriptAlias /loud {apps}/loud/app.wsgi",
        "<Directory {apps}/loud>", "  LogLevel wsgi:debug", "</Directory>",
        "<VirtualHost *>", "  ServerName main.example", "</VirtualHost>",
        "<VirtualHost *>", "  ServerName loud.example", "  LogLevel wsgi:debug", "</VirtualHost>",
    ).start()

    def lines(path, host):
        before = httpd.error_log.mark()
        ask(httpd, path, headers=REQUEST["headers"] | {"Host": host})
        # One that is logged, in the same child or another, comes after all of the request's own.
        text = httpd.error_log.since(before)
        return [word for word in ("leads", "goes to", "complete with") if f" {word} " in text]

    assert lines("/quiet/x", "main.example") == []
    # Aliases come before directories.
    waiting.until(lambda: lines("/loud/x", "main.example") == ["goes to", "complete with"], 10, "the directory's lines")
    waiting.until(lambda: lines("/quiet/x", "loud.example") == ["leads", "goes to", "complete with"], 10, "the host's lines")
    assert lines("/quiet/x", "main.example") == []
    assert_no_secrets(httpd)


def test_a_request_that_is_sent_again_says_why(httpd):
    serve(httpd, "LogLevel info wsgi:debug")
    ask(httpd)
    httpd.app("app.wsgi", APP + "# changed\n")
    ask(httpd)
    httpd.error_log.expect("attempt 1 over a .* came back: .*; the request is sent again$", level="debug", count=1)
    httpd.error_log.expect(r"complete with status 201 after .*: attempt [2-9]\d* over a new connection;", level="debug", count=1)


def test_a_request_that_no_worker_answers_says_how_it_ended(httpd):
    httpd.app("app.wsgi", "import os\ndef application(environ, start_response):\n    os._exit(1)\n")
    httpd.configure(
        "LogLevel info wsgi:debug", "WSGIDaemonProcess app display-name=%{GROUP}", "WSGIScriptAlias / {apps}/app.wsgi process-group=app",
    ).start()
    assert httpd.get("/").status == 502
    httpd.error_log.allow("WSGI0")
    httpd.error_log.expect(r"httpd answers with status 502 after [\d.]+ ms: attempt 1 over a new connection", level="debug", count=1)


def test_the_supervisor_tells_at_debug_why_workers_come_and_go(httpd):
    serve(httpd, "LogLevel info wsgi:debug")
    [old] = httpd.workers(count=1)
    ask(httpd)
    script = re.escape(str(httpd.apps / "app.wsgi"))
    told = lambda pattern: httpd.error_log.expect(r"process group 'app': " + pattern, level="debug", count=1)
    told(rf"worker {old.pid} was ready \d+ ms after its start")
    told(rf"worker {old.pid} has its first request for {script} in the main interpreter")
    httpd.graceful()
    waiting.for_exit(old.pid)
    [new] = httpd.workers(count=1)
    told(rf"worker {new.pid} loads before it is ready: {script}")
    told(rf"worker {old.pid} of generation 1 drains, for [\d.]+ s at most: its successor is ready")
    httpd.error_log.expect(rf"worker {old.pid} exited with status 0", level="info", count=1)
    httpd.stop()
    told(rf"worker {new.pid} is told to exit within [\d.]+ s: Apache stops or is restarted without grace")
    assert_no_secrets(httpd)
