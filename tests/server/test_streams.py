"""sys.stdout, sys.stderr, sys.stdin and wsgi.errors (issue 2, point 6; the seed's page)."""

import re
import threading

import pytest

from errorlog import strip_prefix
from waiting import until


@pytest.fixture
def run(httpd):
    def serve(body, *lines, top="", options="threads=2"):
        indented = "\n".join("    " + line for line in body.strip("\n").splitlines())
        httpd.app("case.wsgi", f"import sys, os\n{top}\n\ndef application(environ, start_response):\n{indented}\n")
        return httpd.serve("case.wsgi", *lines, options=options)

    return serve


# The C module's sentinel cannot be flushed when its interpreter ends, and Python says so.
RESTRICTED_AT_THE_END = ["Exception ignored in: <mod_wsgi.Restricted", "access restricted by mod_wsgi"]

OK = '\nstart_response("200 OK", [("Content-Type", "text/plain")])\nreturn [b"body"]\n'


def test_print_goes_to_the_error_log_and_not_into_the_answer(run):
    httpd = run('print("printed line")' + OK)
    answer = httpd.get("/")
    assert (answer.body, answer.complete) == (b"body", True)
    record, = httpd.error_log.expect("printed line", level="error", count=1)
    assert record.module == "wsgi"
    assert record.client.startswith("127.0.0.1:")


def test_stderr_and_wsgi_errors_go_to_the_error_log_with_the_client(run):
    httpd = run('sys.stderr.write("to stderr\\n")\nenviron["wsgi.errors"].write("to errors\\n")' + OK)
    httpd.get("/")
    for wanted in ("to stderr", "to errors"):
        record, = httpd.error_log.expect(wanted, level="error", count=1)
        assert record.client.startswith("127.0.0.1:")


def test_output_of_the_file_descriptors_does_not_reach_the_client(run):
    httpd = run('os.write(1, b"raw one\\n")\nos.write(2, b"raw two\\n")' + OK)
    assert httpd.get("/").body == b"body"
    httpd.error_log.allow("raw one")
    httpd.error_log.expect("raw two")


def test_a_print_reaches_the_log_of_the_virtual_host_that_serves(httpd):
    httpd.app("case.wsgi", 'def application(environ, start_response):\n    print("from", environ["HTTP_HOST"])\n' + OK.replace("\n", "\n    "))
    httpd.configure(
        "WSGIDaemonProcess app threads=2", "WSGIProcessGroup app", "WSGIScriptAlias / {apps}/case.wsgi",
        "<VirtualHost *>", "ServerName a.example", "ErrorLog {root}/logs/a.log", "</VirtualHost>",
        "<VirtualHost *>", "ServerName b.example", "ErrorLog {root}/logs/b.log", "</VirtualHost>",
    )
    a, b = httpd.vhost_log("a.log"), httpd.vhost_log("b.log")
    httpd.start()
    for _ in range(2):
        httpd.get("/", headers={"Host": "a.example"})
        httpd.get("/", headers={"Host": "b.example"})
    a.expect("from a.example", count=2)
    b.expect("from b.example", count=2)
    assert not httpd.error_log.records("from [ab].example")
    assert not a.records("from b") and not b.records("from a")


def test_a_traceback_reaches_the_log_of_the_virtual_host_that_serves(httpd):
    httpd.app("case.wsgi", "def application(environ, start_response):\n    raise ValueError('lost')\n")
    httpd.configure(
        "WSGIDaemonProcess app threads=2", "WSGIProcessGroup app", "WSGIScriptAlias / {apps}/case.wsgi",
        "<VirtualHost *>", "ServerName a.example", "ErrorLog {root}/logs/a.log", "</VirtualHost>",
    )
    log = httpd.vhost_log("a.log")
    httpd.start()
    assert httpd.get("/", headers={"Host": "a.example"}).status == 500
    log.expect_traceback("ValueError: lost")
    assert not httpd.error_log.records("ValueError")


def test_each_line_is_a_record_and_an_unfinished_one_comes_with_the_end_of_the_request(run):
    httpd = run('sys.stderr.write("one\\ntwo\\n")\nsys.stderr.write("unfin")\nsys.stderr.write("ished")' + OK)
    httpd.get("/")
    httpd.error_log.expect("unfinished", count=1)
    httpd.error_log.expect("one$", count=1)
    httpd.error_log.expect("two$", count=1)


def test_a_long_line_is_bounded_and_does_not_hang(run):
    httpd = run('print("x" * 100_000)\nprint("after")' + OK)
    assert httpd.get("/").status == 200
    httpd.error_log.allow("xxxx", r"\]\s*$")
    httpd.error_log.expect("after", count=1)


def test_text_that_is_no_ascii_survives(run):
    httpd = run('print("gr\\u00fcn \\u20ac")' + OK)
    httpd.get("/")
    # httpd escapes what is above ASCII; the bytes are those of UTF-8.
    httpd.error_log.expect(r"gr(\\xc3\\xbc|ü)n (\\xe2\\x82\\xac|€)")


def test_what_looks_like_a_log_line_cannot_forge_one(run):
    httpd = run(r'''print("x\r[Mon Jan 01 00:00:00.000000 2024] [core:crit] [pid 1] forged\x1b[2J")''' + OK)
    httpd.get("/")
    record, = httpd.error_log.expect("forged", count=1)
    httpd.error_log.allow(r"\]\s*$", "x$")
    assert record.level == "error" and "\x1b" not in record.line


def test_print_at_import_reaches_the_error_log(run):
    httpd = run(OK, top='print("at import")')
    httpd.get("/")
    httpd.error_log.expect("at import", level="error", count=1)


def test_print_of_a_thread_of_the_application_reaches_the_error_log(run):
    httpd = run('t = threading.Thread(target=print, args=("from a thread",))\nt.start()\nt.join()' + OK, top="import threading")
    httpd.get("/")
    httpd.error_log.expect("from a thread", count=1)


def test_logging_of_the_standard_library_reaches_the_error_log(run):
    httpd = run('logging.getLogger("shop").warning("stock is low")' + OK, top="import logging")
    httpd.get("/")
    httpd.error_log.expect("stock is low", count=1)


@pytest.mark.differs("logging-keeps-levels")
def test_records_that_no_handler_is_configured_for_keep_their_level(run):
    httpd = run("""
log = logging.getLogger("shop")
log.info("not shown")
log.warning("stock is low")
log.error("stock is gone")
log.critical("shop is gone")
""" + OK, top='import logging\nlogging.getLogger("shop").warning("at import")')
    for _ in range(2):
        httpd.get("/")
    for text, level in (("stock is low", "warn"), ("stock is gone", "error"), ("shop is gone", "crit")):
        for record in httpd.error_log.expect(text, count=2):
            assert record.level == level and record.client.startswith("127.0.0.1:")
    httpd.error_log.expect("at import", count=1)
    assert not httpd.error_log.records("not shown")


def test_a_configuration_of_logging_is_left_alone(run):
    httpd = run('logging.getLogger("shop").warning("stock is low")' + OK,
                top='import logging\nlogging.basicConfig(format="own %(levelname)s: %(message)s")')
    httpd.get("/")
    httpd.error_log.expect("own WARNING: stock is low", level="error", count=1)


def test_warnings_reach_the_error_log(run):
    httpd = run('warnings.warn("this is old", stacklevel=1)' + OK, top="import warnings")
    httpd.get("/")
    record, = httpd.error_log.expect("UserWarning: this is old", count=1)
    assert record.client.startswith("127.0.0.1:")
    httpd.error_log.allow("warnings.warn")


@pytest.mark.differs("logging-keeps-levels")
def test_warnings_keep_their_level(run):
    httpd = run('warnings.warn("in a request", stacklevel=1)' + OK, top='import warnings\nwarnings.warn("at import", stacklevel=1)')
    httpd.get("/")
    for text in ("in a request", "at import"):
        record, = httpd.error_log.expect(f"UserWarning: {text}", level="warn", count=1)
        source, = httpd.error_log.expect(rf'warnings.warn\("{text}"', level="warn", count=1)
    assert not httpd.error_log.records("UserWarning|warnings.warn", level="error")


def test_warnings_go_where_the_application_sends_them(run):
    httpd = run("""
said = io.StringIO()
with contextlib.redirect_stderr(said):
    warnings.warn("to a stream")
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    warnings.warn("caught")
warnings.showwarning("to a file", UserWarning, "file.py", 1, said)
start_response("200 OK", [])
return [repr([str(one.message) for one in caught]).encode(), said.getvalue().encode()]
""", top="import contextlib, io, warnings")
    text = httpd.get("/").text
    assert text.startswith("['caught']") and "to a stream" in text and "to a file" in text
    assert not httpd.error_log.records("to a stream|caught|to a file")


def test_an_application_may_capture_warnings_with_logging(run):
    httpd = run('warnings.warn("captured", stacklevel=1)' + OK, top="import logging, warnings\nlogging.captureWarnings(True)\n"
                'logging.basicConfig(format="own %(levelname)s: %(message)s")')
    httpd.get("/")
    httpd.error_log.expect("own WARNING: .*UserWarning: captured", count=1)
    httpd.error_log.allow("warnings.warn", r"\]\s*$")


@pytest.mark.differs("group-in-the-log")
def test_what_is_printed_outside_of_requests_names_the_group(run):
    httpd = run("""
thread = threading.Thread(target=print, args=("of a thread",))
thread.start()
thread.join()
os.system("echo of another program >&2")
""" + OK, top='import threading\nprint("of the import")')
    httpd.get("/")
    for text in ("of a thread", "of another program", "of the import"):
        httpd.error_log.expect(rf"\[group app\] {text}", level="error", count=1)


def test_the_log_of_a_group_of_a_virtual_host_obeys_the_log_level_of_that(httpd):
    httpd.app("case.wsgi", """
import logging, mod_wsgi
log = logging.getLogger("shop")
log.setLevel(logging.DEBUG)
log.propagate = False
log.addHandler(mod_wsgi.LogHandler())
log.warning("a warning")
log.error("an error")

def application(environ, start_response):
    log.warning("a warning of a request")
    log.error("an error of a request")
    start_response("200 OK", [])
    return []
""")
    httpd.configure(
        "<VirtualHost *>", "ServerName a.example", "ErrorLog {root}/logs/a.log", "LogLevel error", "WSGIDaemonProcess app threads=2",
        "WSGIProcessGroup app", "WSGIApplicationGroup %{GLOBAL}", "WSGIScriptAlias / {apps}/case.wsgi", "</VirtualHost>",
    )
    log = httpd.vhost_log("a.log")
    httpd.start()
    assert httpd.get("/", headers={"Host": "a.example"}).status == 200
    log.expect("an error$", level="error", count=1)
    log.expect("an error of a request", level="error", count=1)
    assert not log.records("a warning") and not httpd.error_log.records("a warning|an error")


@pytest.mark.differs("records-stay-together", sometimes=True)
def test_lines_of_one_record_stay_together(run):
    httpd = run("""
name = environ["QUERY_STRING"]
for _ in range(20):
    environ["wsgi.errors"].write("".join("record %s line %d\\n" % (name, number) for number in range(5)))
""" + OK, options="threads=8")
    threads = [threading.Thread(target=httpd.get, args=(f"/?{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    records = httpd.error_log.expect(r"record \d line \d", count=8 * 20 * 5)
    by_process = {}
    for record in records:
        by_process.setdefault(record.pid, []).append(record.text[record.text.index("record"):])
    for lines in by_process.values():
        for start in range(0, len(lines), 5):
            assert [line[-1] for line in lines[start:start + 5]] == list("01234"), lines[start:start + 5]
            assert len({line.split()[1] for line in lines[start:start + 5]}) == 1


@pytest.mark.differs("request-notes")
def test_the_access_log_can_show_times_worker_and_thread(run):
    httpd = run("time.sleep(0.05)" + OK, 'LogFormat "%{mod_wsgi.queue_time}n %{mod_wsgi.application_time}n %{mod_wsgi.pid}n %{mod_wsgi.thread}n" own',
                "CustomLog {root}/logs/access.log own", top="import time", options="threads=1")
    worker, = httpd.workers(count=1)
    httpd.get("/")
    log = httpd.root / "logs" / "access.log"
    until(lambda: log.exists() and log.read_text().endswith("\n"))
    queue, application, pid, thread = map(int, log.read_text().split())
    assert 0 <= queue < 5_000_000 and 50_000 <= application < 5_000_000 and (pid, thread) == (worker.pid, 1)


@pytest.mark.parametrize("what", ["print", "stderr", "errors", "logging", "handler", "traceback"])
def test_what_a_request_says_names_its_client_and_script(run, what):
    said = {
        "print": 'print("said")', "stderr": 'sys.stderr.write("said\\n")', "errors": 'environ["wsgi.errors"].write("said\\n")',
        "logging": 'logging.getLogger("shop").error("said")',
        "handler": 'logging.getLogger("own").error("said")', "traceback": 'raise ValueError("said")',
    }[what]
    httpd = run(said + OK, top="import logging, mod_wsgi\nlogging.getLogger('own').addHandler(mod_wsgi.LogHandler())\nlogging.getLogger('own').propagate = False")
    httpd.error_log.allow("WSGI0174", "Traceback", r"\]\s+\S")
    with httpd.connect() as connection:
        client = "%s:%d" % connection.socket.getsockname()
        connection.send_request("GET", "/")
        connection.response()
    record, = httpd.error_log.expect("said$", level="error", count=1)
    assert record.client == client
    # Of a traceback the C module says so in its first line alone.
    assert f"[script {httpd.apps}/case.wsgi]" in record.text or (httpd.is_reference and what == "traceback")


def test_an_application_that_floods_its_log_holds_nobody_up(httpd):
    httpd.app("flood.wsgi", """
import os, threading
over = threading.Event()

def flood():
    # Outside of any request, and past Python's streams.
    for _ in range(10_000):
        if over.is_set():
            break
        os.write(2, b"flood " * 600 + b"\\n")
        print("flood " * 600)

def application(environ, start_response):
    if environ["PATH_INFO"] == "/flood":
        threading.Thread(target=flood, daemon=True).start()
    if environ["PATH_INFO"] == "/over":
        over.set()
    start_response("200 OK", [("Content-Length", "5")])
    return [b"quick"]
""")
    httpd.configure(
        "WSGIDaemonProcess app threads=3", "WSGIDaemonProcess other threads=1",
        "WSGIScriptAlias /other {apps}/hello.wsgi process-group=other application-group=%{GLOBAL}",
        "WSGIScriptAlias / {apps}/flood.wsgi process-group=app application-group=%{GLOBAL}",
    ).start()
    httpd.error_log.allow("flood|WSGI0317|WSGI033", r"\]\s*$")
    httpd.get("/flood")
    httpd.error_log.expect("flood")
    for _ in range(20):
        for target in ("/other", "/x"):
            answer = httpd.get(target)
            assert answer.status == 200 and answer.elapsed < 5
    httpd.get("/over")


# -- the guard ---------------------------------------------------------------------------------

@pytest.mark.parametrize("lines", [[], ["WSGIRestrictStdout Off"]], ids=["by default", "when switched off"])
def test_stdout_is_free(run, lines):
    httpd = run('print("allowed")\nsys.stdout.flush()' + OK, *lines)
    assert httpd.get("/").status == 200
    httpd.error_log.expect("allowed", count=1)


def test_a_restricted_stdout_raises_an_oserror_that_says_why(run):
    httpd = run("""
try:
    print("forbidden")
except OSError as error:
    start_response("200 OK", [])
    return [str(error).encode()]
return None
""", "WSGIRestrictStdout On")
    text = httpd.get("/").text
    assert "sys.stdout" in text and "mod_wsgi" in text
    assert not httpd.error_log.records("forbidden")
    if httpd.is_reference:
        httpd.error_log.allow(*RESTRICTED_AT_THE_END)


def test_the_seed_s_cure_for_a_restricted_stdout_works(run):
    httpd = run('print("now allowed")' + OK, "WSGIRestrictStdout On", top="sys.stdout = sys.stderr")
    assert httpd.get("/").status == 200
    httpd.error_log.expect("now allowed", count=1)
    if httpd.is_reference:
        httpd.error_log.allow(*RESTRICTED_AT_THE_END)


def test_stdin_reads_end_of_file(run):
    httpd = run('data = sys.stdin.read()\nstart_response("200 OK", [])\nreturn [repr(data).encode()]')
    assert httpd.get("/").text == "''"


@pytest.mark.parametrize("use", [
    "sys.stdin.read()", "sys.stdin.readline", "sys.stdin.buffer", "sys.stdin.fileno()", "input()", "hasattr(sys.stdin, 'x')", "dir(sys.stdin)", "sys.stdin.__class__",
])
def test_a_restricted_stdin_raises_an_oserror_that_says_why(run, use):
    httpd = run(f"""
try:
    {use}
except OSError as error:
    start_response("200 OK", [])
    return [str(error).encode()]
start_response("500 Not refused", [])
return []
""", "WSGIRestrictStdin On")
    answer = httpd.get("/")
    assert answer.status == 200
    assert "sys.stdin" in answer.text and "mod_wsgi" in answer.text


def test_an_application_may_lift_the_restriction_of_stdin(run):
    httpd = run('start_response("200 OK", [])\nreturn [repr(sys.stdin.read()).encode()]', "WSGIRestrictStdin On", top="sys.stdin = sys.__stdin__")
    assert httpd.get("/").text == "''"


STREAMS = ("<stdout>", "<stderr>", "<wsgi.errors>")


def test_the_streams_look_like_text_files(run):
    httpd = run("""
facts = []
for stream in (sys.stdout, sys.stderr, environ["wsgi.errors"]):
    stream.writelines(["a line\\n", "another\\n"])
    stream.flush()
    facts.append((isinstance(stream, io.TextIOWrapper), stream.isatty(), stream.writable(), stream.readable(), stream.encoding.lower(),
                  stream.errors, stream.write_through, stream.newlines, stream.name, stream.closed))
    try:
        stream.read()
    except io.UnsupportedOperation:
        facts.append("not readable")
start_response("200 OK", [])
return [repr(facts).encode()]
""", top="import io")
    facts = eval(httpd.get("/").text)  # noqa: S307 - our own test's answer
    assert facts[1::2] == ["not readable"] * 3
    for fact, name in zip(facts[::2], STREAMS, strict=True):
        assert fact == (True, False, True, False, "utf-8", "replace", True, None, name, False)
    httpd.error_log.expect("a line", count=3)
    httpd.error_log.expect("another", count=3)


def test_the_buffers_of_the_streams_take_bytes_of_every_kind(run):
    httpd = run("""
for name, stream in (("out", sys.stdout), ("err", sys.stderr), ("errors", environ["wsgi.errors"])):
    for kind in (bytes, bytearray, memoryview):
        stream.buffer.write(kind(("%s as %s\\n" % (name, kind.__name__)).encode()))
    stream.buffer.writelines([b"%s in " % name.encode(), bytearray(b"lines\\n")])
    stream.buffer.flush()
    try:
        stream.buffer.write(5)
    except TypeError:
        stream.buffer.write(b"%s takes no number\\n" % name.encode())
""" + OK)
    assert httpd.get("/").status == 200
    for name in ("out", "err", "errors"):
        for text in ("as bytes", "as bytearray", "as memoryview", "in lines", "takes no number"):
            record, = httpd.error_log.expect(f"{name} {text}$", level="error", count=1)
            assert record.client.startswith("127.0.0.1:")


@pytest.mark.differs("streams-have-descriptors")
def test_what_is_written_past_the_streams_reaches_the_log(run):
    httpd = run("""
found = [sys.stdout.fileno(), sys.stderr.fileno(), sys.stderr.buffer.fileno(), isinstance(sys.stderr.buffer, io.BufferedIOBase), sys.stderr.mode]
faulthandler.enable()
faulthandler.dump_traceback(file=sys.stderr, all_threads=False)
os.write(sys.stderr.fileno(), b"of os.write\\n")
subprocess.run(["/bin/sh", "-c", "echo of a program; echo of its errors >&2"], stdout=sys.stdout, stderr=sys.stderr, check=True)
try:
    environ["wsgi.errors"].fileno()
except io.UnsupportedOperation as error:
    found.append(isinstance(error, OSError))
start_response("200 OK", [])
return [repr(found).encode()]
""", top="import faulthandler, io, subprocess")
    assert eval(httpd.get("/").text) == [1, 2, 2, True, "w", True]  # noqa: S307 - our own test's answer
    for text in ("of os.write", "of a program", "of its errors", r'File ".*case\.wsgi", line \d+ in application'):
        httpd.error_log.expect(text, count=1)
    httpd.error_log.allow("most recent call first")


@pytest.mark.differs("streams-have-descriptors")
def test_faulthandler_tells_where_a_process_died(run):
    httpd = run("os.abort()" + OK, top="import faulthandler\nfaulthandler.enable()")
    httpd.error_log.allow("WSGI0", "Fatal Python error", r"\]\s+\S", r"\]\s*$", "most recent call first", "Extension modules")
    assert httpd.get("/").status >= 500
    httpd.error_log.expect("Fatal Python error: Aborted")
    httpd.error_log.expect(r'File ".*case\.wsgi", line \d+ in application')


@pytest.mark.differs("streams-stay-usable")
def test_a_stream_that_was_closed_stays_usable(run):
    httpd = run("""
for name, stream in (("out", sys.stdout), ("err", sys.stderr), ("errors", environ["wsgi.errors"])):
    with stream:
        stream.write("with " + name)
    stream.buffer.close()
    stream.write("after %s\\n" % name)
""" + OK)
    assert httpd.get("/").status == 200
    for name in ("out", "err", "errors"):
        httpd.error_log.expect(f"with {name}$", count=1)
        httpd.error_log.expect(f"after {name}$", count=1)


@pytest.mark.parametrize(("kept", "use"), [
    ("stream", "held.write('late\\n')"), ("stream.buffer", "held.write(b'late\\n')"), ("stream.write", "held('late\\n')"),
    ("environ", "held['wsgi.errors'].write('late\\n')"), ("lambda: stream", "print('late', file=held())"),
])
def test_wsgi_errors_is_unusable_after_its_request(run, kept, use):
    httpd = run(f"""
stream = environ["wsgi.errors"]
start_response("200 OK", [])
if environ["PATH_INFO"] == "/keep":
    kept.append({kept})
    return [b"kept"]
if environ["PATH_INFO"] == "/between":
    stream.write("of another request\\n")
    return []
held = kept[0]
try:
    {use}
except RuntimeError:
    return [b"RuntimeError"]
return [b"written"]
""", top="kept = []", options="threads=1")
    httpd.get("/keep")
    for _ in range(2):
        httpd.get("/between")
    assert httpd.get("/").text == "RuntimeError"
    httpd.error_log.expect("of another request", count=2)
    assert not httpd.error_log.records("late")


@pytest.mark.parametrize("change", ["stream.reconfigure(errors='strict')", "stream.detach()"])
def test_a_stream_that_was_changed_is_not_the_next_request_s(run, change):
    httpd = run(f"""
stream = environ["wsgi.errors"]
found = stream.errors
stream.write("written\\n")
{change}
start_response("200 OK", [])
return [found.encode()]
""", options="threads=1")
    for _ in range(3):
        assert httpd.get("/").text == "replace"
    httpd.error_log.expect("written$", count=3)
    if httpd.is_reference:
        # It uses the stream itself when the request ends.
        httpd.error_log.allow("WSGI0174", "ValueError: underlying buffer has been detached")


def test_what_one_request_writes_late_is_in_the_log_of_none_that_came_after(run):
    httpd = run("""
stream = environ["wsgi.errors"]
begun, done = threading.Event(), []
def late():
    begun.set()
    over.wait(20)
    for _ in range(100):
        try:
            stream.write("late\\n")
        except RuntimeError:
            done.append(1)
    said.append(len(done))
if environ["PATH_INFO"] == "/late":
    threading.Thread(target=late).start()
    begun.wait(20)
elif environ["PATH_INFO"] == "/over":
    stream.write("own\\n")
    over.set()
    while not said:
        time.sleep(0.01)
start_response("200 OK", [])
return [repr(said).encode()]
""", top="import threading, time\nover, said = threading.Event(), []", options="threads=1")
    httpd.get("/late")
    assert httpd.get("/over").text == "[100]"
    httpd.error_log.expect("own$", count=1)
    assert not httpd.error_log.records("late")


# -- the seed's troubleshooting ----------------------------------------------------------------

def test_system_exit_at_import_is_500_and_the_log_says_where(run):
    httpd = run(OK, top="def main():\n    sys.exit(3)\n\nmain()")
    assert httpd.get("/").status == 500
    httpd.error_log.expect("SystemExit")
    httpd.error_log.allow("WSGI010[78]", "WSGI0175", "Traceback", r"\]\s+\S", "app.run")


@pytest.mark.differs("system-exit-explained")
def test_system_exit_at_import_names_file_and_line_and_hints_at_app_run(run):
    httpd = run(OK, top="def main():\n    sys.exit(3)\n\nmain()")
    assert httpd.get("/").status == 500
    httpd.error_log.allow("WSGI0", "Traceback", r"\]\s+\S", "SystemExit")
    httpd.error_log.expect(r"case\.wsgi.*\b3\b|line 3")
    httpd.error_log.expect(r"app\.run\(\)")
    httpd.error_log.expect("__main__")


@pytest.mark.differs("tracebacks-are-whole")
def test_an_error_at_import_is_500_with_its_traceback_once(run):
    httpd = run(OK, top="import no_such_package")
    assert httpd.get("/").status == 500
    text = httpd.error_log.expect_traceback("ModuleNotFoundError: No module named 'no_such_package'")
    assert re.search(r"case\.wsgi\", line 2, in <module>", text), text


def test_the_prefix_of_a_record_is_taken_off():
    from errorlog import Record
    record = Record.parse("[Sat Nov 21 05:44:19.1 2026] [wsgi:error] [pid 1:tid 2] [client 1.2.3.4:5] [script /a] text")
    assert (record.level, record.client, strip_prefix(record)) == ("error", "1.2.3.4:5", "text")
