"""Loads application scripts."""

import sys
from types import ModuleType

from _mod_wsgi import log_id, module, report

try:
    # hashlib would load OpenSSL.
    from _md5 import md5
except ImportError:
    from hashlib import md5


def name_of(path):
    """Name of the module a script becomes; the same as the C module's."""
    import os

    return "_mod_wsgi_" + md5(os.fsencode(path), usedforsecurity=False).hexdigest()


def load(path, where, in_request):
    """Runs the script. Returns its namespace and modification time in microseconds, or the report
    of why that failed, the modification time, if there was one, and the status for the client."""
    mtime = None
    try:
        with open(path, "rb") as file:
            import os

            mtime = os.fstat(file.fileno()).st_mtime_ns // 1000
            source = file.read()
        code = compile(source, path, "exec", 0, True)
    except Exception as error:
        text, status = report.unreadable(error, path, where, in_request)
        return text, mtime, status
    name = name_of(path)
    script = ModuleType(name)
    script.__file__ = path
    sys.modules[name] = script
    try:
        exec(code, script.__dict__)
    except BaseException as error:
        sys.modules.pop(name, None)
        return report.failed_load(error, path, where, in_request), mtime, 500
    finally:
        module.keep_levels()
    script.__mtime__ = mtime
    return script.__dict__, mtime


def must_reload(namespace, path):
    """What the script's own `reload_required` says."""
    try:
        return bool(namespace["reload_required"](path))
    except Exception as error:
        text = f"reload_required() of {path} raised; the script is not reloaded"
        report.log(f"{log_id.RELOAD_HOOK_RAISED}: {text}", error)
        return False
