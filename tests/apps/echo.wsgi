"""Reads the body in the way the query asks for and answers with what it saw, in JSON.

`?read` one read() · `?read=7` read(7) until the end · `?readline[=n]` · `?readlines[=hint]` ·
`?iterate` · `?none` leaves the body alone.
"""

import hashlib
import json
from urllib.parse import parse_qsl


def pieces(stream, how, size):
    if how == "iterate":
        return list(stream)
    if how == "readlines":
        return stream.readlines(*size)
    if how == "none":
        return []
    read = getattr(stream, how)
    found = []
    while piece := read(*size):
        found.append(piece)
    return found


def application(environ, start_response):
    (how, size), *_ = parse_qsl(environ["QUERY_STRING"], keep_blank_values=True) or [("read", "")]
    stream = environ["wsgi.input"]
    got = pieces(stream, how, [int(size)] if size else [])
    whole = b"".join(got)
    answer = {
        "length": len(whole),
        "sha256": hashlib.sha256(whole).hexdigest(),
        "pieces": [piece.decode("latin-1") for piece in got[:20]],
        "types": sorted({type(piece).__name__ for piece in got}),
        "again": stream.read().decode("latin-1") if how != "none" else "",
        "content_length": environ.get("CONTENT_LENGTH"),
        "transfer_encoding": environ.get("HTTP_TRANSFER_ENCODING"),
    }
    body = json.dumps(answer).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
