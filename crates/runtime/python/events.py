"""What runs after a request: its post hooks."""

from _mod_wsgi import log_id, report


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
