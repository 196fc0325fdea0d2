"""What an administrator can see of process groups (issue 4, point 8)."""

import json
import os
import re
import signal
import socket
import threading

import pytest

import waiting
from httpd import APACHE_CONF, CHECKOUT
from processes import send_signal

pytestmark = pytest.mark.differs("status", run=False)

LOCATION = """<Location /wsgi-status>
SetHandler wsgi-status
</Location>"""

# Waits until a file is there, so that a test sees the request run and then lets it end.
GATE = """
import os, time

def application(environ, start_response):
    gate = environ["wsgi.input"].read().decode()
    while gate and not os.path.exists(gate):
        time.sleep(0.01)
    start_response("200 OK", [])
    return [b"done"]
"""


def ask(httpd):
    answer = httpd.get("/wsgi-status?json")
    assert (answer.status, answer["Content-Type"]) == (200, "application/json")
    assert answer["Cache-Control"] == "no-store"
    return json.loads(answer.body)


def group(httpd, name="app"):
    return next(group for group in ask(httpd)["groups"] if group["name"] == name)


def running(httpd):
    return [request for worker in group(httpd)["workers"] for request in worker["running"]]


def ready(httpd):
    """The group, as soon as it serves."""
    return waiting.until(lambda: (now := group(httpd))["state"] == "ready" and now, 10, "the group to be ready")


@pytest.fixture
def gate(httpd):
    """A server whose requests end when `gate` is opened."""
    httpd.app("gate.wsgi", GATE)
    return httpd.root / "gate"


class Waiting(threading.Thread):
    """A request that waits at the gate."""

    def __init__(self, httpd, gate, target="/slow/path?card=4111"):
        super().__init__(daemon=True)
        self.httpd, self.gate, self.target = httpd, gate, target
        self.answer = None
        self.start()

    def run(self):
        self.answer = self.httpd.post(self.target, str(self.gate).encode())


def test_a_request_that_runs_is_shown_with_its_age_and_without_its_query(httpd, gate):
    httpd.serve("gate.wsgi", LOCATION, options="threads=3")
    waiting_request = Waiting(httpd, gate)
    seen = waiting.until(lambda: running(httpd), 5, "the request")
    assert len(seen) == 1
    assert seen[0]["request"] == "POST /slow/path"
    assert 0 <= seen[0]["queued_seconds"] < 1 + waiting.SLACK
    assert seen[0]["application_group"] == ""
    first = seen[0]["age_seconds"]
    waiting.until(lambda: running(httpd)[0]["age_seconds"] >= first + 1, 5, "it to get older")
    page = httpd.get("/wsgi-status").text
    assert re.search(r"^    thread \d for \d+\.\d s: POST /slow/path, queued \d", page, re.M), page
    assert "threads busy 1 of 3, waiting 0" in page
    assert "4111" not in page
    gate.touch()
    waiting_request.join()
    assert waiting_request.answer.status == 200
    waiting.until(lambda: group(httpd)["threads_busy"] == 0, 5, "the thread to be idle")
    assert group(httpd)["busy_seconds"] >= 1


def test_requests_are_counted_also_those_of_processes_that_have_left(httpd):
    httpd.serve("hello.wsgi", LOCATION, options="processes=2 threads=2")
    httpd.workers(count=2)
    for _ in range(25):
        assert httpd.get("/").status == 200
    waiting.until(lambda: group(httpd)["requests"] == 25, 5, "25 requests")
    assert sum(worker["requests"] for worker in group(httpd)["workers"]) == 25
    httpd.graceful()
    waiting.until(lambda: (now := group(httpd))["replacements"] == 2 and len(now["workers"]) == 2, 10, "a new generation")
    now = group(httpd)
    assert (now["generation"], now["requests"], now["starts"], now["deaths"]) == (2, 25, 4, 0)
    assert {worker["generation"] for worker in now["workers"]} == {2}
    httpd.get("/")
    waiting.until(lambda: group(httpd)["requests"] == 26, 5, "26 requests")


def test_a_request_that_waits_for_a_thread_is_counted(httpd, gate):
    httpd.serve("gate.wsgi", LOCATION, options="threads=1")
    requests = [Waiting(httpd, gate) for _ in range(3)]
    seen = waiting.until(lambda: (now := group(httpd))["waiting"] in (2, None) and now["threads_busy"] == 1 and now, 5, "the queue")
    if seen["waiting"] is not None:
        assert "threads busy 1 of 1, waiting 2" in httpd.get("/wsgi-status").text
    gate.touch()
    for request in requests:
        request.join()
    waiting.until(lambda: group(httpd)["requests"] == 3, 5, "all three")
    assert group(httpd)["waiting"] in (0, None)
    assert group(httpd)["queued_seconds"] > 0


def test_every_member_of_the_json_is_as_documented(httpd, users):
    httpd.serve("probe.wsgi", LOCATION, options=f"threads=2 user={users[0].pw_name}")
    httpd.get("/")
    report = ask(httpd)
    number, optional = (int, float), (str, type(None))
    assert_shape(report, {"version": int, "supervisor": dict, "complete": bool, "groups": list})
    assert report["version"] == 1 and report["complete"]
    assert_shape(report["supervisor"], {"pid": int, "age_seconds": number, "resident_bytes": int})
    assert report["supervisor"]["pid"] == httpd.supervisor.pid
    totals = {"requests": int, "busy_seconds": number, "queued_seconds": number}
    found, = report["groups"]
    assert_shape(found, totals | {
        "name": str, "generation": int, "state": str, "reason": optional, "next_start_seconds": number,
        "user_id": int, "processes": int, "threads_per_process": int, "threads": int, "threads_busy": int,
        "waiting": (int, type(None)), "resident_bytes": int, "starts": int, "replacements": int,
        "deaths": int, "last_error": (dict, type(None)), "workers": list,
    })
    assert (found["state"], found["user_id"], found["threads"]) == ("ready", users[0].pw_uid, 2)
    worker, = found["workers"]
    assert_shape(worker, totals | {
        "pid": int, "generation": int, "state": str, "reason": optional, "age_seconds": number,
        "resident_bytes": int, "threads_busy": int, "last_error": (dict, type(None)), "running": list,
    })
    assert worker["pid"] == httpd.workers()[0].pid
    assert worker["resident_bytes"] > 1 << 20
    guide = (CHECKOUT / "docs" / "guides" / "status.md").read_text()
    for name in [*report, *report["supervisor"], *found, *worker]:
        assert f"`{name}`" in guide, name


def assert_shape(value, shape):
    assert value.keys() == shape.keys()
    for name, kind in shape.items():
        assert isinstance(value[name], kind), (name, value[name])


SAMPLE = re.compile(r'^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (-?[0-9.e+-]+)$')
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"(?:,|$)')


def exposition(text):
    """Parse OpenMetrics text strictly: {name: {labels: value}}; families by their metadata."""
    assert text.endswith("\n# EOF\n")
    families, samples, current = {}, {}, None
    for line in text[: -len("# EOF\n")].splitlines():
        if match := re.match(r"# (TYPE|HELP|UNIT) (\S+) (.+)$", line):
            kind, name, value = match.groups()
            if name != current:
                assert name not in families, f"{name} is not in one piece"
                current = name
            assert kind not in families.setdefault(name, {}), line
            families[name][kind] = value
            continue
        match = SAMPLE.match(line)
        assert match, line
        name, labels, value = match.groups()
        assert name == current + ("_total" if families[current]["TYPE"] == "counter" else ""), line
        labels = labels or ""
        pairs = LABEL.findall(labels)
        assert "".join(f'{key}="{text}",' for key, text in pairs).rstrip(",") == labels, line
        key = tuple(sorted(pairs))
        assert key not in samples.setdefault(name, {}), line
        samples[name][key] = float(value)
    for name, family in families.items():
        assert {"TYPE", "HELP"} <= family.keys(), name
        if "UNIT" in family:
            assert name.endswith("_" + family["UNIT"])
    return families, samples


def test_the_metrics_are_openmetrics(httpd, gate):
    httpd.configure(
        "WSGIDaemonProcess app threads=2 display-name=%{GROUP}", 'WSGIDaemonProcess "o\\"dd" threads=1',
        "WSGIScriptAlias / {apps}/gate.wsgi process-group=app application-group=%{GLOBAL}", LOCATION,
    )
    httpd.start()
    httpd.get("/")
    # Its end is shown a moment after its answer.
    waiting.until(lambda: group(httpd)["requests"] == 1, 5, "the count of the request")
    request = Waiting(httpd, gate)
    waiting.until(lambda: group(httpd)["threads_busy"] == 1, 5, "the request")
    waiting.until(lambda: all(now["state"] == "ready" for now in ask(httpd)["groups"]), 10, "both groups")
    answer = httpd.get("/wsgi-status?metrics")
    assert answer["Content-Type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    families, samples = exposition(answer.text)
    app = (("group", "app"),)
    assert samples["wsgi_requests_total"][app] == 1
    assert samples["wsgi_threads"][app] == 2 and samples["wsgi_threads_busy"][app] == 1
    assert samples["wsgi_oldest_request_seconds"][app] > 0
    assert samples["wsgi_resident_bytes"][app] > 1 << 20
    assert samples["wsgi_group_state"][(("group", "app"), ("wsgi_group_state", "ready"))] == 1
    assert samples["wsgi_group_state"][(("group", "app"), ("wsgi_group_state", "backing-off"))] == 0
    assert samples["wsgi_processes"][(("group", 'o\\"dd'), ("state", "ready"))] == 1
    assert families["wsgi_requests"]["TYPE"] == "counter"
    gate.touch()
    request.join()


def test_deaths_and_failing_starts_are_shown(httpd):
    httpd.serve("hello.wsgi", LOCATION)
    httpd.error_log.allow(r"WSGI0\d+", "killed|died|ended|signal")
    before = ready(httpd)["workers"][0]["pid"]
    send_signal(before, signal.SIGKILL)
    now = waiting.until(lambda: (now := group(httpd))["deaths"] == 1 and now["state"] == "ready" and now, 5, "a successor")
    assert now["last_error"]["text"].startswith(f"WSGI0339: worker {before} was killed by SIGKILL")
    assert "died 1" in httpd.get("/wsgi-status").text
    httpd.configure(
        "WSGIDaemonProcess app python-home=/nonexistent", "WSGIScriptAlias / {apps}/hello.wsgi process-group=app", LOCATION
    )
    httpd.error_log.allow(".")
    httpd.graceful()
    now = waiting.until(lambda: (now := group(httpd))["reason"] and now, 5, "a reason")
    assert now["state"] == "ready" and "/nonexistent" in now["reason"]
    send_signal(now["workers"][0]["pid"], signal.SIGKILL)
    now = waiting.until(lambda: (now := group(httpd))["state"] == "backing-off" and now, 5, "it to back off")
    assert now["workers"] == [] and 0 <= now["next_start_seconds"] <= 5
    assert "because WSGI0341: " in httpd.get("/wsgi-status").text


def test_an_error_of_the_application_is_shown_by_its_number(httpd):
    httpd.app("broken.wsgi", "raise ImportError('no such thing')\n")
    httpd.app("missing.wsgi", "")
    httpd.serve("missing.wsgi", LOCATION)
    httpd.error_log.allow(".")
    assert httpd.get("/").status == 500
    number = waiting.until(lambda: (group(httpd)["workers"] or [{}])[0].get("last_error"), 5, "an error")
    assert number["id"] == "WSGI0089" and number["age_seconds"] < 5


def test_without_a_supervisor_that_answers_it_says_so_within_two_seconds(httpd):
    httpd.serve("hello.wsgi", LOCATION)
    httpd.error_log.allow("WSGI0369")
    assert httpd.get("/wsgi-status").status == 200
    httpd.supervisor.signal(signal.SIGSTOP)
    try:
        start = waiting.time.monotonic()
        answer = httpd.get("/wsgi-status?json")
        assert waiting.time.monotonic() - start < 2 + waiting.SLACK
    finally:
        httpd.supervisor.signal(signal.SIGCONT)
    assert answer.status == 503
    assert re.match(r"WSGI0369: The supervisor does not tell how process groups are: no answer at .* within 1 s\.", answer.text)
    assert httpd.get("/wsgi-status").status == 200


def test_without_process_groups_there_is_nothing_to_tell(httpd):
    httpd.configure(LOCATION)
    httpd.start()
    assert ask(httpd)["groups"] == []
    assert httpd.get("/wsgi-status").text == "mod_wsgi: no process groups are configured\n"


def test_it_only_shows(httpd):
    httpd.serve("hello.wsgi", LOCATION)
    assert httpd.post("/wsgi-status", b"x").status == 405
    head = httpd.request("HEAD", "/wsgi-status")
    assert head.status == 200 and head.body == b""


def test_only_apache_s_user_and_root_are_answered(httpd, users):
    httpd.app("ask.wsgi", """
import socket

def application(environ, start_response):
    probe = socket.socket(socket.AF_UNIX)
    try:
        probe.connect(environ["QUERY_STRING"])
        answer = str(len(probe.recv(100))).encode()
    except OSError as error:
        answer = type(error).__name__.encode()
    start_response("200 OK", [])
    return [answer]
""")
    httpd.serve("ask.wsgi", LOCATION, options=f"user={users[0].pw_name}")
    path, = [path for path in httpd.sockets() if path.name.endswith(".status.sock")]
    assert path.stat().st_mode & 0o777 == 0o700
    assert httpd.get(f"/?{path}").text == "PermissionError"
    # Even where the file lets them in.
    path.chmod(0o777)
    path.parent.chmod(0o755)
    assert httpd.get(f"/?{path}").text == "0"
    with socket.socket(socket.AF_UNIX) as probe:
        probe.connect(str(path))
        assert probe.recv(1) == b"\x01"


def test_an_application_that_writes_nonsense_on_its_board_harms_nobody(httpd):
    httpd.app("vandal.wsgi", """
import ctypes, os, re

def application(environ, start_response):
    for line in open("/proc/self/maps"):
        if "wsgi-board" in line:
            first, last = (int(number, 16) for number in re.match(r"(\\w+)-(\\w+)", line).groups())
    for _ in range(50):
        ctypes.memmove(first + 8, os.urandom(last - first - 8), last - first - 8)
    start_response("200 OK", [])
    return [b"done"]
""")
    httpd.serve("vandal.wsgi", LOCATION + "\n<Location /server-status>\nSetHandler server-status\n</Location>\nExtendedStatus On", options="threads=3")
    supervisor = httpd.supervisor.pid
    children = {child.pid for child in httpd.children()}
    for _ in range(20):
        assert httpd.get("/").text == "done"
        ask(httpd)
        exposition(httpd.get("/wsgi-status?metrics").text)
        for target in ("/wsgi-status", "/server-status", "/server-status?auto"):
            assert httpd.get(target).status == 200
    assert httpd.supervisor.pid == supervisor
    assert {child.pid for child in httpd.children()} & children


def test_many_who_ask_at_once_are_all_answered(httpd):
    httpd.serve("hello.wsgi", LOCATION)
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(httpd.get("/wsgi-status").status)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * 20


def test_a_group_may_be_called_status(httpd):
    httpd.configure(
        "WSGIDaemonProcess status threads=1", "WSGIScriptAlias / {apps}/hello.wsgi process-group=status", LOCATION
    )
    httpd.start()
    assert httpd.get("/").status == 200
    assert group(httpd, "status")["name"] == "status"


def test_mod_status_has_a_section(httpd, gate):
    httpd.serve("gate.wsgi", "<Location /server-status>\nSetHandler server-status\n</Location>\nExtendedStatus On", LOCATION)
    request = Waiting(httpd, gate, "/<b>")
    waiting.until(lambda: group(httpd)["threads_busy"] == 1, 5, "the request")
    page = httpd.get("/server-status").text
    section = page.partition("Python process groups (mod_wsgi)")[2]
    assert "<td>app</td><td>ready</td>" in section
    assert "<td>POST /&lt;b&gt;</td>" in section and "<b>" not in section
    short = httpd.get("/server-status?auto").text
    assert "WsgiGroup[0]Name: app\n" in short and "WsgiGroup[0]ThreadsBusy: 1\n" in short
    gate.touch()
    request.join()


def test_the_example_of_wsgi_conf_is_closed_by_default_and_answers_local_ones_when_opened(httpd):
    usual = ["WSGIDaemonProcess app", "WSGIScriptAlias / {apps}/hello.wsgi process-group=app"]
    httpd.configure(*usual)
    httpd.start()
    assert httpd.get("/wsgi-status").text == "Hello, World!\n"
    text = (APACHE_CONF / "wsgi.conf").read_text()
    lines = [line.strip().removeprefix("#") for line in text.splitlines()]
    begin = lines.index('<Location "/wsgi-status">')
    httpd.configure(*usual, *lines[begin : begin + 4])
    httpd.graceful()
    assert httpd.get("/wsgi-status").text.startswith("mod_wsgi: supervisor ")
