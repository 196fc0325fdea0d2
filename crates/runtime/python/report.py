"""Tells people what went wrong: what happened to whom, where, and what mends it."""

from _mod_wsgi import log_id, native


def _traceback(error):
    import traceback

    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith("<mod_wsgi"):
        trace = trace.tb_next
    try:
        lines = traceback.format_exception(type(error), error, trace)
    except Exception as second:
        return f"{type(error).__name__} (its traceback can't be shown: {second!r})"
    return "".join(lines).rstrip("\n")


def log(text, error):
    native.log(3, f"{text}\n{_traceback(error)}")


def _obstacle(path):
    """The clause that names what keeps this process's user from reading a file, and what would
    mend it; None where nothing does."""
    import os
    import pwd

    def named(find, number, attribute):
        try:
            return getattr(find(number), attribute)
        except KeyError:
            return str(number)

    def described(at):
        import grp

        facts = os.stat(at)
        owner = named(pwd.getpwuid, facts.st_uid, "pw_name")
        group = named(grp.getgrgid, facts.st_gid, "gr_name")
        return f"{at}, which is mode {facts.st_mode & 0o7777:04o} owned by {owner}:{group}"

    user = named(pwd.getpwuid, os.geteuid(), "pw_name")
    # Stops resolving links where it may not look, which is the place sought.
    real = os.path.realpath(path)
    at = "/"
    for step in real.split("/")[1:]:
        if not os.access(at, os.X_OK):
            # Root's home is closed for good reason: nobody is told to open it.
            allow = "Move" if at == "/root" else f"Allow it (chmod o+x {at}), or move"
            return (
                f"user {user} may not enter {described(at)}. {allow} "
                "what is below to a place the user may enter, such as /srv"
            )
        at = os.path.join(at, step)
    if os.path.exists(real) and not os.access(real, os.R_OK):
        return f"user {user} may not read {described(real)}. Allow it (chmod o+r {real})"
    return None


def unreadable(error, path, where, in_request):
    """The report, and the status it is answered with: a script that can't be reached is the
    server's trouble and ends with a change of modes, one that can't be compiled is its author's."""
    code = log_id.SCRIPT_UNREADABLE if in_request else log_id.SCRIPT_UNREADABLE_AT_START
    if isinstance(error, PermissionError):
        try:
            why = _obstacle(path)
        except OSError:
            why = None
        return f"{code}: {path} can't be read, {where}: {why or error.strerror}", 503
    if isinstance(error, OSError):
        return f"{code}: {path} can't be read, {where}: {error.strerror or error}", 500
    return f"{code}: {path} can't be compiled, {where}\n{_traceback(error)}", 500


def failed_load(error, path, where, in_request):
    if isinstance(error, SystemExit):
        return _exited(error, path, where, in_request)
    code = log_id.SCRIPT_RAISED if in_request else log_id.SCRIPT_RAISED_AT_START
    name = type(error).__name__
    text = f"{code}: {name} raised while {path} was loaded, {where}"
    hint = _hint(error)
    return f"{text}\n{_traceback(error)}{hint}"


def _exited(error, path, where, in_request):
    import traceback

    code = log_id.SCRIPT_EXITED if in_request else log_id.SCRIPT_EXITED_AT_START
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith("<mod_wsgi")]
    place = f" at {own[-1].filename} line {own[-1].lineno}" if own else ""
    return (
        f"{code}: SystemExit({error.code!r}) raised{place} while {path} was loaded, {where}. "
        "A script must define its application and return. A call that starts a server of its "
        "own, such as app.run(), belongs under `if __name__ == '__main__':`.\n"
        f"{_traceback(error)}"
    )


#: Which kind of sub-interpreter this is, as a clause; None in the main interpreter.
sub_interpreter = None
own_gil = False

#: How extension modules say that they cannot be loaded here: Python, Cython, numpy, PyO3, psycopg2, and what
#: PyO3's classes come to that were made in another interpreter.
_ONE_INTERPRETER = (
    "does not support loading in subinterpreters",
    "Interpreter change detected",
    "cannot load module more than once per process",
    "PyO3 modules do not yet support subinterpreters",
    "may only be initialized once per interpreter process",
    "cannot import name 'encodings'",
    "_abc_impl is set to a wrong type",
)


def _interpreter_hint(error):
    """The line that names a module which works in the main interpreter only, and what to do."""
    if sub_interpreter is None:
        return ""
    seen = []
    while error is not None and error not in seen and len(seen) < 20:
        if isinstance(error, (ImportError, TypeError)) and any(known in str(error) for known in _ONE_INTERPRETER):
            break
        seen.append(error)
        error = error.__cause__ or error.__context__
    else:
        return ""
    import re
    import traceback

    named = re.match(r"module (\S+) does not support", str(error))
    name = named[1] if named else getattr(error, "name", None)
    module = f"module {name}" if name else "an extension module"
    frames = traceback.extract_tb(error.__traceback__)
    frames = [frame for frame in frames if not frame.filename.startswith("<mod_wsgi")]
    place = f" ({frames[-1].filename}:{frames[-1].lineno}: {frames[-1].line})" if frames else ""
    text = (
        f"\n{log_id.MODULE_NEEDS_MAIN_INTERPRETER}: {module} cannot be loaded in {sub_interpreter}{place}. Give the "
        "application a process group of its own, with WSGIApplicationGroup %{GLOBAL}: it then has the main "
        "interpreter, in which every module works"
    )
    if own_gil:
        text += ". Or set WSGIPerInterpreterGIL Off for it, if the module can share an interpreter's lock"
    return text


def _hint(error):
    if isinstance(error, NameError) and getattr(error, "name", None) == "execfile":
        return (
            "\nPython 3 has no execfile(). Write exec(open(path).read(), dict(__file__=path)) in "
            "its place; for a virtual environment, python-home= needs no such line."
        )
    if isinstance(error, PermissionError) and isinstance(error.filename, str):
        try:
            why = _obstacle(error.filename)
        except OSError:
            why = None
        return f"\n{why}" if why else ""
    return _interpreter_hint(error)


def application(error, path, where):
    """The application raised."""
    name = type(error).__name__
    exited = isinstance(error, SystemExit)
    code = log_id.APPLICATION_EXITED if exited else log_id.APPLICATION_RAISED
    return f"{code}: {name} raised by {path}, {where}\n{_traceback(error)}{_interpreter_hint(error)}"


def missing(namespace, name, path, where):
    """The script has no such callable."""
    found = [
        key
        for key, value in namespace.items()
        if callable(value) and not key.startswith("_") and not isinstance(value, type)
    ]
    text = f"{log_id.CALLABLE_MISSING}: {path} defines no callable named '{name}', {where}."
    if found:
        text += f" It does define {', '.join(found[:8])}: WSGICallableObject chooses another name."
    return text


def stack(ident):
    """Where another thread is."""
    import sys
    import traceback

    frame = sys._current_frames().get(ident)
    return "".join(traceback.format_stack(frame)).rstrip("\n") if frame is not None else ""
