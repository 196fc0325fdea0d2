"""Sets up one interpreter: what stands in it before any application code runs.

Run once per interpreter, by the thread that made it. `configure` keeps the order in which the C
module does these things, since applications may see it.
"""

import os
import sys

from _mod_wsgi import log_id, module, native, report, scripts, streams


def configure(settings):
    """Prepares the interpreter this runs in. `settings` is what `State::build` put together."""
    if settings["main"]:
        # Whichever thread imports it first becomes threading.main_thread().
        import threading  # noqa: F401

        if settings["locale"] is not None:
            _set_locale(settings["locale"])
        _say_what_python_lacks(settings)
    _set_switch_interval(settings)
    os.register_at_fork(before=native.forks, after_in_parent=native.forks, after_in_child=native.forked)
    if not settings["main"]:
        report.own_gil = settings["own_gil"]
        report.sub_interpreter = "a sub-interpreter" + (" that has a GIL of its own" if report.own_gil else "")
    scripts.required = settings["script_owner"]
    scripts.group = settings["process_group"]
    public = module.build(settings)
    sys.modules["mod_wsgi"] = public
    streams.install(settings)
    module.level_warnings()
    sys.argv = ["mod_wsgi"]
    # `python -c` puts the working directory in front; nobody configured that.
    if settings["main"] and sys.path and sys.path[0] == "":
        del sys.path[0]
    # A service process has the signals to itself.
    if settings["restrict_signal"] and settings["threads"]:
        _guard_signals()
    _describe_user(settings)
    _add_directories(settings["python_path"])
    if settings["home"] is not None:
        sys.path.insert(0, settings["home"])
    _adopt_package(public)
    sys.modules["apache"] = module.build_apache(settings)


def _set_locale(name):
    import locale

    try:
        locale.setlocale(locale.LC_ALL, "")
    except locale.Error as error:
        native.log(4, f"{log_id.LOCALE_NOT_SET}: locale={name} can't be set: {error}; the C locale stays")


def _say_what_python_lacks(settings):
    version = ".".join(map(str, sys.version_info[:2]))
    if settings["says_own_gil"] and sys.version_info < (3, 12):
        text = (
            f"WSGIPerInterpreterGIL needs Python 3.12 or later, and this process group has {version}: its "
            "interpreters share the GIL. Name a later Python with python-home=, or set WSGIPerInterpreterGIL Off"
        )
        native.log(4, f"{log_id.OWN_GIL_UNSUPPORTED}: {text}")
    if settings["says_free_threading"]:
        text = (
            f"WSGIFreeThreading On has no effect: this Python {version} is not built without the GIL, and "
            "this version of the module cannot load one that is. Take the line out"
        )
        native.log(4, f"{log_id.FREE_THREADING_UNSUPPORTED}: {text}")


def _set_switch_interval(settings):
    interval = settings["switch_interval"]
    if settings["main"] or settings["own_gil"]:
        if interval:
            sys.setswitchinterval(interval)
    elif interval and not settings["switch_interval_is_shared"]:
        text = (
            f"WSGISwitchInterval {interval:g} of application group '{settings['application_group']}' is not set: its "
            "interpreter shares the GIL, and so the interval, with the others of the process. Set it for the "
            "process group, or give the interpreter a GIL of its own with WSGIPerInterpreterGIL On"
        )
        native.log(4, f"{log_id.SWITCH_INTERVAL_NOT_SET}: {text}")


def _describe_user(settings):
    for name in ("USER", "USERNAME", "LOGNAME"):
        if name in os.environ and settings["user"]:
            os.environ[name] = settings["user"]
    if settings["user_home"]:
        os.environ["HOME"] = settings["user_home"]
    if settings["python_eggs"] is not None:
        os.environ["PYTHON_EGG_CACHE"] = settings["python_eggs"]


def _add_directories(directories):
    """Adds directories as site directories, so that their .pth files count, and puts whatever that
    added in front of the rest."""
    if not directories:
        return
    import site

    before = set(sys.path)
    for directory in directories:
        try:
            site.addsitedir(directory)
        except Exception as error:
            text = f"python-path: {directory} can't be added to sys.path: {error!r}"
            native.log(4, f"{log_id.PYTHON_PATH_NOT_ADDED}: {text}")
            break
    added = [entry for entry in sys.path if entry not in before]
    sys.path[:] = added + [entry for entry in sys.path if entry in before]


def _adopt_package(public):
    """Lets `mod_wsgi.express` and its like be imported where the package is installed."""
    from importlib.machinery import PathFinder

    try:
        found = PathFinder.find_spec("mod_wsgi")
    except Exception:
        return
    if found is not None and found.submodule_search_locations is not None:
        public.__path__ = list(found.submodule_search_locations)


def _guard_signals():
    """Makes `signal.signal` do nothing: handlers never run on request threads, and the signals
    of the process belong to whoever looks after it."""
    import signal

    real = signal.signal
    owner = os.getpid()

    def guarded(signalnum, handler):
        if os.getpid() != owner:
            return real(signalnum, handler)
        import traceback

        stack = "".join(traceback.format_stack(sys._getframe(1)))
        native.log(6, f"Callback registration for signal {signalnum} ignored.\n{stack}")
        return handler

    guarded.__name__ = guarded.__qualname__ = "signal"
    guarded.__doc__ = real.__doc__
    signal.signal = guarded


def prepare_service():
    """Has SIGTERM end the scripts of a service process, once."""
    import signal

    from _mod_wsgi import scripts

    def leave(number, frame):
        if not scripts.leaving:
            scripts.leaving = True
            native.ending()
            raise SystemExit(0)

    signal.signal(signal.SIGTERM, leave)
    # Not SIG_IGN, which programs started from here would inherit.
    signal.signal(signal.SIGINT, lambda number, frame: None)


def run_exit_functions():
    """What `atexit` holds, as the end of the interpreter would run it."""
    import atexit

    atexit._run_exitfuncs()
