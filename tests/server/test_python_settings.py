"""Settings of Python itself: how it starts, and how its interpreters are made."""

import pytest

import pythons
import waiting

SETTINGS = """
import json, os, subprocess, sys, warnings

def application(environ, start_response):
    told = {
        "optimize": sys.flags.optimize, "debug": __debug__, "bytecode": sys.dont_write_bytecode, "warnings": sys.warnoptions,
        "filters": [[action, category.__name__] for action, _, category, _, _ in warnings.filters],
        "hash": hash("seed"), "randomized": sys.flags.hash_randomization,
        "variable": os.environ.get("PYTHONHASHSEED"), "c variable": subprocess.run(
            ["/bin/sh", "-c", "echo ${PYTHONHASHSEED-unset}"], capture_output=True, text=True).stdout.strip(),
        "interval": sys.getswitchinterval(), "pid": os.getpid(),
    }
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(told).encode()]
"""


def ask(httpd, *lines, options="threads=2"):
    """What Python says about itself in a group of a server with these lines."""
    httpd.app("settings.wsgi", SETTINGS)
    httpd.serve("settings.wsgi", *lines, options=options)
    return httpd.ask("/")


def test_nothing_is_set_by_default(httpd):
    told = ask(httpd)
    assert (told["optimize"], told["debug"], told["bytecode"], told["warnings"]) == (0, True, False, [])
    assert (told["randomized"], told["variable"], told["interval"]) == (1, None, 0.005)


@pytest.mark.parametrize("level, debug", [(0, True), (1, False), (2, False)])
def test_python_optimizes(httpd, level, debug):
    told = ask(httpd, f"WSGIPythonOptimize {level}")
    assert (told["optimize"], told["debug"]) == (level, debug)


@pytest.mark.parametrize("value, written", [("On", False), ("Off", True)])
def test_compiled_modules_are_written_or_not(httpd, folder, value, written):
    (folder / "compiled_here.py").write_text("NAME = 1\n")
    httpd.app("settings.wsgi", "import compiled_here\n" + SETTINGS)
    httpd.serve("settings.wsgi", f"WSGIDontWriteBytecode {value}", options=f"threads=2 python-path={folder}")
    assert httpd.ask("/")["bytecode"] is not written
    assert bool(list(folder.glob("__pycache__/*.pyc"))) is written


def test_filters_of_warnings_keep_their_order(httpd):
    told = ask(httpd, "WSGIPythonWarnings ignore::DeprecationWarning", "WSGIPythonWarnings error::UserWarning",
               'WSGIPythonWarnings "default:with blanks"')
    assert told["warnings"] == ["ignore::DeprecationWarning", "error::UserWarning", "default:with blanks"]
    # The last one is asked first.
    assert told["filters"][:3] == [["default", "Warning"], ["error", "UserWarning"], ["ignore", "DeprecationWarning"]]


@pytest.mark.parametrize("seed, randomized", [(0, 0), (7, 1), (4294967295, 1)])
def test_hashes_have_the_seed_and_nobody_sees_the_variable(httpd, seed, randomized):
    told = ask(httpd, f"WSGIPythonHashSeed {seed}", options="threads=2 processes=1")
    assert (told["randomized"], told["variable"], told["c variable"]) == (randomized, None, "unset")
    httpd.restart()
    again = waiting.until(lambda: (answer := httpd.ask("/"))["pid"] != told["pid"] and answer)
    assert again["hash"] == told["hash"]


@pytest.mark.differs("hash-seed-random")
def test_random_is_random_whatever_the_environment_of_apache_says(httpd):
    httpd.environ["PYTHONHASHSEED"] = "0"
    told = ask(httpd, "WSGIPythonHashSeed random")
    assert (told["randomized"], told["variable"], told["c variable"]) == (1, "0", "0")


def test_without_the_directive_the_environment_of_apache_counts(httpd):
    httpd.environ["PYTHONHASHSEED"] = "0"
    told = ask(httpd)
    assert (told["randomized"], told["variable"]) == (0, "0")


@pytest.mark.differs("options-of-ours", run=False)
def test_a_group_s_own_variable_wins_and_is_seen(httpd):
    told = ask(httpd, "WSGIPythonHashSeed 7", options="threads=2 env=PYTHONHASHSEED=0")
    assert (told["randomized"], told["variable"], told["c variable"]) == (0, "0", "0")


def test_a_graceful_restart_brings_the_new_settings_to_the_workers(httpd):
    before = ask(httpd, "WSGIPythonOptimize 1", "WSGIPythonHashSeed 0")
    assert (before["optimize"], before["randomized"], before["bytecode"]) == (1, 0, False)
    httpd.serve("settings.wsgi", "WSGIPythonOptimize 2", "WSGIDontWriteBytecode On", "WSGIPythonWarnings ignore",
                options="threads=2", start=None)
    httpd.graceful()
    after = waiting.until(lambda: (answer := httpd.ask("/"))["pid"] != before["pid"] and answer)
    assert (after["optimize"], after["randomized"], after["bytecode"], after["warnings"]) == (2, 1, True, ["ignore"])


INTERPRETER = """
import sys

def application(environ, start_response):
    try:
        sys.stdout.write
        printed = True
    except OSError:
        printed = False
    told = {"group": environ["mod_wsgi.application_group"], "printed": printed, "path": sys.path[:3],
            "interval": round(sys.getswitchinterval(), 6), "modules": id(sys.modules)}
    start_response("200 OK", [("Content-Type", "application/json")])
    import json
    return [json.dumps(told).encode()]
"""


def serve_groups(httpd, *lines, options="threads=2", groups=("%{GLOBAL}", "one", "two"), source=INTERPRETER):
    """One process group whose application groups are at /main, /one and so on."""
    httpd.app("interpreter.wsgi", source)
    aliases = [
        f"WSGIScriptAlias /{'main' if group.startswith('%') else group} {{apps}}/interpreter.wsgi process-group=app "
        f"application-group={group}"
        for group in groups
    ]
    httpd.configure(f"WSGIDaemonProcess app display-name=%{{GROUP}} {options}", *lines, *aliases)
    httpd.start()


def section(selectors, *lines):
    return [f"<WSGIInterpreterOptions {selectors}>", *lines, "</WSGIInterpreterOptions>"]


def test_sections_reach_the_interpreters_they_select(httpd):
    for name in ("top", "group", "one", "main"):
        (httpd.root / name).mkdir()
    serve_groups(
        httpd,
        *section("", "WSGIRestrictStdout On", "WSGIPythonPath {root}/top"),
        *section("application-group=one", "WSGIRestrictStdout Off", "WSGIPythonPath {root}/one"),
        *section("process-group=app", "WSGIPythonPath {root}/group"),
        *section("process-group=app application-group=%{GLOBAL}", "WSGIRestrictStdout Off", "WSGIPythonPath {root}/main"),
        *section("process-group=other application-group=two", "WSGIRestrictStdout Off"),
    )
    main, one, two = (httpd.ask(f"/{name}") for name in ("main", "one", "two"))
    assert [told["printed"] for told in (main, one, two)] == [True, True, False]
    root = str(httpd.root)
    assert main["path"] == [f"{root}/main", f"{root}/group", f"{root}/top"]
    assert set(one["path"][:2]) == {f"{root}/one", f"{root}/group"} and one["path"][2] == f"{root}/top"
    assert two["path"][:2] == [f"{root}/group", f"{root}/top"]


def test_a_group_with_other_settings_than_the_main_interpreter_does_not_get_it(httpd):
    serve_groups(httpd, *section("application-group=one", "WSGIRestrictStdout On"), groups=("one", "two"))
    one, two = httpd.ask("/one"), httpd.ask("/two")
    assert (one["printed"], two["printed"]) == (False, True)


@pytest.mark.parametrize("lines, options, interval", [
    (["WSGISwitchInterval 0.2"], "", 0.2),
    (["WSGISwitchInterval 0.2"], "switch-interval=0.1", 0.1),
    (["WSGISwitchInterval 0.2", *section("process-group=app", "WSGISwitchInterval 0.3")], "", 0.3),
    (section("process-group=app", "WSGISwitchInterval 0.3"), "switch-interval=0.1", 0.1),
    (section("application-group=%{GLOBAL}", "WSGISwitchInterval 0.3"), "", 0.3),
    (section("process-group=other", "WSGISwitchInterval 0.3"), "", 0.005),
])
def test_the_switch_interval_of_a_process(httpd, lines, options, interval):
    serve_groups(httpd, *lines, options=f"threads=2 {options}", groups=("%{GLOBAL}", "one"))
    assert [httpd.ask(path)["interval"] for path in ("/main", "/one", "/main")] == [interval] * 3


def test_an_interval_for_an_interpreter_that_shares_the_gil_is_left_out(httpd):
    serve_groups(httpd, *section("application-group=one", "WSGISwitchInterval 0.3"), groups=("%{GLOBAL}", "one"))
    assert [httpd.ask(path)["interval"] for path in ("/one", "/main")] == [0.005] * 2
    httpd.error_log.expect("WSGI0199: .*0\\.3.*'one'", level="warn", count=1)


def test_an_own_gil_needs_a_later_python(httpd):
    assert pythons.debian().version < (3, 12)
    serve_groups(httpd, "WSGIPerInterpreterGIL On", groups=("%{GLOBAL}", "one"))
    assert httpd.ask("/main")["modules"] != httpd.ask("/one")["modules"]
    httpd.error_log.expect("WSGI0198: WSGIPerInterpreterGIL .*3\\.12", level="warn", count=1)


def test_free_threading_needs_another_build_of_python(httpd):
    serve_groups(httpd, "WSGIFreeThreading On", *section("application-group=one", "WSGIFreeThreading On"))
    assert httpd.ask("/main")["group"] == ""
    httpd.error_log.expect("WSGI0200: WSGIFreeThreading On has no effect", level="warn")
    # Before the error log is open it goes to the one of the start.
    assert "WSGI0201: " in httpd.check()[1]
    httpd.error_log.allow("WSGI020[01]")


def later(version):
    found = pythons.readable(version)
    if found is None:
        pythons.missing(version)
    return f"threads=4 python-home={found.prefix}"


own_gil = pytest.mark.parametrize("version", [(3, 12), (3, 13)], ids=["3.12", "3.13"])

# /one does not let its GIL go until /two, which has another, has been called.
SPINNING = """
import mmap, os, sys, time
sys.setswitchinterval(60)
shared = mmap.mmap(os.open(PATH, os.O_RDWR), 1)

def application(environ, start_response):
    start_response("200 OK", [])
    if environ["mod_wsgi.application_group"] == "one":
        shared[0:1] = b"r"
        end = time.monotonic() + LIMIT
        while shared[0:1] != b"2" and time.monotonic() < end:
            pass
        return [b"met" if shared[0:1] == b"2" else b"alone"]
    shared[0:1] = b"2"
    return [b"two"]
"""


@pytest.mark.differs("any-python", run=False)
@own_gil
@pytest.mark.parametrize("value, met", [("On", "met"), ("Off", "alone")])
def test_sub_interpreters_run_at_the_same_time_with_a_gil_of_their_own(httpd, folder, version, value, met):
    flag = folder / "flag"
    flag.write_bytes(b"0")
    flag.chmod(0o666)
    limit = 20 if value == "On" else 2
    serve_groups(httpd, f"WSGIPerInterpreterGIL {value}", options=later(version), groups=("one", "two"),
                 source=SPINNING.replace("PATH", repr(str(flag))).replace("LIMIT", str(limit)))
    assert httpd.get("/two").text == "two"
    flag.write_bytes(b"0")
    spinning = httpd.connect(timeout=60)
    spinning.send_request("GET", "/one")
    waiting.until(lambda: flag.read_bytes() == b"r")
    assert httpd.get("/two").text == "two"
    assert spinning.response().text == met


@pytest.mark.differs("any-python", run=False)
@own_gil
def test_an_interpreter_with_a_gil_of_its_own_has_a_switch_interval_of_its_own(httpd, version):
    serve_groups(
        httpd, "WSGIPerInterpreterGIL On", "WSGISwitchInterval 0.2", *section("application-group=one", "WSGISwitchInterval 0.3"),
        options=later(version),
    )
    assert [httpd.ask(path)["interval"] for path in ("/main", "/one", "/two", "/main")] == [0.2, 0.3, 0.2, 0.2]


@pytest.mark.differs("any-python", run=False)
@own_gil
def test_an_interpreter_with_a_gil_of_its_own_serves_and_ends_as_others_do(httpd, version):
    serve_groups(httpd, "WSGIPerInterpreterGIL On", options=later(version), groups=("one", "two", "three"))
    groups = [httpd.ask(path)["group"] for path in ("/one", "/two", "/three") * 20]
    assert groups == ["one", "two", "three"] * 20
    httpd.graceful()
    assert httpd.ask("/two")["group"] == "two"


@pytest.mark.differs("any-python", run=False)
def test_a_module_that_an_own_gil_cannot_load_is_named(httpd):
    source = "import _ctypes\n" + INTERPRETER
    serve_groups(httpd, "WSGIPerInterpreterGIL On", options=later((3, 12)), groups=("%{GLOBAL}", "one"), source=source)
    assert httpd.get("/main").status == 200
    assert httpd.get("/one").status == 500
    httpd.error_log.expect(r"WSGI01(09|10): ImportError raised while .*interpreter\.wsgi was loaded, in sub-interpreter 'one'")
    httpd.error_log.expect(
        r"WSGI0471: module _ctypes cannot be loaded in a sub-interpreter that has a GIL of its own \(.*interpreter\.wsgi:1: "
        r"import _ctypes\)\. .*WSGIApplicationGroup %\{GLOBAL\}.* Or set WSGIPerInterpreterGIL Off", level="error")
    httpd.error_log.allow("Traceback|File|import _ctypes|ImportError|WSGI0319|WSGI0347")


TEXTS = [
    ("ImportError", "Interpreter change detected - this module can only be loaded into one interpreter per process."),
    ("ImportError", "cannot load module more than once per process"),
    ("ImportError", "PyO3 modules do not yet support subinterpreters, see https://github.com/PyO3/pyo3/issues/576"),
    ("ImportError", "cannot import name 'encodings' from 'psycopg2._psycopg'"),
    ("TypeError", "_abc_impl is set to a wrong type"),
]


@pytest.mark.differs("refused-modules-are-named")
@pytest.mark.parametrize("kind, text", TEXTS, ids=lambda text: text[:20])
def test_what_libraries_say_of_sub_interpreters_is_explained(httpd, kind, text):
    source = f"""
import sys
def application(environ, start_response):
    try:
        raise {kind}({text!r})
    except Exception as error:
        raise ImportError("numpy cannot be imported") from error
"""
    serve_groups(httpd, groups=("%{GLOBAL}", "one"), source=source)
    assert httpd.get("/main").status == 500
    assert httpd.get("/one").status == 500
    httpd.error_log.expect(r"WSGI0471: an extension module cannot be loaded in a sub-interpreter \(.*interpreter\.wsgi:5: raise",
                           count=1)
    httpd.error_log.allow(r"\[script .*interpreter\.wsgi\]")


@pytest.mark.differs("no-apache-request")
def test_apache_s_request_is_not_passed_and_the_log_says_so(httpd):
    httpd.app("request.wsgi", """
def application(environ, start_response):
    start_response("200 OK", [])
    return [str("apache.request_rec" in environ).encode()]
""")
    httpd.configure("WSGIPassApacheRequest On", "WSGIScriptAlias / {apps}/request.wsgi")
    httpd.start()
    assert httpd.get("/").text == "False"
    httpd.error_log.expect("WSGI0470: .*WSGIPassApacheRequest On has no effect", level="warn")
    httpd.error_log.allow("WSGI0470")
