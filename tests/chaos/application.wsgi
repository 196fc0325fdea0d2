"""The application of the chaos run: answers what it is asked for, and writes down what it ran.

Runs in a worker. Every request has a name of its own, from which the bytes of its response follow;
so a client knows each byte it must get. Whatever happens to a name is a line in this process's own
file below LEDGER, written with one write(2): the line is there even when the process is killed
right after it.
"""

import ctypes
import hashlib
import os
import random
import time
from urllib.parse import parse_qsl

LEDGER = os.environ["CHAOS_LEDGER"]
FILE = os.environ["CHAOS_FILE"]
OUT = os.open(os.path.join(LEDGER, str(os.getpid())), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)


def note(*words):
    os.write(OUT, (" ".join(words) + "\n").encode())


def content(name, size):
    return random.Random(name).randbytes(size)


def read(stream, how):
    """The request body, by the methods applications use."""
    if how == "whole":
        return stream.read()
    if how == "lines":
        return b"".join(stream)
    pieces = []
    while piece := stream.read(8192):
        pieces.append(piece)
    return b"".join(pieces)


def die(how):
    if how == "exit":
        os._exit(3)
    if how == "segv":
        ctypes.string_at(0)
    raise RuntimeError("asked for by the chaos run")


def pieces(body, pause, middle):
    """`body` in pieces of uneven length; `middle` is called after the first half."""
    step = max(1, len(body) // 7 + 1)
    for start in range(0, len(body), step):
        if middle and start >= len(body) // 2:
            middle()
        yield body[start : start + step]
        if pause:
            time.sleep(pause)
    if middle:
        middle()


def application(environ, start_response):
    ask = dict(parse_qsl(environ["QUERY_STRING"]))
    name = ask["name"]
    note("begun", name)
    headers = [("X-Name", name), ("Content-Type", "application/octet-stream")]
    if ask.get("read"):
        try:
            got = read(environ["wsgi.input"], ask["read"])
        except OSError:
            note("cut", name)
            raise
        note("read", name, str(len(got)))
        headers.append(("X-Got", f"{len(got)} {hashlib.sha256(got).hexdigest()}"))
    time.sleep(float(ask.get("work", 0)))
    if ask.get("die"):
        die(ask["die"])
    headers += [("X-Pad", "x" * 4000)] * int(ask.get("pad", 0))
    how = ask["how"]
    if how == "file":
        headers.append(("Content-Length", str(os.path.getsize(FILE))))
        start_response("200 OK", headers)
        return environ["wsgi.file_wrapper"](open(FILE, "rb"), 65536)
    body = content(name, int(ask["size"]))
    headers.append(("X-Digest", hashlib.sha256(body).hexdigest()))
    if how in ("list", "length"):
        headers.append(("Content-Length", str(len(body))))
    write = start_response("200 OK", headers)
    if how == "list":
        return [body]
    middle = (lambda: die(ask["middle"])) if ask.get("middle") else None
    flow = pieces(body, float(ask.get("pause", 0)), middle)
    if how == "write":
        for piece in flow:
            write(piece)
        return []
    return flow
