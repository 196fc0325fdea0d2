"""A child's thread waits a moment for the next request of a connection that it has served, where the
MPM would else hand the connection from thread to thread."""

import time

import pytest

import waiting

THREADS = """
LogFormat "%{remote}p %{tid}P %>s" threads
CustomLog {root}/logs/threads threads
"""


def requests(httpd, count):
    """Connection and thread of each request so far, which are as many at least."""
    log = httpd.root / "logs" / "threads"
    lines = waiting.until(lambda: len(found := log.read_text().splitlines()) >= count and found, what=f"{count} lines")
    assert all(line.endswith(" 200") for line in lines), lines
    return [line.split()[:2] for line in lines]


@pytest.mark.differs("follow-up-is-awaited")
def test_a_client_that_asks_again_at_once_keeps_its_thread(httpd):
    if httpd.mpm != "event":
        pytest.skip("with other MPMs a connection keeps its thread anyway")
    httpd.serve("hello.wsgi", THREADS, "MaxKeepAliveRequests 0")
    with httpd.load(clients=5) as load:
        load.more(1000, within=60)
    kept, of_connection = 0, {}
    for connection, thread in requests(httpd, 1000):
        kept += of_connection.get(connection) == thread
        of_connection[connection] = thread
    # By chance it would be a third at most. A busy machine may take its time with some.
    assert kept > 700


def test_one_that_takes_its_time_is_served_as_well(httpd):
    httpd.serve("hello.wsgi", THREADS)
    with httpd.connect() as connection:
        for number in range(30):
            connection.send_request("GET", "/")
            assert connection.response().status == 200
            # Shorter than a moment, about as long, and longer.
            time.sleep(number % 6 * 0.002)
    requests(httpd, 30)


def test_more_clients_than_a_child_has_threads(httpd):
    size = "ServerLimit 1\nStartServers 1\nThreadsPerChild 6\nMaxRequestWorkers 6\nMinSpareThreads 1\nMaxSpareThreads 6"
    httpd.serve("hello.wsgi", "MaxKeepAliveRequests 0", size=None if httpd.mpm == "prefork" else size)
    httpd.error_log.allow("AH10159|AH00484")
    with httpd.load(clients=20) as load:
        load.more(1000, within=60)
    assert not load.failures, load.failures[:3]


def test_requests_sent_together_are_all_answered(httpd):
    httpd.serve("echo.wsgi")
    with httpd.connect() as connection:
        one = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
        connection.send(one * 20 + one.replace(b"Host", b"Connection: close\r\nHost"))
        answers = [connection.response() for _ in range(21)]
    assert [answer.status for answer in answers] == [200] * 21


def test_a_client_may_pause_for_longer_than_it_may_take_for_a_request(httpd):
    """What the wait does on a connection must not look like the beginning of a request to mod_reqtimeout."""
    httpd.serve("hello.wsgi", "RequestReadTimeout handshake=0 header=1 body=1", "KeepAliveTimeout 20")
    with httpd.connect() as connection:
        for _ in range(3):
            connection.send_request("GET", "/")
            assert connection.response().status == 200
            time.sleep(1.5)
