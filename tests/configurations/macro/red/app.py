import os


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"red app {environ['mod_wsgi.process_group']} {os.path.basename(os.getcwd())}".encode()]
