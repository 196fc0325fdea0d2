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


def unreadable(error, path, where, in_request):
    code = log_id.SCRIPT_UNREADABLE if in_request else log_id.SCRIPT_UNREADABLE_AT_START
    if isinstance(error, OSError):
        return f"{code}: {path} can't be read, {where}: {error.strerror or error}"
    return f"{code}: {path} can't be compiled, {where}\n{_traceback(error)}"


def failed_load(error, path, where, in_request):
    if isinstance(error, SystemExit):
        return _exited(error, path, where, in_request)
    code = log_id.SCRIPT_RAISED if in_request else log_id.SCRIPT_RAISED_AT_START
    name = type(error).__name__
    text = f"{code}: {name} raised while {path} was loaded, {where}"
    hint = _hint(error, where)
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


_ONE_INTERPRETER = (
    "may only be initialized once per interpreter process",
    "does not support loading in subinterpreters",
    "Interpreter change detected",
    "cannot load module more than once per process",
)


def _hint(error, where):
    text = str(error)
    if isinstance(error, ImportError) and any(known in text for known in _ONE_INTERPRETER):
        return (
            "\nThis module works in the main interpreter only. Give the application a process "
            "group of its own, or WSGIApplicationGroup %{GLOBAL}."
        )
    return ""


def application(error, path, where):
    """The application raised."""
    name = type(error).__name__
    exited = isinstance(error, SystemExit)
    code = log_id.APPLICATION_EXITED if exited else log_id.APPLICATION_RAISED
    return f"{code}: {name} raised by {path}, {where}\n{_traceback(error)}"


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
