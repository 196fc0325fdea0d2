"""New code by touching the script (issue 2, point 7)."""

import os

import pytest

from waiting import until

VERSION = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"VERSION"]
"""


def version(httpd, text, name="app.wsgi", age=0):
    """Put a version of the script in place; each gets an mtime of its own."""
    path = httpd.app(name, VERSION.replace("VERSION", text))
    version.clock += 1
    stamp = path.stat().st_mtime_ns + version.clock * 1000 - age * 10**9
    os.utime(path, ns=(stamp, stamp))
    return path


version.clock = 0


@pytest.fixture
def served(httpd):
    version(httpd, "one")

    def start(*lines, options="threads=2"):
        httpd.serve("app.wsgi", *lines, options=options)
        assert httpd.get("/").text == "one"
        return httpd

    return start


def test_a_changed_script_is_served_with_the_very_next_request(served):
    httpd = served()
    for text in ("two", "three", "four"):
        version(httpd, text)
        assert httpd.get("/").text == text


def test_the_very_next_request_may_have_a_body(served):
    httpd = served()
    version(httpd, "two")
    assert httpd.post("/", b"x" * 100_000).text == "two"


def test_a_touched_script_is_loaded_again_in_a_new_process(served):
    httpd = served()
    before = {worker.pid for worker in httpd.workers(count=1)}
    os.utime(httpd.apps / "app.wsgi", (1, 1))
    assert httpd.get("/").text == "one"
    after = {worker.pid for worker in httpd.workers(count=1)}
    assert before.isdisjoint(after)


def test_an_older_time_counts_as_a_change_too(served):
    httpd = served()
    version(httpd, "old", age=3600)
    assert httpd.get("/").text == "old"


def test_every_process_of_the_group_serves_the_new_code_from_the_next_request_on(served):
    httpd = served(options="processes=3 threads=1")
    for _ in range(10):
        httpd.get("/")
    version(httpd, "two")
    assert {httpd.get("/").text for _ in range(30)} == {"two"}


def test_nothing_is_lost_when_the_script_changes_under_load(served):
    httpd = served("MaxConnectionsPerChild 0", options="processes=2 threads=4")
    good = {b"one"}
    with httpd.load(clients=8, accept=lambda a: a.status == 200 and a.complete and a.body in good) as load:
        for number in range(10):
            text = f"v{number}"
            good.add(text.encode())
            version(httpd, text)
            assert httpd.get("/").text == text
            load.more(40)
    assert not load.failures, load.failures[:5]


def test_a_script_rewritten_in_place_is_served_anew(served):
    httpd = served()
    path = httpd.apps / "app.wsgi"
    path.write_text(VERSION.replace("VERSION", "in place"))
    os.utime(path, (10, 10))
    assert httpd.get("/").text == "in place"


@pytest.mark.differs("swapped-scripts-are-seen")
def test_a_release_that_is_swapped_in_by_a_link_is_served_whatever_its_time(httpd):
    for name in ("one", "two"):
        path = httpd.app(f"{name}/app.wsgi", VERSION.replace("VERSION", name))
        os.utime(path, (1000, 1000))

    def deploy(name):
        os.symlink(name, httpd.apps / "next")
        os.replace(httpd.apps / "next", httpd.apps / "current")

    deploy("one")
    httpd.serve("current/app.wsgi")
    assert httpd.get("/").text == "one"
    for name in ("two", "one", "two"):
        deploy(name)
        assert httpd.get("/").text == name


def test_a_script_that_stays_where_it_is_is_loaded_once(served):
    httpd = served()
    before = {worker.pid for worker in httpd.workers(count=1)}
    path = httpd.apps / "app.wsgi"
    os.link(path, httpd.apps / "other name")
    path.chmod(0o640 | 0o004)
    for _ in range(5):
        assert httpd.get("/").text == "one"
    assert {worker.pid for worker in httpd.workers(count=1)} == before


def test_a_syntax_error_is_500_with_its_traceback_and_mends_itself(served):
    httpd = served()
    httpd.app("app.wsgi", "def application(environ, start_response:\n")
    os.utime(httpd.apps / "app.wsgi", (20, 20))
    assert httpd.get("/").status == 500
    httpd.error_log.expect("SyntaxError")
    httpd.error_log.expect(r"app\.wsgi\", line 1")
    httpd.error_log.allow("WSGI0", "Traceback", r"\]\s+\S")
    version(httpd, "mended")
    assert httpd.get("/").text == "mended"


@pytest.mark.differs("successors-come-up-warm", run=False)
@pytest.mark.parametrize("lines", ["", "WSGIImportScript {apps}/app.wsgi process-group=app application-group=%{GLOBAL}"])
def test_a_touched_script_that_is_broken_has_its_traceback_logged_once(served, lines):
    httpd = served(lines)
    httpd.app("app.wsgi", "raise LookupError('broken by the deploy')\n")
    os.utime(httpd.apps / "app.wsgi", (20, 20))
    assert httpd.get("/").status == 500
    httpd.error_log.allow("WSGI0", "Traceback", r"\]\s+\S")
    # By then a successor has failed as well.
    httpd.error_log.expect("WSGI0347", level="error")
    assert httpd.get("/").status == 500
    assert len(httpd.error_log.records("LookupError: broken by the deploy")) == 1
    # Another fault is another report.
    httpd.app("app.wsgi", "raise LookupError('broken anew')\n")
    os.utime(httpd.apps / "app.wsgi", (30, 30))
    assert httpd.get("/").status == 500
    httpd.error_log.expect("LookupError: broken anew")
    version(httpd, "mended")
    assert httpd.get("/").text == "mended"


def test_an_error_at_import_is_500_and_mends_itself(httpd):
    httpd.app("app.wsgi", "raise LookupError('not yet')\n")
    httpd.serve("app.wsgi")
    assert httpd.get("/").status == 500
    httpd.error_log.allow("WSGI0", "Traceback", r"\]\s+\S")
    httpd.error_log.expect("LookupError: not yet")
    version(httpd, "mended")
    assert httpd.get("/").text == "mended"


def test_a_deleted_script_is_404_and_comes_back(served):
    httpd = served()
    (httpd.apps / "app.wsgi").unlink()
    assert httpd.get("/").status == 404
    httpd.error_log.expect("WSGI0135")
    version(httpd, "back")
    assert httpd.get("/").text == "back"


def test_off_stops_it(served):
    httpd = served("WSGIScriptReloading Off")
    version(httpd, "two")
    assert httpd.get("/").text == "one"
    httpd.graceful()
    until(lambda: httpd.get("/").text == "two", 5, "the new generation")


def test_it_may_be_switched_off_for_a_directory(served):
    httpd = served("<Directory {apps}>", "  WSGIScriptReloading Off", "</Directory>")
    version(httpd, "two")
    assert httpd.get("/").text == "one"


def test_the_seed_s_line_switches_it_on_for_a_directory(served):
    httpd = served("WSGIScriptReloading Off", "<Directory {apps}>", "  WSGIScriptReloading On", "</Directory>")
    version(httpd, "two")
    assert httpd.get("/").text == "two"


def test_a_module_that_asks_for_it_is_reloaded(httpd):
    httpd.app("asks.wsgi", """
import os
FLAG = os.path.join(os.path.dirname(__file__), "flag")

def reload_required(path):
    return os.path.exists(FLAG)

def application(environ, start_response):
    start_response("200 OK", [])
    return [str(os.getpid()).encode()]
""")
    httpd.serve("asks.wsgi")
    first = httpd.get("/").text
    assert httpd.get("/").text == first
    flag = httpd.app("flag", "")
    second = httpd.get("/").text
    assert second != first
    flag.unlink()
    assert httpd.get("/").text == second


def test_a_changed_module_beside_the_script_is_not_seen_until_the_script_is_touched(httpd):
    httpd.app("shop.py", "NAME = b'old'\n")
    httpd.app("app.wsgi", "import sys\nsys.dont_write_bytecode = True\nsys.path.insert(0, __file__.rpartition('/')[0])\n"
              "from shop import NAME\n"
              "def application(environ, start_response):\n    start_response('200 OK', [])\n    return [NAME]\n")
    httpd.serve("app.wsgi")
    assert httpd.get("/").text == "old"
    httpd.app("shop.py", "NAME = b'newer'\n")
    assert httpd.get("/").text == "old"
    os.utime(httpd.apps / "app.wsgi", (30, 30))
    assert httpd.get("/").text == "newer"
