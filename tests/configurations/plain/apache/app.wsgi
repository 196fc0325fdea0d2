import json
import os


def application(environ, start_response):
    names = ("REQUEST_METHOD", "SCRIPT_NAME", "PATH_INFO", "REMOTE_USER", "HTTP_AUTHORIZATION", "HTTP_DEPTH",
             "trac.env_parent_dir", "mod_wsgi.process_group", "mod_wsgi.application_group")
    found = {name: environ.get(name) for name in names}
    found["size"] = len(environ["wsgi.input"].read())
    umask = os.umask(0)
    os.umask(umask)
    found["umask"] = umask
    status = "207 Multi-Status" if environ["REQUEST_METHOD"] in ("PROPFIND", "REPORT") else "200 OK"
    start_response(status, [("Content-Type", "application/json"), ("DAV", "1,2")])
    return [json.dumps(found).encode()]
