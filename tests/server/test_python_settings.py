"""Settings of Python itself: how it starts, and how its interpreters are made."""

import pytest

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
