"""Answers with its environ: each key as [type, value or repr], in JSON."""

import json


def shown(value):
    if isinstance(value, (str, int, float, bool, type(None))):
        return value
    if isinstance(value, tuple):
        return list(value)
    return repr(value)


def application(environ, start_response):
    table = {key: [type(value).__name__, shown(value)] for key, value in environ.items()}
    table["the environ"] = [type(environ).__name__, len(environ)]
    body = json.dumps(table).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
