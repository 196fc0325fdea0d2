"""Post hooks, and clients that leave (issue 3, point 6)."""

import json
import signal
import socket
import struct
import time

import pytest

import h2client
from waiting import SLACK, until

POSTHOOKS = "mod_wsgi.posthooks"

TOP = """
import json, os, sys, threading, time
import mod_wsgi
seen = []
go = threading.Event()

def note(environ, *args, **kwargs):
    seen.append({"args": args, "kwargs": kwargs, "own": environ.get("own"), "path": environ["PATH_INFO"],
                 "bytes": environ.get("mod_wsgi.bytes_sent"), "aborted": environ.get("mod_wsgi.client_aborted"),
                 "at": time.time(), "order": list(order)})

order = []

class Body:
    def __init__(self, pieces):
        self.pieces = iter(pieces)
    def __iter__(self):
        return self
    def __next__(self):
        return next(self.pieces)
    def close(self):
        order.append("close")
"""


@pytest.fixture
def run(httpd):
    """Serve the body of an application; `/seen` answers what the hooks have noted."""
    def serve(body, *lines, options="threads=3", top=""):
        indented = "\n".join("    " + line for line in body.strip("\n").splitlines())
        httpd.app("case.wsgi", f"""{TOP}
{top}

def application(environ, start_response):
    if environ["PATH_INFO"] == "/seen":
        start_response("200 OK", [])
        return [json.dumps(seen).encode()]
    return case(environ, start_response)

def case(environ, start_response):
{indented}
""")
        return httpd.serve("case.wsgi", *lines, options=options)

    return serve


def noted(httpd, count=1, within=5.0):
    until(lambda: len(httpd.ask("/seen")) >= count, within, lambda: f"{count} notes: {httpd.ask('/seen')}")
    found = httpd.ask("/seen")
    assert len(found) == count, found
    return found


HOOK = f'environ["{POSTHOOKS}"].append((note, ("arg1", "arg2"), {{"kw": 3}}))\n'


@pytest.mark.differs("post-hooks")
def test_a_hook_is_called_with_environ_and_its_arguments_once(run):
    httpd = run(HOOK + 'environ["own"] = "mine"\nstart_response("200 OK", [])\nreturn [b"hello"]')
    assert httpd.get("/a").text == "hello"
    note, = noted(httpd)
    assert (note["args"], note["kwargs"], note["own"], note["path"]) == (["arg1", "arg2"], {"kw": 3}, "mine", "/a")
    assert (note["bytes"], note["aborted"]) == (5, False)


@pytest.mark.differs("post-hooks")
def test_a_hook_runs_after_the_client_has_everything_and_holds_nothing_up(run):
    httpd = run(f"""
if environ["PATH_INFO"] == "/go":
    go.set()
else:
    environ["{POSTHOOKS}"].append((lambda environ: go.wait(10), (), {{}}))
    {HOOK.strip()}
start_response("200 OK", [("Content-Length", "100000")] if environ["QUERY_STRING"] else [])
return [b"x" * 100000]
""")
    with httpd.connect(timeout=5) as connection:
        for query in ("", "?length"):
            # On one connection: the next request is taken although the hook of the last one waits.
            connection.send_request("GET", "/" + query)
            answer = connection.response()
            assert answer.complete and len(answer.body) == 100000 and answer.elapsed < 2 + SLACK
    assert httpd.ask("/seen") == []
    httpd.get("/go")
    assert [note["bytes"] for note in noted(httpd, 2)] == [100000, 100000]


@pytest.mark.differs("post-hooks")
def test_hooks_run_after_close_and_after_request_finished(run):
    httpd = run(HOOK + 'start_response("200 OK", [])\nreturn Body([b"a", b"b"])', top="""
def event(name, **payload):
    if name == "request_finished" and payload["request_data"].get("is_case"):
        order.append(name)
    elif name == "request_started":
        payload["request_data"]["is_case"] = payload["request_environ"]["PATH_INFO"] != "/seen"
mod_wsgi.subscribe_events(event)
""")
    httpd.get("/")
    assert noted(httpd)[0]["order"] == ["close", "request_finished"]


@pytest.mark.differs("post-hooks")
def test_hooks_run_after_an_exception(run):
    httpd = run(HOOK + 'raise ValueError("lost")')
    assert httpd.get("/").status == 500
    noted(httpd)
    httpd.error_log.expect_traceback("ValueError: lost")


@pytest.mark.differs("post-hooks")
def test_hooks_run_after_an_exception_in_the_middle(run):
    httpd = run(HOOK + 'start_response("200 OK", [])\ndef pieces():\n    yield b"half"\n    raise ValueError("lost")\nreturn pieces()')
    assert not httpd.get("/").complete
    assert noted(httpd)[0]["bytes"] == 4
    httpd.error_log.expect_traceback("ValueError: lost")
    httpd.error_log.allow("WSGI0")


@pytest.mark.differs("post-hooks")
def test_hooks_run_after_a_401_that_read_nothing_and_after_a_large_body_unread(run):
    httpd = run(HOOK + 'start_response("401 No", [("Content-Length", "2")])\nreturn [b"no"]')
    with httpd.connect() as connection:
        connection.send(b"PUT / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1000000\r\n\r\n")
        answer = connection.response()
        assert (answer.status, answer.interim) == (401, [])
    assert noted(httpd)[0]["bytes"] == 2
    assert httpd.post("/", b"x" * 1_000_000).status == 401
    noted(httpd, 2)


@pytest.mark.differs("post-hooks")
def test_hooks_run_for_head(run):
    httpd = run(HOOK + 'start_response("200 OK", [("Content-Length", "5")])\nreturn [b"hello"]')
    assert httpd.request("HEAD", "/").status == 200
    assert noted(httpd)[0]["bytes"] == 0


@pytest.mark.differs("post-hooks")
def test_hooks_run_after_a_file(run):
    httpd = run(HOOK + 'start_response("200 OK", [])\nreturn environ["wsgi.file_wrapper"](open(__file__, "rb"))')
    size = len(httpd.get("/").body)
    assert noted(httpd)[0]["bytes"] == size


@pytest.mark.differs("post-hooks")
def test_hooks_run_when_the_client_leaves_in_the_middle(run):
    httpd = run(HOOK + """
start_response("200 OK", [])
def pieces():
    for _ in range(2000):
        yield b"x" * 65536
return pieces()
""")
    with httpd.connect() as connection:
        connection.send_request("GET", "/")
        connection.line()
    note, = noted(httpd)
    assert note["aborted"] is True and note["bytes"] < 2000 * 65536


@pytest.mark.differs("post-hooks")
def test_hooks_run_when_the_client_leaves_in_the_middle_of_its_upload(run):
    httpd = run(HOOK + """
start_response("200 OK", [])
try:
    environ["wsgi.input"].read()
except OSError:
    environ["own"] = "OSError"
return [b"late"]
""")
    with httpd.connect() as connection:
        connection.send(b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000\r\n\r\n" + b"x" * 200_000)
    note, = noted(httpd)
    assert note["own"] == "OSError"
    httpd.error_log.allow("WSGI0126|request body")


@pytest.mark.differs("post-hooks")
def test_a_hook_that_raises_is_logged_and_the_others_run(run):
    httpd = run(f"""
hooks = environ["{POSTHOOKS}"]
hooks.append((note, (1,), {{}}))
hooks.append((int, ("no number",), {{}}))
hooks.append((sys.exit, (3,), {{}}))
hooks.append("not a hook")
hooks.append((note, (2,), {{}}))
start_response("200 OK", [])
return [b"hello"]
""")
    assert httpd.get("/shop").text == "hello"
    assert [note["args"] for note in noted(httpd, 2)] == [[1], [2]]
    assert httpd.get("/shop").text == "hello"
    noted(httpd, 4)
    httpd.error_log.expect("WSGI0318: a post hook of /shop raised", count=6)
    httpd.error_log.allow("Traceback", "File ", "TypeError", "SystemExit", "ValueError", r"\]\s+\S")


@pytest.mark.differs("post-hooks")
@pytest.mark.parametrize("lines, same", [([], False), (["WSGIEventletCompat On"], True), (["WSGIEventletCompat Off"], False)])
def test_the_name_of_eventlet_is_there_when_it_is_asked_for(run, lines, same):
    httpd = run(f"""
start_response("200 OK", [])
return [json.dumps([environ["{POSTHOOKS}"], environ.get("eventlet.posthooks") is environ["{POSTHOOKS}"],
                    "eventlet.posthooks" in environ]).encode()]
""", *lines)
    assert httpd.ask("/") == [[], same, same]


SEED = """
def hook(env, arg1, arg2, kwarg3=None, kwarg4=None):
    print("Hook called: %s %s %s %s %s" % ({"path": env["PATH_INFO"]}, arg1, arg2, kwarg3, kwarg4))

def application(env, start_response):
    env["eventlet.posthooks"].append((hook, ("arg1", "arg2"), {"kwarg3": 3, "kwarg4": 4}))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"Hello, World!\\r\\n"]
"""


@pytest.mark.differs("post-hooks")
def test_the_example_of_eventlet_works(httpd):
    httpd.app("seed.wsgi", SEED)
    httpd.serve("seed.wsgi", "WSGIEventletCompat On")
    assert httpd.get("/x").body == b"Hello, World!\r\n"
    httpd.error_log.expect(r"Hook called: \{'path': '/x'\} arg1 arg2 3 4", count=1)


@pytest.mark.differs("post-hooks")
def test_a_graceful_stop_waits_for_a_hook(run):
    httpd = run(f"""
environ["{POSTHOOKS}"].append((slow, (), {{}}))
start_response("200 OK", [])
return [b"hello"]
""", top='def slow(environ):\n    print("hook begins")\n    time.sleep(1)\n    print("hook ends")')
    httpd.get("/")
    httpd.error_log.expect("hook begins")
    httpd.graceful()
    httpd.error_log.expect("hook ends", count=1)


# -- the client leaves -------------------------------------------------------------------------

WATCH = """
start_response("200 OK", [])
began = time.time()
environ["wsgi.input"].read() if environ["PATH_INFO"] == "/read" else None
print("watching", file=sys.stderr)
while time.time() - began < 8 and not mod_wsgi.client_disconnected():
    time.sleep(0.02)
seen.append([time.time(), mod_wsgi.client_disconnected()])
return [b"done"]
"""


def leave_by_reset(connection):
    connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def leave_by_close(connection):
    connection.close()


@pytest.mark.differs("client-disconnected")
@pytest.mark.parametrize("leave", [leave_by_close, leave_by_reset])
@pytest.mark.parametrize("how", ["get", "post", "large post"])
def test_an_application_that_computes_learns_within_a_second_that_the_client_left(run, leave, how):
    httpd = run(WATCH)
    with httpd.connect() as connection:
        if how == "get":
            connection.send_request("GET", "/")
        else:
            connection.send_request("POST", "/read", [], b"x" * (10 if how == "post" else 300_000))
        httpd.error_log.expect("watching")
        left = time.time()
        leave(connection)
    (at, gone), = noted(httpd)
    assert gone and at - left < 1 + SLACK


@pytest.mark.differs("client-disconnected")
def test_a_client_that_waits_is_not_taken_for_gone(run):
    httpd = run("""
first = mod_wsgi.client_disconnected()
time.sleep(0.5)
start_response("200 OK", [])
return [repr([first, mod_wsgi.client_disconnected()]).encode()]
""")
    assert httpd.get("/").text == "[False, False]"


@pytest.mark.differs("client-disconnected")
def test_a_client_that_closes_its_side_and_waits_gets_its_answer(run):
    httpd = run(WATCH)
    with httpd.connect() as connection:
        connection.send_request("GET", "/")
        connection.socket.shutdown(socket.SHUT_WR)
        answer = connection.response()
    assert (answer.body, answer.complete) == (b"done", True)
    assert answer.elapsed < 2 + SLACK
    httpd.error_log.expect("watching")


@pytest.mark.differs("client-disconnected")
def test_outside_of_a_request_it_can_not_be_asked(run):
    httpd = run("""
start_response("200 OK", [])
return [result[0].encode()]
""", top="""
result = []
try:
    mod_wsgi.client_disconnected()
except RuntimeError as error:
    result.append(str(error))
""")
    assert "client_disconnected()" in httpd.get("/").text


@pytest.mark.differs("client-disconnected")
def test_over_http_2_it_learns_too(run):
    import subprocess
    httpd = run(WATCH, "Protocols h2c http/1.1")
    curl = subprocess.Popen(["curl", "-s", "--http2-prior-knowledge", f"http://127.0.0.1:{httpd.port}/"], stdout=subprocess.DEVNULL)
    httpd.error_log.expect("watching")
    left = time.time()
    curl.send_signal(signal.SIGKILL)
    curl.wait()
    (at, gone), = noted(httpd)
    assert gone and at - left < 1.5 + SLACK


@pytest.mark.differs("client-disconnected")
def test_what_is_written_for_a_client_that_left_stops_soon(run):
    httpd = run("""
start_response("200 OK", [])
def pieces():
    try:
        for number in range(10_000):
            yield b"x" * 1000
            time.sleep(0.01)
    finally:
        seen.append([number, mod_wsgi.client_disconnected()])
return pieces()
""")
    with httpd.connect() as connection:
        connection.send_request("GET", "/")
        connection.line()
    (number, gone), = noted(httpd)
    assert gone and number < 200


def descriptors(httpd):
    """By process, for Apache may start another child, which has its own. Connections that are kept for the
    next request are left out: there is a bound to them."""
    processes = [*httpd.children(), *httpd.workers()]
    return {process.pid: len(process.descriptors) - len(process.kept_connections) for process in processes}


def test_clients_that_leave_leave_nothing_open(run):
    httpd = run('time.sleep(0.002)\nstart_response("200 OK", [])\nreturn [b"x"]', options="threads=3")

    def abandon(count):
        for _ in range(count):
            with httpd.connect() as connection:
                connection.send_request("GET", "/")

    abandon(20)
    httpd.get("/")
    before = descriptors(httpd)
    abandon(500)
    httpd.get("/")
    def grown():
        now = descriptors(httpd)
        return {pid: now[pid] for pid in now.keys() & before.keys() if now[pid] > before[pid] + 3}

    until(lambda: not grown(), 20, lambda: f"{grown()} descriptors, {before} before")
    assert json.loads(httpd.get("/seen").body) == []


@pytest.mark.differs("post-hooks")
def test_over_http_2_a_client_that_has_everything_has_not_left(run):
    httpd = run(HOOK + 'start_response("200 OK", [])\nreturn [b"x" * 3000]', "Protocols h2c http/1.1", options="threads=10")
    for _ in range(10):
        with h2client.Connection(httpd.port) as connection:
            streams = [connection.begin("GET", f"/{number}") for number in range(20)]
            assert all(connection.answer(stream).complete for stream in streams)
    notes = noted(httpd, 200)
    assert [note["path"] for note in notes if note["aborted"]] == []
