"""A request body and its response move at the same time, whichever end is slow to take them (issue 3,
point 2)."""

import threading

import pytest

import h2client

pytestmark = pytest.mark.differs("both-directions-at-once", run=False)

FOUR_MIB = bytes(range(256)) * 4096 * 4

# Answers without reading what comes.
CROSSING = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Length", str(4 << 20))])
    for _ in range(64):
        yield b"x" * 65536
"""


def test_four_megabytes_up_unread_and_four_down_complete(httpd):
    httpd.app("cross.wsgi", CROSSING)
    httpd.serve("cross.wsgi")
    with httpd.connect() as connection:
        sender = threading.Thread(target=connection.send_request, args=("POST", "/"), kwargs={"body": b"u" * (4 << 20)})
        sender.start()
        answer = connection.response()
        sender.join(20)
    assert answer.complete and len(answer.body) == 4 << 20


@pytest.mark.parametrize("megabytes", [1, 4])
def test_a_client_that_reads_only_after_it_has_sent_everything_is_answered(httpd, megabytes):
    httpd.app("cross.wsgi", f"""
def application(environ, start_response):
    start_response("200 OK", [("Content-Length", str({megabytes} << 20))])
    for _ in range({megabytes} * 16):
        yield b"x" * 65536
""")
    httpd.serve("cross.wsgi", options="threads=1")
    with httpd.connect() as connection:
        connection.send_request("POST", "/", body=b"u" * (megabytes << 20))
        answer = connection.response()
        assert answer.complete and len(answer.body) == megabytes << 20
    assert httpd.get("/").complete


def test_an_echo_of_four_megabytes_flows_both_ways(httpd):
    httpd.app("flow.wsgi", """
def application(environ, start_response):
    start_response("200 OK", [("Content-Length", environ["CONTENT_LENGTH"])])
    while piece := environ["wsgi.input"].read(65536):
        yield piece
""")
    httpd.serve("flow.wsgi")
    with httpd.connect() as connection:
        sender = threading.Thread(target=connection.send_request, args=("POST", "/"), kwargs={"body": FOUR_MIB})
        sender.start()
        answer = connection.response()
        sender.join(20)
    assert answer.complete and answer.body == FOUR_MIB


@pytest.mark.parametrize("framed", [True, False], ids=["length", "no length"])
def test_four_megabytes_up_unread_and_four_down_complete_over_http_2(httpd, framed):
    httpd.app("cross.wsgi", CROSSING)
    httpd.serve("cross.wsgi", "Protocols h2c http/1.1", options="threads=1")
    with h2client.Connection(httpd.port) as connection:
        stream = connection.begin("POST", "/", [("content-length", str(4 << 20))] if framed else [], more=True)
        answer, left = connection.answers[stream], 4 << 20
        # Sends what the server lets it send, and takes what comes, as clients of HTTP/2 do.
        while left and not (answer.complete or answer.ending):
            room = connection.room(stream)
            if room == 0:
                assert connection.pump()
                continue
            piece = min(left, room)
            connection.send(stream, b"u" * piece, end=piece == left)
            left -= piece
        connection.answer(stream)
        assert answer.complete and len(answer.body) == 4 << 20
        # The connection serves on.
        again = connection.get("/")
        assert again.complete and len(again.body) == 4 << 20


def test_an_echo_of_four_megabytes_flows_both_ways_over_http_2(httpd):
    httpd.app("flow.wsgi", """
def application(environ, start_response):
    start_response("200 OK", [])
    while piece := environ["wsgi.input"].read(65536):
        yield piece
""")
    httpd.serve("flow.wsgi", "Protocols h2c http/1.1", options="threads=1")
    with h2client.Connection(httpd.port) as connection:
        answer = connection.request("POST", "/", [("content-length", str(4 << 20))], FOUR_MIB)
    assert answer.complete and answer.body == FOUR_MIB
