"""The application that every contestant of the benchmark serves, one path per workload.

Runs in: a worker of the contestant. Flask and Django are imported when they are first asked for, so
that the memory of a worker is that of a small application until then.
"""

import functools
import os
import threading
import time
import wsgiref.util

HELLO = b"Hello, World!"
BODY_100K = b"x" * (100 * 1024)
CHUNK_64K = b"y" * (64 * 1024)
FILE_SIZE = 100 * 1024 * 1024
HERE = os.path.dirname(os.path.abspath(__file__))
#: Made by the benchmark before it starts. Its folder is a copy of this one, and removed at the end.
FILE = os.path.join(HERE, "100m.bin")
#: Where queues are watched: a folder with the files "order" and "open".
QUEUE = os.path.join(HERE, "queue")


def hello(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "13")])
    return [HELLO]


def body100k(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"),
                              ("Content-Length", str(len(BODY_100K)))])
    return [BODY_100K]


def stream10m(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    return (CHUNK_64K for _ in range(160))


def file100m(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/octet-stream"),
                              ("Content-Length", str(FILE_SIZE))])
    # Not every server has one of its own.
    wrapper = environ.get("wsgi.file_wrapper", wsgiref.util.FileWrapper)
    return wrapper(open(FILE, "rb"), 64 * 1024)


def upload(environ, start_response):
    read = environ["wsgi.input"].read
    total = 0
    while True:
        chunk = read(64 * 1024)
        if not chunk:
            break
        total += len(chunk)
    body = str(total).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


def cpu2ms(environ, start_response):
    until = time.thread_time() + 0.002
    while time.thread_time() < until:
        sum(range(200))
    return hello(environ, start_response)


def note(text):
    """One write to the end of the file, so that processes may do it at the same time."""
    file = os.open(os.path.join(QUEUE, "order"), os.O_WRONLY | os.O_APPEND)
    try:
        os.write(file, text.encode() + b"\n")
    finally:
        os.close(file)


def hold(environ, start_response):
    note("hold")
    while not os.path.exists(os.path.join(QUEUE, "open")):
        time.sleep(0.02)
    return hello(environ, start_response)


def queued(environ, start_response):
    # Taken first: while a file is written other threads run.
    now = time.monotonic_ns()
    note(f"{environ['QUERY_STRING']} {now}")
    return hello(environ, start_response)


ONCE = threading.Lock()


def made_once(make):
    """The application that `make` returns, made when the first request comes."""
    made = functools.cache(make)

    def application(environ, start_response):
        with ONCE:
            there = made()
        return there(environ, start_response)

    return application


@made_once
def flask():
    import flask
    app = flask.Flask("bench")

    @app.route("/flask")
    def index():
        return "Hello, World!"

    return app


@made_once
def django():
    import sys
    import types

    import django
    from django.conf import settings
    from django.core.wsgi import get_wsgi_application
    from django.http import HttpResponse
    from django.urls import path

    urls = types.ModuleType("bench_urls")
    urls.urlpatterns = [path("django", lambda request: HttpResponse("Hello, World!"))]
    sys.modules["bench_urls"] = urls
    settings.configure(ROOT_URLCONF="bench_urls", ALLOWED_HOSTS=["*"], SECRET_KEY="bench",
                       MIDDLEWARE=["django.middleware.common.CommonMiddleware"])
    django.setup()
    return get_wsgi_application()


ROUTES = {"hello": hello, "body100k": body100k, "stream10m": stream10m, "file100m": file100m,
          "upload": upload, "cpu2ms": cpu2ms, "flask": flask, "django": django, "hold": hold,
          "queued": queued}


def application(environ, start_response):
    # Some peers put the mount into SCRIPT_NAME, some the whole path into PATH_INFO.
    path = environ["SCRIPT_NAME"] + environ["PATH_INFO"]
    return ROUTES[path.rpartition("/")[2]](environ, start_response)
