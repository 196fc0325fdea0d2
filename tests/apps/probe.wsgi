"""Answers with what its process is: identity, places, Python, in JSON."""

import json
import locale
import os
import sys
import threading


def facts():
    mask = os.umask(0)
    os.umask(mask)
    module = sys.modules.get("mod_wsgi")
    return {
        "pid": os.getpid(),
        "ppid": os.getppid(),
        "thread": threading.get_ident(),
        "main_thread": threading.main_thread().ident,
        "uids": os.getresuid(),
        "gids": os.getresgid(),
        "groups": sorted(os.getgroups()),
        "cwd": os.getcwd(),
        "umask": mask,
        "environ": dict(os.environ),
        "path": sys.path,
        "version": sys.version_info[:3],
        "prefix": sys.prefix,
        "base_prefix": sys.base_prefix,
        "executable": sys.executable,
        "argv": sys.argv,
        "name": __name__,
        "file": __file__,
        "locale": locale.setlocale(locale.LC_ALL),
        "filesystem_encoding": sys.getfilesystemencoding(),
        "process_group": getattr(module, "process_group", None),
        "application_group": getattr(module, "application_group", None),
    }


def application(environ, start_response):
    body = json.dumps(facts()).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
