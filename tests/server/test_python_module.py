"""The module mod_wsgi inside applications, the module apache, and their keys in environ
(issue 3, point 10)."""

import pytest

TOP = """
import json, logging, os, sys, threading, time
import mod_wsgi
events = []

def plain(value):
    if isinstance(value, (str, int, float, bool, type(None))):
        return value
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()} if len(value) < 5 else "a dict"
    return type(value).__name__
"""


@pytest.fixture
def run(httpd):
    def serve(body, *lines, options="threads=3", top="", **more):
        indented = "\n".join("    " + line for line in body.strip("\n").splitlines())
        httpd.app("case.wsgi", f"""{TOP}
{top}

def answer(start_response, value):
    start_response("200 OK", [])
    return [json.dumps(plain(value)).encode()]

def application(environ, start_response):
    if environ["PATH_INFO"] == "/events":
        start_response("200 OK", [])
        return [json.dumps([event for event in events if event[1]["request_data"].get("path") != "/events"]).encode()]
    return case(environ, start_response)

def case(environ, start_response):
{indented}
""")
        return httpd.serve("case.wsgi", *lines, options=options, **more)

    return serve


SUBSCRIBED = """
@mod_wsgi.subscribe_events
def record(name, **payload):
    if name == "request_started":
        payload["request_data"]["path"] = payload["request_environ"]["PATH_INFO"]
    events.append((name, {key: plain(value) for key, value in payload.items()}))
"""


# -- constants ---------------------------------------------------------------------------------

def test_the_module_says_where_it_is(run):
    facts = run("""
import apache
names = ("version", "process_group", "application_group", "maximum_processes", "threads_per_process")
return answer(start_response, [[getattr(mod_wsgi, name) for name in names],
                               [environ["mod_wsgi.version"], environ["apache.version"], environ["mod_wsgi.process_group"], environ["mod_wsgi.application_group"]],
                               [apache.version, apache.maximum_processes, apache.threads_per_process, apache.description, apache.mpm_name]])
""", options="processes=2 threads=3").ask("/")
    (version, *names), (own, apache, process_group, application_group), (apache_version, *rest) = facts
    assert names == ["app", "", 2, 3]
    assert version == own and len(version) == 3 and all(isinstance(part, int) for part in version)
    assert apache == apache_version and apache[:2] == [2, 4]
    assert (process_group, application_group) == ("app", "")
    processes, threads, description, mpm = rest
    assert processes >= 1 and threads >= 1 and description.startswith("Apache/2.4") and mpm in ("event", "worker", "prefork")


def test_the_types_of_the_keys(run):
    facts = run("""
return answer(start_response, [(key, type(environ[key]).__name__) for key in environ if key.startswith(("mod_wsgi.", "apache."))])
""").ask("/")
    found = dict(facts)
    for name in ("request_start", "queue_start", "daemon_start", "application_start"):
        assert found[f"mod_wsgi.{name}"] == "float"
    for name in ("process_group", "application_group", "callable_object", "request_handler", "handler_script", "script_name",
                 "path_info", "listener_host", "listener_port", "server_pid", "request_id"):
        assert found[f"mod_wsgi.{name}"] == "str", name
    assert (found["mod_wsgi.version"], found["apache.version"], found["mod_wsgi.thread_id"]) == ("tuple", "tuple", "int")


def test_each_application_group_has_a_module_of_its_own(httpd):
    httpd.app("case.wsgi", TOP + """
def application(environ, start_response):
    start_response("200 OK", [])
    return [repr((mod_wsgi.application_group, environ["mod_wsgi.application_group"])).encode()]
""")
    httpd.configure(
        "WSGIDaemonProcess app threads=2", "WSGIProcessGroup app", "WSGIScriptAlias /a {apps}/case.wsgi", "WSGIScriptAlias /b {apps}/case.wsgi",
        "<Location /a>", "WSGIApplicationGroup one", "</Location>", "<Location /b>", "WSGIApplicationGroup two", "</Location>",
    )
    httpd.start()
    for _ in range(2):
        assert httpd.get("/a").text == "('one', 'one')"
        assert httpd.get("/b").text == "('two', 'two')"


def test_what_stands_in_the_module(run):
    found = run("""
return answer(start_response, [hasattr(mod_wsgi, name) for name in (
    "FileWrapper", "LogHandler", "RequestTimeout", "subscribe_events", "subscribe_shutdown", "subscribe_signals",
    "event_callbacks", "shutdown_callbacks", "signal_callbacks", "request_data", "active_requests")] + [
    mod_wsgi.RequestTimeout.__mro__[1].__name__, issubclass(mod_wsgi.LogHandler, logging.Handler)])
""").ask("/")
    assert found == [True] * 11 + ["BaseException", True]


@pytest.mark.differs("no-server-metrics", run=False)
def test_nothing_is_known_of_apache_s_own_processes(httpd):
    httpd.app("metrics.wsgi", """
import mod_wsgi
def application(environ, start_response):
    start_response("200 OK", [])
    return [repr(mod_wsgi.server_metrics()).encode()]
""")
    httpd.serve("metrics.wsgi", options="server-metrics=On")
    assert httpd.get("/").text == "None"


# -- requests ----------------------------------------------------------------------------------

def test_request_data_is_one_dict_for_a_request_and_its_thread(run):
    httpd = run("""
data = mod_wsgi.request_data()
data["n"] = 1
other = []
def elsewhere():
    try:
        mod_wsgi.request_data()
    except RuntimeError:
        other.append("RuntimeError")
thread = threading.Thread(target=elsewhere)
thread.start()
thread.join()
return answer(start_response, [data is mod_wsgi.request_data(), mod_wsgi.active_requests.get(environ["mod_wsgi.request_id"]) is data,
                               len(mod_wsgi.active_requests), other])
""")
    for _ in range(2):
        assert httpd.ask("/") == [True, True, 1, ["RuntimeError"]]


@pytest.mark.differs("request-data-from-the-call-on")
def test_a_script_that_is_being_loaded_serves_no_request_yet(run):
    httpd = run("return answer(start_response, found)", top="""
try:
    found = [mod_wsgi.request_data(), len(mod_wsgi.active_requests)]
except RuntimeError as error:
    found = [str(error), len(mod_wsgi.active_requests)]
""")
    text, active = httpd.ask("/")
    assert "request_data() can be used only" in text and active == 0


def test_active_requests_shows_what_runs_and_forgets_what_has(run):
    httpd = run("""
if environ["PATH_INFO"] == "/wait":
    mod_wsgi.request_data()["waits"] = True
    there.set()
    go.wait(10)
    return answer(start_response, [])
if environ["QUERY_STRING"]:
    there.wait(10)
found = [data.get("waits", False) for data in mod_wsgi.active_requests.values()]
go.set()
return answer(start_response, sorted(found))
""", top="go, there = threading.Event(), threading.Event()")
    with httpd.connect() as connection:
        connection.send_request("GET", "/wait")
        assert httpd.ask("/?x") == [False, True]
        connection.response()
    assert httpd.ask("/") == [False]


# -- events ------------------------------------------------------------------------------------

def test_the_events_of_a_request_and_what_they_tell(run):
    httpd = run("""
text = environ["wsgi.input"].read()
start_response("202 Yes", [("X-A", "1")])
return (piece for piece in (b"one", b"", b"three"))
""", top=SUBSCRIBED)
    httpd.post("/case", b"x" * 1000)
    events = httpd.ask("/events")
    assert [name for name, _ in events] == ["request_started", "response_started", "request_finished"]
    (_, started), (_, response), (_, finished) = events
    assert set(started) >= {
        "request_id", "thread_id", "daemon_connects", "daemon_restarts", "server_pid", "request_start", "queue_start", "daemon_start",
        "application_start", "application_object", "callable_object", "request_environ", "request_data"}
    assert (started["callable_object"], started["application_object"]) == ("application", "function")
    assert started["server_pid"] in [process.pid for process in httpd.children()]
    assert started["request_start"] <= started["queue_start"] <= started["daemon_start"] <= started["application_start"]
    assert (response["response_status"], response["response_headers"], response["exception_info"]) == ("202 Yes", [["X-A", "1"]], None)
    assert set(finished) >= {
        "request_id", "thread_id", "server_pid", "request_start", "queue_start", "daemon_start", "input_reads", "input_length", "input_time",
        "output_length", "output_writes", "output_time", "application_finish", "application_time", "status", "gil_wait_time",
        "gil_wait_count", "request_data", "cpu_user_time", "cpu_system_time", "cpu_time"}
    assert "application_start" not in finished
    assert (finished["status"], finished["input_length"], finished["output_length"], finished["output_writes"]) == (202, 1000, 8, 2)
    assert finished["input_reads"] >= 1 and finished["application_time"] >= 0 and finished["output_time"] > 0
    assert abs(finished["application_finish"] - finished["application_time"] - started["application_start"]) < 0.5
    ids = {started["request_id"], response["request_id"], finished["request_id"]}
    assert len(ids) == 1 and started["thread_id"] == finished["thread_id"]
    assert started["request_data"] == response["request_data"] == {"path": "/case"}


def test_waits_for_the_lock_of_python_are_told(run):
    httpd = run("""
if environ["PATH_INFO"] == "/spin":
    # Takes the lock away from whoever wants it.
    until = time.monotonic() + 30
    while not over.is_set() and time.monotonic() < until:
        sum(range(1000))
    return answer(start_response, None)
start_response("200 OK", [])
# Larger than what is sent without giving the lock back.
return (b"piece" * 8000 for _ in range(20))
""", top=SUBSCRIBED + "over = threading.Event()\n" + """
@mod_wsgi.subscribe_events
def release(name, **payload):
    if name == "request_finished" and payload["request_data"].get("path") == "/case":
        over.set()
""", options="threads=3")
    httpd.get("/first")
    with httpd.connect(timeout=40) as connection:
        connection.send_request("GET", "/spin")
        httpd.get("/case")
        connection.response()
    waits = {event["request_data"]["path"]: (event["gil_wait_count"], event["gil_wait_time"]) for name, event in httpd.ask("/events") if name == "request_finished"}
    count, seconds = waits["/case"]
    assert count >= 20 and 0 < seconds < 30, waits
    assert isinstance(seconds, float) and isinstance(count, int)


def test_an_exception_is_an_event_and_the_status_is_500(run):
    httpd = run('raise ValueError("lost")', top=SUBSCRIBED)
    assert httpd.get("/case").status == 500
    events = httpd.ask("/events")
    assert [name for name, _ in events] == ["request_started", "request_exception", "request_finished"]
    assert events[1][1]["exception_info"] == ["type", "ValueError", "traceback"]
    assert events[2][1]["status"] == 500
    httpd.error_log.expect_traceback("ValueError: lost")


def test_a_subscriber_may_put_another_application_in_place(run):
    httpd = run('return answer(start_response, "first")', top="""
def other(environ, start_response):
    start_response("200 OK", [])
    return [environ["added"].encode()]

def replace(name, **payload):
    if name == "request_started":
        payload["request_environ"]["added"] = "by a subscriber"
        return {"application_object": other}

assert mod_wsgi.subscribe_events(replace) is replace
""")
    assert httpd.get("/").text == "by a subscriber"


def test_subscribers_are_called_in_order_see_what_earlier_ones_return_and_may_raise(run):
    httpd = run("return answer(start_response, seen)", top="""
seen = []

def first(name, **payload):
    if name == "request_started":
        seen.append(["first", payload.get("more")])
        return {"more": "from the first"}

def raising(name, **payload):
    if name == "request_started":
        raise KeyError("in a subscriber")

def leaving(name, **payload):
    if name == "request_started":
        sys.exit(3)

def last(name, **payload):
    if name == "request_started":
        seen.append(["last", payload.get("more")])

for callback in (first, raising, leaving, last):
    mod_wsgi.subscribe_events(callback)
""")
    assert httpd.ask("/") == [["first", None], ["last", "from the first"]]
    httpd.error_log.expect("WSGI0112")
    httpd.error_log.allow("WSGI0190", "Traceback", r"\]\s+\S", "KeyError", "SystemExit")


def test_the_end_of_the_process_is_told_to_both_kinds_of_subscribers(run):
    httpd = run('return answer(start_response, "here")', top="""
@mod_wsgi.subscribe_shutdown
def shutdown(name, **payload):
    print("shutdown:", name, sorted(payload), type(payload["shutdown_reason"]).__name__)

@mod_wsgi.subscribe_events
def event(name, **payload):
    if name == "process_stopping":
        print("event:", name, sorted(payload))
""")
    httpd.ask("/")
    httpd.stop()
    httpd.error_log.expect(r"shutdown: process_stopping \['shutdown_reason'\] str", count=1)
    httpd.error_log.expect(r"event: process_stopping \['shutdown_reason'\]", count=1)


def test_atexit_runs_when_the_process_ends(run):
    httpd = run('return answer(start_response, "here")', top='import atexit\natexit.register(lambda: print("atexit ran"))')
    httpd.ask("/")
    httpd.stop()
    httpd.error_log.expect("atexit ran", count=1)


# -- LogHandler --------------------------------------------------------------------------------

HANDLER = """
log = logging.getLogger("shop")
log.setLevel(logging.DEBUG)
log.propagate = False
log.addHandler(mod_wsgi.LogHandler())
"""


def test_the_handler_keeps_levels_in_a_request(run):
    httpd = run("""
for level in (50, 45, 40, 35, 30, 25, 20, 15, 10, 5):
    log.log(level, "number %d", level)
return answer(start_response, None)
""", "LogLevel debug", top=HANDLER + "log.setLevel(1)\n")
    httpd.ask("/")
    for number, level in {50: "crit", 45: "error", 40: "error", 35: "warn", 30: "warn", 25: "info", 20: "info", 15: "debug", 10: "debug", 5: "debug"}.items():
        record, = httpd.error_log.expect(f"number {number}$", count=1)
        assert record.level == level
        # At `LogLevel debug` the C module's lines have a place in the source before the client.
        assert record.client.startswith("127.0.0.1:") or (httpd.is_reference and level == "debug")


def test_the_handler_keeps_levels_outside_of_requests(run):
    httpd = run("return answer(start_response, None)", top=HANDLER + 'log.info("an info at import")\nlog.warning("a warning at import")\nlog.error("an error at import")')
    httpd.ask("/")
    for level, text in (("info", "an info"), ("warn", "a warning"), ("error", "an error")):
        record, = httpd.error_log.expect(f"{text} at import", count=1)
        assert record.level == level


def test_log_level_of_the_module_filters_what_the_handler_gives(run):
    httpd = run('log.info("quiet")\nlog.warning("loud")\nreturn answer(start_response, None)', "LogLevel info wsgi:warn", top=HANDLER)
    httpd.ask("/")
    httpd.error_log.expect("loud", level="warn", count=1)
    assert not httpd.error_log.records("quiet")


@pytest.mark.differs("records-name-no-source")
def test_records_do_not_name_the_line_that_logged_them(run):
    """Apache shows it from `LogLevel debug` on, in front of the client."""
    httpd = run('log.debug("where")\nreturn answer(start_response, None)', "LogLevel debug", top=HANDLER)
    httpd.ask("/")
    record, = httpd.error_log.expect("where$", level="debug", count=1)
    assert "case.wsgi(" not in record.line


@pytest.mark.differs("handlers-format-every-record")
def test_records_that_log_level_leaves_out_are_formatted_all_the_same(run):
    httpd = run('log.info("%s", Counted())\nreturn answer(start_response, Counted.times)', "LogLevel info wsgi:warn", top=HANDLER + """
class Counted:
    times = 0
    def __str__(self):
        Counted.times += 1
        return "quiet"
""")
    assert httpd.ask("/") == 1
    assert not httpd.error_log.records("quiet")


def test_the_handler_can_be_subclassed_formats_and_survives_bad_records(run):
    httpd = run("""
log.warning("%d pieces", "many")
log.warning("after")
return answer(start_response, None)
""", top="""
class Own(mod_wsgi.LogHandler):
    failed = 0
    def handleError(self, record):
        Own.failed += 1
        print("a record could not be formatted")

handler = Own()
handler.setFormatter(logging.Formatter("own:%(levelname)s:%(message)s"))
log = logging.getLogger("shop")
log.addHandler(handler)
log.propagate = False
""")
    httpd.ask("/")
    httpd.error_log.expect("own:WARNING:after", level="warn", count=1)
    httpd.error_log.expect("a record could not be formatted", count=1)


def test_an_exception_that_is_logged_comes_with_its_traceback(run):
    httpd = run("""
try:
    {}["key"]
except KeyError:
    log.exception("not there")
return answer(start_response, None)
""", top=HANDLER)
    httpd.ask("/")
    httpd.error_log.expect("not there", level="error", count=1)
    httpd.error_log.expect("KeyError: 'key'", level="error", count=1)
    httpd.error_log.allow("Traceback", "File ", r"\]\s+\S", "key")


# -- an installed package ----------------------------------------------------------------------

@pytest.mark.differs("package-on-python-path")
def test_a_package_of_the_name_lends_its_modules(httpd):
    httpd.app("lib/mod_wsgi/__init__.py", "")
    httpd.app("lib/mod_wsgi/own.py", "VALUE = 42")
    httpd.app("case.wsgi", """
import mod_wsgi, mod_wsgi.own
def application(environ, start_response):
    start_response("200 OK", [])
    return [repr((mod_wsgi.own.VALUE, hasattr(mod_wsgi, "version"))).encode()]
""")
    httpd.serve("case.wsgi", options=f"threads=2 python-path={httpd.apps}/lib")
    assert httpd.get("/").text == "(42, True)"


def test_the_pid_in_environ_is_the_child_s(run):
    httpd = run('return answer(start_response, [environ["mod_wsgi.server_pid"], os.getpid()])')
    child, worker = httpd.ask("/")
    assert int(child) in [process.pid for process in httpd.children()] and worker in [process.pid for process in httpd.workers()]
