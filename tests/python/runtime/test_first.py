"""A first look."""

HELLO = """
    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
        return [b"hello"]
"""


def test_hello(worker, script):
    path = script(HELLO)
    w = worker()
    answer = w.get(path)
    assert (answer.status, answer.body, answer.complete) == (200, b"hello", True), (answer, w.log)
