"""mod_wsgi.start_recording_metrics, request_metrics and process_metrics."""

import time

import pytest
import waiting

PHASES = ["server_time", "queue_time", "daemon_time", "application_time", "request_time", "gil_wait_time", "input_read_time", "output_write_time"]
REQUEST_KEYS = {
    "pid", "start_time", "stop_time", "sample_period", "request_count", "request_throughput", "request_threads_maximum", "request_threads_started",
    "request_threads_active", "capacity_utilization", "request_threads_completed", "request_threads_buckets", "request_threads_busy_time",
    "request_threads_cpu_time", "request_threads_current_elapsed", "request_threads_max_duration", "gil_wait_count", "input_bytes", "input_reads",
    "output_bytes", "output_writes", "cpu_user_utilization", "cpu_system_utilization", "cpu_utilization", "cpu_user_time", "cpu_system_time",
    "cpu_time", "memory_rss", "memory_max_rss", *(f"status_{number}xx" for number in range(1, 6)),
    *(phase + end for phase in PHASES for end in ("", "_min_us", "_max_us", "_buckets")),
}
PROCESS_KEYS = [
    "pid", "request_busy_time", "request_count", "memory_max_rss", "memory_rss", "cpu_user_time", "cpu_system_time", "cpu_time", "restart_time",
    "current_time", "running_time", "request_threads", "active_requests", "threads"]

APP = """
import json, os, threading, time
import mod_wsgi

gate = threading.Event()

def answer(start_response, value, status="200 OK"):
    start_response(status, [])
    return [json.dumps(value).encode()]

def application(environ, start_response):
    path, query = environ["PATH_INFO"], environ["QUERY_STRING"]
    if path.endswith("/start"):
        return answer(start_response, mod_wsgi.start_recording_metrics())
    if path.endswith("/requests"):
        return answer(start_response, mod_wsgi.request_metrics())
    if path.endswith("/process"):
        return answer(start_response, mod_wsgi.process_metrics())
    if path == "/compute":
        until = time.thread_time() + 0.1
        while time.thread_time() < until:
            pass
    if path == "/wait":
        gate.wait(30)
    if path == "/go":
        gate.set()
    if path == "/nap":
        time.sleep(0.1)
    if path == "/raise":
        raise ValueError("lost")
    if path == "/nothing":
        return []
    if path == "/pieces":
        environ["wsgi.input"].read(100)
        environ["wsgi.input"].read()
        start_response("202 Yes", [])
        return iter([b"x" * 100, b"", b"y" * 23])
    return answer(start_response, path, query.replace("+", " ") or "200 OK")
"""


@pytest.fixture
def metered(httpd):
    httpd.app("case.wsgi", APP)
    return httpd.serve("case.wsgi", options="threads=3")


def test_nothing_is_known_before_it_is_asked_for(metered):
    assert metered.ask("/requests") is None and metered.ask("/process") is None
    for _ in range(2):
        assert metered.ask("/start") is None
    assert set(metered.ask("/requests")) == REQUEST_KEYS
    assert list(metered.ask("/process")) == PROCESS_KEYS


def test_what_the_requests_of_an_interval_were_like(metered):
    metered.ask("/start")
    metered.ask("/requests")
    for status in ("204+No", "304+Same", "404+No", "404+No", "503+Later"):
        metered.get(f"/any?{status}")
    metered.post("/pieces", b"z" * 1000)
    assert metered.get("/raise").status == metered.get("/nothing").status == 500
    metered.error_log.expect_traceback("ValueError: lost")
    metered.error_log.expect("RuntimeError: .*start_response")
    metered.error_log.allow("WSGI0174", "Traceback")
    seen = metered.ask("/requests")
    # The request that asked last, too.
    assert seen["request_count"] == 9 == sum(seen["request_threads_completed"])
    assert [seen[f"status_{number}xx"] for number in range(1, 6)] == [0, 3, 1, 2, 3]
    assert seen["input_bytes"] == 1000 and seen["input_reads"] >= 2
    assert seen["output_bytes"] >= 123 and seen["output_writes"] >= 3
    assert seen["request_threads_buckets"] == seen["request_threads_completed"]
    assert 0 < seen["sample_period"] < 30
    assert seen["request_throughput"] == pytest.approx(9 / seen["sample_period"])
    for phase in PHASES:
        assert len(seen[f"{phase}_buckets"]) == 65 and sum(seen[f"{phase}_buckets"]) == 9
        least, most = seen[f"{phase}_min_us"], seen[f"{phase}_max_us"]
        assert isinstance(least, int) and 0 <= least <= seen[phase] * 1e6 + 1 and seen[phase] * 1e6 <= most + 1
    assert seen["request_time"] >= seen["application_time"] > 0
    empty = metered.ask("/requests")
    assert empty["request_count"] == 1


def test_times_are_those_of_the_requests(metered):
    metered.ask("/start")
    metered.ask("/requests")
    metered.get("/nap")
    metered.get("/compute")
    seen = metered.ask("/requests")
    assert seen["application_time_max_us"] >= 100_000
    # From 96 ms on, the buckets of the octave that begins with 64 ms and of those behind it.
    assert sum(seen["application_time_buckets"][26:]) == 2
    assert max(seen["request_threads_max_duration"]) >= 0.1
    assert 0.2 <= sum(seen["request_threads_busy_time"]) <= 3 * seen["sample_period"]
    assert seen["capacity_utilization"] == pytest.approx(sum(seen["request_threads_busy_time"]) / seen["sample_period"] / 3, rel=0.01)
    assert 0.09 <= sum(seen["request_threads_cpu_time"]) < 0.2 + waiting.SLACK
    assert seen["cpu_utilization"] > 0 and seen["cpu_utilization"] == pytest.approx(seen["cpu_user_utilization"] + seen["cpu_system_utilization"])
    assert seen["cpu_time"] == seen["cpu_utilization"]
    assert seen["memory_rss"] > 4_000_000 and seen["memory_max_rss"] > 4_000_000


def test_what_still_runs_is_seen(metered):
    metered.ask("/start")
    with metered.connect() as connection:
        connection.send_request("GET", "/wait")
        waiting.until(lambda: metered.ask("/process")["active_requests"] == 2)
        metered.ask("/requests")
        metered.get("/nap")
        seen = metered.ask("/requests")
        assert max(seen["request_threads_current_elapsed"]) >= 0.1
        # Both of the one that waits and of those beside it.
        assert sum(seen["request_threads_busy_time"]) >= 0.2
        assert all(0 <= busy <= seen["sample_period"] + 0.01 for busy in seen["request_threads_busy_time"])
        assert seen["request_threads_active"] >= 2 and seen["request_threads_started"] == seen["request_threads_maximum"] == 3
        metered.get("/go")
        connection.response()


def test_the_process_since_it_came_up(metered):
    before = time.time()
    for _ in range(5):
        metered.get("/nap")
    metered.ask("/start")
    seen = metered.ask("/process")
    worker, = metered.workers()
    assert seen["pid"] == worker.pid
    assert 6 <= seen["request_count"] <= 7 and 0.5 <= seen["request_busy_time"] < 0.6 + waiting.SLACK
    assert [thread["thread_id"] for thread in seen["threads"]] == [1, 2, 3]
    assert 6 <= sum(thread["request_count"] for thread in seen["threads"]) <= 7
    assert seen["request_threads"] == 3 and seen["active_requests"] == 1
    assert before - 30 < seen["restart_time"] < before + 5 and before < seen["current_time"] < before + 30
    assert seen["running_time"] == int(seen["current_time"] - seen["restart_time"]) and isinstance(seen["running_time"], int)
    assert seen["cpu_time"] == pytest.approx(seen["cpu_user_time"] + seen["cpu_system_time"]) and seen["cpu_time"] > 0
    # It drains nothing.
    assert metered.ask("/process")["restart_time"] == seen["restart_time"]
    assert metered.ask("/requests")["request_count"] >= 1


def test_all_interpreters_of_a_process_share_one_recorder(httpd):
    httpd.app("case.wsgi", APP)
    httpd.configure(
        "WSGIDaemonProcess app threads=2", "WSGIProcessGroup app", "WSGIScriptAlias /one {apps}/case.wsgi", "WSGIScriptAlias /two {apps}/case.wsgi",
        "<Location /one>", "WSGIApplicationGroup one", "</Location>", "<Location /two>", "WSGIApplicationGroup two", "</Location>",
    )
    httpd.start()
    httpd.ask("/one/start")
    httpd.ask("/one/requests")
    for _ in range(3):
        httpd.get("/one/any")
    assert httpd.ask("/two/requests")["request_count"] == 4


@pytest.mark.differs("windows-begin-where-they-say")
def test_an_interval_begins_where_the_last_one_ended(metered):
    metered.ask("/start")
    first, second = metered.ask("/requests"), metered.ask("/requests")
    for seen in (first, second):
        assert seen["start_time"] < seen["stop_time"]
        assert seen["stop_time"] - seen["start_time"] == pytest.approx(seen["sample_period"], abs=0.01)
    assert first["stop_time"] == second["start_time"]


def test_a_reporter_of_its_own_gets_every_request_once(httpd):
    httpd.app("case.wsgi", """
import json, threading
import mod_wsgi

mod_wsgi.start_recording_metrics()
stop, counted = threading.Event(), []

def report():
    over = False
    while not over:
        over = stop.wait(0.01)
        counted.append(mod_wsgi.request_metrics()["request_count"])

reporter = threading.Thread(target=report)
reporter.start()

@mod_wsgi.subscribe_shutdown
def leave(name, **event):
    stop.set()
    reporter.join(10)
    print("counted", sum(counted))

def application(environ, start_response):
    start_response("200 OK", [])
    return [b""]
""")
    httpd.serve("case.wsgi", options="threads=3 graceful-timeout=10")
    for _ in range(50):
        httpd.get("/")
    httpd.stop()
    httpd.error_log.expect("counted 50", count=1)


def test_a_service_process_has_metrics_of_itself(httpd):
    httpd.app("service.py", """
import json, time
import mod_wsgi
mod_wsgi.start_recording_metrics()
seen, process = mod_wsgi.request_metrics(), mod_wsgi.process_metrics()
print("service", seen["request_count"], seen["capacity_utilization"], process["request_count"], process["request_busy_time"], process["threads"])
time.sleep(60)
""")
    httpd.configure("WSGIDaemonProcess service threads=0", "WSGIImportScript {apps}/service.py process-group=service application-group=%{GLOBAL}")
    httpd.start()
    httpd.error_log.expect(r"service 0 0.0 0 0.0 \[")
    httpd.stop()
