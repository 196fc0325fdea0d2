"""The application that every contestant of the benchmark serves, one path per workload."""

import os
import tempfile
import time

HELLO = b"Hello, World!"
BODY_100K = b"x" * (100 * 1024)
CHUNK_64K = b"y" * (64 * 1024)
FILE_SIZE = 100 * 1024 * 1024
FILE = os.path.join(tempfile.gettempdir(), "wsgi-bench-100m.bin")


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
    return environ["wsgi.file_wrapper"](open(FILE, "rb"), 64 * 1024)


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


ROUTES = {"/hello": hello, "/body100k": body100k, "/stream10m": stream10m, "/file100m": file100m,
          "/upload": upload, "/cpu2ms": cpu2ms}


def _flask():
    import flask
    app = flask.Flask("bench")

    @app.route("/flask")
    def index():
        return "Hello, World!"

    return app


def _django():
    import django
    from django.conf import settings
    from django.core.wsgi import get_wsgi_application
    from django.http import HttpResponse
    from django.urls import path
    import sys
    import types

    urls = types.ModuleType("bench_urls")
    urls.urlpatterns = [path("django", lambda request: HttpResponse("Hello, World!"))]
    sys.modules["bench_urls"] = urls
    settings.configure(ROOT_URLCONF="bench_urls", ALLOWED_HOSTS=["*"], SECRET_KEY="bench",
                       MIDDLEWARE=["django.middleware.common.CommonMiddleware"])
    django.setup()
    return get_wsgi_application()


ROUTES["/flask"] = _flask()
ROUTES["/django"] = _django()


def application(environ, start_response):
    # Some peers put the mount into SCRIPT_NAME, some the whole path into PATH_INFO.
    return ROUTES[environ["SCRIPT_NAME"] + environ["PATH_INFO"]](environ, start_response)
