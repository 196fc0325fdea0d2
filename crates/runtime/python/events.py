"""The events of a request. Called only where somebody has subscribed."""

from _mod_wsgi import log_id, module, report


# The keys of each payload stand in the C module's order.


def _number(value):
    try:
        return int(value)
    except (TypeError, ValueError):
        return 0


def _identified(environ):
    if "mod_wsgi.request_id" in environ:
        return {"request_id": environ["mod_wsgi.request_id"]}
    return {}


def _times(environ):
    names = ("request_start", "queue_start", "daemon_start")
    return {name: environ.get(f"mod_wsgi.{name}", 0.0) for name in names}


def started(environ, application, data, thread):
    """Returns the application to call, which a subscriber may have replaced."""
    payload = {
        **_identified(environ),
        "thread_id": thread,
        "daemon_connects": 1,
        "daemon_restarts": 0,
        "server_pid": _number(environ.get("mod_wsgi.server_pid")),
        **_times(environ),
        "application_object": application,
        "callable_object": environ.get("mod_wsgi.callable_object", "application"),
        "request_environ": environ,
        "application_start": environ.get("mod_wsgi.application_start", 0.0),
        "request_data": data,
    }
    module.publish(module._event_callbacks, "request_started", payload)
    return payload["application_object"]


def response(request_id, data, status, headers, exc_info):
    payload = {} if request_id is None else {"request_id": request_id}
    payload["response_status"] = status
    payload["response_headers"] = headers
    payload["exception_info"] = exc_info
    payload["request_data"] = data
    module.publish(module._event_callbacks, "response_started", payload)


def raised(environ, data, error):
    payload = {
        **_identified(environ),
        "exception_info": (type(error), error, error.__traceback__),
        "request_data": data,
    }
    module.publish(module._event_callbacks, "request_exception", payload)


def finished(environ, data, thread, facts):
    payload = {
        **_identified(environ),
        "thread_id": thread,
        "server_pid": _number(environ.get("mod_wsgi.server_pid")),
        **_times(environ),
        **facts,
        "request_data": data,
    }
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
