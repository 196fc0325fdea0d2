"""What mod_wsgi.subscribe_events promises beyond test_python_module.py: the order of keys, odd subscribers, limits."""

import os
import signal

import processes
import pytest
import waiting

TOP = """
import asyncio, json, threading, time
import mod_wsgi

seen = []

def answer(start_response, value):
    start_response("200 OK", [])
    return [json.dumps(value).encode()]
"""

STARTED = [
    "request_id", "thread_id", "daemon_connects", "daemon_restarts", "server_pid", "request_start", "queue_start", "daemon_start",
    "application_object", "callable_object", "request_environ", "application_start", "request_data"]
RESPONSE = ["request_id", "response_status", "response_headers", "exception_info", "request_data"]
EXCEPTION = ["request_id", "exception_info", "request_data"]
FINISHED = [
    "request_id", "thread_id", "server_pid", "request_start", "queue_start", "daemon_start", "input_reads", "input_length", "input_time",
    "output_length", "output_writes", "cpu_user_time", "cpu_system_time", "cpu_time", "output_time", "application_finish", "application_time",
    "status", "gil_wait_time", "gil_wait_count", "request_data"]


def serve(httpd, source, *lines, options="threads=3"):
    httpd.app("case.wsgi", TOP + source)
    return httpd.serve("case.wsgi", *lines, options=options)


def test_the_keys_come_in_the_usual_order(httpd):
    serve(httpd, """
@mod_wsgi.subscribe_events
def record(name, **payload):
    seen.append([name, list(payload)])

def application(environ, start_response):
    if environ["PATH_INFO"] == "/seen":
        return answer(start_response, seen)
    start_response("200 OK", [])
    start_response("500 No", [], (KeyError, KeyError("own"), None))
    raise ValueError("lost")
""")
    httpd.get("/")
    httpd.error_log.expect_traceback("ValueError: lost")
    found = httpd.ask("/seen")[:5]
    assert found == [["request_started", STARTED], ["response_started", RESPONSE], ["response_started", RESPONSE],
                     ["request_exception", EXCEPTION], ["request_finished", FINISHED]]


def test_what_a_response_event_tells_is_what_the_application_gave(httpd):
    serve(httpd, """
@mod_wsgi.subscribe_events
def record(name, **payload):
    if name == "response_started":
        exc_info = payload["exception_info"]
        seen.append([payload["response_status"] if isinstance(payload["response_status"], str) else "not a str", len(payload["response_headers"]), exc_info and repr(exc_info[1])])

def application(environ, start_response):
    if environ["PATH_INFO"] == "/seen":
        return answer(start_response, seen)
    for arguments in (("2", []), (b"200 OK", []), ("200 OK", [("X", 5)]), ("200 OK", [], (KeyError, KeyError("own"), None))):
        try:
            start_response(*arguments)
        except (TypeError, ValueError):
            pass
    return []
""")
    httpd.get("/")
    assert httpd.ask("/seen")[:4] == [["2", 0, None], ["not a str", 0, None], ["200 OK", 1, None], ["200 OK", 0, "KeyError('own')"]]


def test_no_exception_of_a_subscriber_reaches_a_request(httpd):
    serve(httpd, """
def raising(kind):
    def callback(name, **payload):
        if name in ("request_started", "response_started", "request_finished"):
            raise kind("by a subscriber")
    return callback

class Own(BaseException):
    def __str__(self):
        raise RuntimeError("cannot be shown")

for kind in (ValueError, KeyboardInterrupt, asyncio.CancelledError, GeneratorExit, Own):
    mod_wsgi.subscribe_events(raising(kind))
mod_wsgi.subscribe_events(None)
mod_wsgi.subscribe_events(lambda name: None)

@mod_wsgi.subscribe_events
def last(name, **payload):
    seen.append(name)

def application(environ, start_response):
    return answer(start_response, list(seen))
""")
    assert httpd.ask("/") == ["request_started"]
    assert httpd.ask("/")[:4] == ["request_started", "response_started", "request_finished", "request_started"]
    httpd.error_log.expect("WSGI0112")
    for name in ("ValueError", "KeyboardInterrupt", "CancelledError", "GeneratorExit", "Own", "TypeError"):
        httpd.error_log.expect(name)
    httpd.error_log.allow(r"\]\s+\S", "WSGI0112", "Traceback", "Error", "Own", "KeyboardInterrupt", "GeneratorExit", "exception")


def test_what_subscribers_return_may_be_anything(httpd):
    serve(httpd, """
class Mine(dict):
    pass

def returning(value):
    return lambda event, **payload: value

for value in (5, [1], "text", True, Mine(more="from a subclass")):
    mod_wsgi.subscribe_events(returning(value))

@mod_wsgi.subscribe_events
def record(event, **payload):
    if event == "request_started":
        seen.append(payload.get("more"))

def application(environ, start_response):
    return answer(start_response, seen)
""")
    assert httpd.ask("/") == ["from a subclass"]
    assert httpd.ask("/") == ["from a subclass"] * 2


def test_keys_that_are_no_names_harm_only_later_subscribers(httpd):
    serve(httpd, """
mod_wsgi.subscribe_events(lambda event, **payload: {5: "no name"})
mod_wsgi.subscribe_events(lambda event, **payload: None)

def application(environ, start_response):
    return answer(start_response, "served")
""")
    assert httpd.ask("/") == "served"
    httpd.error_log.expect("TypeError: .*keywords must be strings")
    httpd.error_log.allow("WSGI0112", "Traceback", r"\]\s+\S", "TypeError")


def test_whoever_subscribes_in_a_callback_hears_the_next_event(httpd):
    serve(httpd, """
def late(name, **payload):
    seen.append(["late", name])

@mod_wsgi.subscribe_events
def first(name, **payload):
    seen.append(["first", name])
    if name == "request_started":
        mod_wsgi.event_callbacks[:] = [first, late]

def application(environ, start_response):
    return answer(start_response, list(seen))
""")
    assert httpd.ask("/") == [["first", "request_started"]]
    assert httpd.ask("/")[1:5] == [["first", "response_started"], ["late", "response_started"], ["first", "request_finished"], ["late", "request_finished"]]


def test_a_callback_may_use_everything_of_the_module_and_of_the_request(httpd):
    serve(httpd, """
mod_wsgi.start_recording_metrics()

@mod_wsgi.subscribe_events
def busy(name, **payload):
    if name == "process_stopping":
        return
    mod_wsgi.request_metrics()
    mod_wsgi.process_metrics()
    mod_wsgi.request_data()[name] = payload["request_data"] is mod_wsgi.request_data()
    print("in", name)
    threads = [threading.Thread(target=mod_wsgi.process_metrics) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    if name == "request_started":
        payload["request_environ"]["early"] = payload["request_environ"]["wsgi.input"].read(3).decode()
        payload["request_environ"]["wsgi.errors"].write("from the subscriber\\n")

def application(environ, start_response):
    return answer(start_response, [environ["early"], environ["wsgi.input"].read().decode(), mod_wsgi.request_data()])
""")
    assert httpd.post("/", b"onetwo").json == ["one", "two", {"request_started": True, "response_started": True}]
    httpd.error_log.expect("from the subscriber", count=1)
    for name in ("request_started", "response_started", "request_finished"):
        httpd.error_log.expect(f"in {name}", count=1)


def test_each_application_group_has_subscribers_of_its_own(httpd):
    httpd.app("case.wsgi", TOP + """
@mod_wsgi.subscribe_events
def record(name, **payload):
    if name == "request_started":
        seen.append(payload["request_environ"]["mod_wsgi.application_group"])

def application(environ, start_response):
    return answer(start_response, seen)
""")
    httpd.configure(
        "WSGIDaemonProcess app threads=2", "WSGIProcessGroup app", "WSGIScriptAlias /a {apps}/case.wsgi", "WSGIScriptAlias /b {apps}/case.wsgi",
        "<Location /a>", "WSGIApplicationGroup one", "</Location>", "<Location /b>", "WSGIApplicationGroup two", "</Location>",
    )
    httpd.start()
    assert httpd.ask("/a") == ["one"]
    assert httpd.ask("/b") == ["two"]
    assert httpd.ask("/a") == ["one"] * 2


def test_what_an_event_tells_does_not_depend_on_what_the_application_left_of_environ(httpd):
    serve(httpd, """
@mod_wsgi.subscribe_events
def record(name, **payload):
    if name in ("request_started", "request_exception", "request_finished") and mod_wsgi.request_data().get("wanted", True):
        seen.append([name, {key: payload.get(key) for key in ("request_id", "server_pid", "request_start", "queue_start", "daemon_start")}])

def application(environ, start_response):
    if environ["PATH_INFO"] == "/seen":
        return answer(start_response, seen)
    environ.clear()
    raise ValueError("lost")
""")
    httpd.get("/")
    httpd.error_log.expect_traceback("ValueError: lost")
    (_, started), (_, raised), (_, finished), *_ = httpd.ask("/seen")
    assert started == finished and None not in started.values() and 0 not in started.values()
    assert raised["request_id"] == started["request_id"]


def test_lists_of_callbacks_can_be_set(httpd):
    serve(httpd, """
@mod_wsgi.subscribe_events
def first(name, **payload):
    seen.append(["first", name])

def second(name, **payload):
    seen.append(["second", name])

kept = mod_wsgi.event_callbacks
mod_wsgi.event_callbacks = [second]

def application(environ, start_response):
    if environ["PATH_INFO"] == "/none":
        mod_wsgi.event_callbacks = None
        return answer(start_response, None)
    if environ["PATH_INFO"] == "/back":
        mod_wsgi.event_callbacks = kept
    return answer(start_response, [list(seen), len(kept)])
""")
    assert httpd.ask("/") == [[["second", "request_started"]], 1]
    httpd.ask("/none")
    count = len(httpd.ask("/back")[0])
    found, _ = httpd.ask("/")
    assert found[count:] == [["first", "response_started"], ["first", "request_finished"], ["first", "request_started"]]


def test_subscribers_to_one_kind_get_what_subscribers_to_events_returned(httpd):
    serve(httpd, """
@mod_wsgi.subscribe_shutdown
def shutdown(name, **event):
    print("second", event)

@mod_wsgi.subscribe_events
def event(name, **event):
    if name == "process_stopping":
        print("first", event)
        return {"more": True}

def application(environ, start_response):
    return answer(start_response, "served")
""")
    httpd.ask("/")
    httpd.stop()
    httpd.error_log.expect(r"first {'shutdown_reason': 'shutdown_signal'}", count=1)
    httpd.error_log.expect(r"second {'shutdown_reason': 'shutdown_signal', 'more': True}", count=1)


@pytest.mark.differs("subscribers-are-bounded")
def test_an_application_that_subscribes_in_each_request_does_not_fill_the_process(httpd):
    serve(httpd, """
def application(environ, start_response):
    for subscribe in (mod_wsgi.subscribe_events, mod_wsgi.subscribe_shutdown, mod_wsgi.subscribe_signals):
        for _ in range(600):
            callback = lambda name, **payload: None
            assert subscribe(callback) is callback
    return answer(start_response, [len(mod_wsgi.event_callbacks), len(mod_wsgi.shutdown_callbacks), len(mod_wsgi.signal_callbacks)])
""")
    httpd.ask("/")
    for _ in range(2):
        assert httpd.ask("/") == [1000] * 3
    for name in ("subscribe_events", "subscribe_shutdown", "subscribe_signals"):
        httpd.error_log.expect(f"WSGI0464: {name}", level="error", count=1)


@pytest.mark.differs("limits-fire-when-they-say")
def test_a_subscriber_that_takes_too_long_is_interrupted_like_the_application(httpd):
    serve(httpd, """
@mod_wsgi.subscribe_events
def slow(name, **payload):
    if name == "request_started" and payload["request_environ"]["PATH_INFO"] == "/slow":
        try:
            until = time.monotonic() + 30
            while time.monotonic() < until:
                time.sleep(0.01)
        except mod_wsgi.RequestTimeout:
            print("interrupted")
            raise

def application(environ, start_response):
    return answer(start_response, "served")
""", options="threads=3 request-timeout=1 interrupt-timeout=5")
    httpd.ask("/")
    assert httpd.get("/slow", timeout=20).status == 504
    httpd.error_log.expect("interrupted", count=1)
    httpd.error_log.allow("WSGI0112", "Traceback", r"\]\s+\S", "RequestTimeout")
    assert httpd.ask("/") == "served"


def test_shutdown_subscribers_in_every_interpreter_are_told_although_others_raise(httpd):
    httpd.app("case.wsgi", TOP + """
@mod_wsgi.subscribe_shutdown
def raising(name, **payload):
    raise KeyboardInterrupt

@mod_wsgi.subscribe_shutdown
def last(name, *, shutdown_reason):
    print("told", mod_wsgi.application_group, shutdown_reason)

def application(environ, start_response):
    return answer(start_response, "served")
""")
    httpd.configure(
        "WSGIDaemonProcess app threads=2", "WSGIProcessGroup app", "WSGIScriptAlias /a {apps}/case.wsgi", "WSGIScriptAlias /b {apps}/case.wsgi",
        "<Location /a>", "WSGIApplicationGroup one", "</Location>", "<Location /b>", "WSGIApplicationGroup %{GLOBAL}", "</Location>",
    )
    httpd.start()
    httpd.ask("/a")
    httpd.ask("/b")
    httpd.stop()
    httpd.error_log.expect("told one shutdown_signal", count=1)
    httpd.error_log.expect("told  shutdown_signal", count=1)
    httpd.error_log.expect("WSGI0112")
    httpd.error_log.allow("WSGI0112", "Traceback", r"\]\s+\S", "KeyboardInterrupt")


def test_active_requests_and_data_are_gone_after_a_failure(httpd):
    serve(httpd, """
def application(environ, start_response):
    if environ["PATH_INFO"] == "/raise":
        mod_wsgi.request_data()["left"] = True
        raise ValueError("lost")
    return answer(start_response, [len(mod_wsgi.active_requests), mod_wsgi.request_data()])
""")
    httpd.get("/raise")
    httpd.error_log.expect_traceback("ValueError: lost")
    waiting.until(lambda: httpd.ask("/") == [1, {}])


REASON = """
@mod_wsgi.subscribe_shutdown
def leave(name, **event):
    print("reason:", event["shutdown_reason"])

def application(environ, start_response):
    if environ["PATH_INFO"] == "/compute":
        until = time.process_time() + 1.2
        while time.process_time() < until:
            pass
    return answer(start_response, "served")
"""


@pytest.mark.parametrize(("options", "cause", "reason"), [
    ("", "SIGUSR1", "graceful_signal"),
    ("eviction-timeout=5", "SIGUSR1", "eviction_signal"),
    ("restart-interval=1 graceful-timeout=2", "", "restart_interval"),
    ("cpu-time-limit=1", "/compute", "cpu_time_limit"),
    ("", "touch", "script_reload"),
    ("maximum-requests=1", "/", "maximum_requests"),
    ("", "stop", "shutdown_signal"),
])
def test_why_a_process_leaves(httpd, options, cause, reason):
    serve(httpd, REASON, options=f"threads=2 {options}")
    httpd.get("/")
    worker, *_ = httpd.workers()
    httpd.error_log.allow("WSGI0327", "WSGI0329")
    if cause == "SIGUSR1":
        processes.send_signal(worker.pid, signal.SIGUSR1)
    elif cause == "touch":
        script = httpd.apps / "case.wsgi"
        os.utime(script, (1, 1))
        httpd.get("/")
    elif cause == "stop":
        httpd.stop()
    elif cause:
        httpd.get(cause)
    first, *_ = httpd.error_log.expect("reason: ", within=20)
    assert first.text.endswith(f"reason: {reason}")
    httpd.error_log.allow("reason: ")
