import json

SITE = "shop"


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    found = {key: environ[key] for key in ("SCRIPT_NAME", "PATH_INFO", "mod_wsgi.application_group")}
    return [json.dumps({"site": SITE, **found}).encode()]
