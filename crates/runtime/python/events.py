"""The events of a request. Called only where somebody has subscribed."""

from _mod_wsgi import log_id, module, report


# What a thread had used of the processor when its request began.
_used = {}


def _processor():
    """Seconds in user and in system mode of the calling thread."""
    try:
        from resource import RUSAGE_THREAD, getrusage
    except ImportError:
        return None
    used = getrusage(RUSAGE_THREAD)
    return used.ru_utime, used.ru_stime


def _number(value):
    try:
        return int(value)
    except (TypeError, ValueError):
        return 0


def _common(environ, data, thread):
    payload = {"thread_id": thread, "server_pid": _number(environ.get("mod_wsgi.server_pid"))}
    if "mod_wsgi.request_id" in environ:
        payload["request_id"] = environ["mod_wsgi.request_id"]
    for name in ("request_start", "queue_start", "daemon_start"):
        payload[name] = environ.get(f"mod_wsgi.{name}", 0.0)
    payload["request_data"] = data
    return payload


def started(environ, application, data, thread):
    """Returns the application to call, which a subscriber may have replaced."""
    payload = _common(environ, data, thread)
    payload["daemon_connects"] = 1
    payload["daemon_restarts"] = 0
    payload["application_start"] = environ.get("mod_wsgi.application_start", 0.0)
    payload["application_object"] = application
    payload["callable_object"] = environ.get("mod_wsgi.callable_object", "application")
    payload["request_environ"] = environ
    module.publish(module._event_callbacks, "request_started", payload)
    _used[thread] = _processor()
    return payload["application_object"]


def response(request_id, data, status, headers, exc_info):
    payload = {
        "response_status": status,
        "response_headers": headers,
        "exception_info": exc_info,
        "request_data": data,
    }
    if request_id is not None:
        payload["request_id"] = request_id
    module.publish(module._event_callbacks, "response_started", payload)


def raised(environ, data, error):
    payload = {
        "exception_info": (type(error), error, error.__traceback__),
        "request_data": data,
    }
    if "mod_wsgi.request_id" in environ:
        payload["request_id"] = environ["mod_wsgi.request_id"]
    module.publish(module._event_callbacks, "request_exception", payload)


def finished(environ, data, thread, facts):
    payload = _common(environ, data, thread)
    payload.update(facts)
    before, now = _used.pop(thread, None), _processor()
    if before is not None and now is not None:
        user, system = now[0] - before[0], now[1] - before[1]
        payload.update(cpu_user_time=user, cpu_system_time=system, cpu_time=user + system)
    module.publish(module._event_callbacks, "request_finished", payload)


def run_post_hooks(environ, hooks, aborted, sent):
    """Calls what the application put into `mod_wsgi.posthooks`. The response is out by now."""
    environ["mod_wsgi.client_aborted"] = aborted
    environ["mod_wsgi.bytes_sent"] = sent
    for hook in list(hooks):
        try:
            function, args, kwargs = hook
            function(environ, *args, **kwargs)
        except BaseException as error:
            path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
            report.log(f"{log_id.POST_HOOK_RAISED}: a post hook of {path} raised", error)
