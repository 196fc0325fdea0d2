"""Every example of docs/guides/python-modules.md runs, and does what the page says."""

import re
import signal

import processes
import pytest
from httpd import CHECKOUT

PAGE = CHECKOUT / "docs" / "guides" / "python-modules.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
APPLICATION = """
def application(environ, start_response):
    start_response("200 OK", [])
    return [b"served"]
"""


def example(word):
    found, = [text for text in EXAMPLES if word in text]
    return found if "def application" in found else found + APPLICATION


def test_every_example_is_tried_here():
    words = ("except ImportError", "active_requests", "request_finished", "application_object", "subscribe_signals", "request_metrics")
    assert sorted(EXAMPLES, key=EXAMPLES.index) == [text for text in EXAMPLES if any(word in text for word in words)]
    assert len(EXAMPLES) == len(words)


def serve(httpd, word, options="threads=3"):
    httpd.app("case.wsgi", example(word))
    return httpd.serve("case.wsgi", options=options)


def test_detection(httpd):
    assert serve(httpd, "except ImportError").get("/").text == "served"


def test_active_requests(httpd):
    assert re.fullmatch(r"/some/page for 0.\d s\n", serve(httpd, "active_requests").get("/some/page").text)


def test_one_line_for_each_request(httpd):
    serve(httpd, "request_finished").get("/")
    httpd.error_log.expect(r'{"id": "\S+", "status": 200, "application": 0.\d+, "processor": 0.\d+}', count=1)


def test_middleware(httpd):
    response = serve(httpd, "application_object").get("/")
    assert response.text == "served" and response["X-Request"]


@pytest.mark.parametrize("name", ["SIGHUP", "SIGUSR2"])
def test_the_end_and_signals(httpd, name):
    serve(httpd, "subscribe_signals").get("/")
    worker, = httpd.workers()
    processes.send_signal(worker.pid, signal.Signals[name])
    httpd.error_log.expect(f"got {name}", count=1)
    httpd.stop()
    httpd.error_log.expect("leaving: shutdown_signal", count=1)


def test_a_reporter(httpd):
    serve(httpd, "request_metrics").get("/")
    httpd.stop()
    httpd.error_log.expect(r"\d+\.\d requests a second, \d+% of the threads busy", count=1)
