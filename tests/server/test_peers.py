"""Who connects to a group's socket and is no child of this Apache, or makes no sense: is dropped, takes
no thread and runs nothing (issue 4, point 7; threats T6, T7)."""

import socket
import struct
import subprocess
import time

import pytest

import waiting
import wire

pytestmark = pytest.mark.differs("bad-days", run=False)


def group_socket(httpd):
    path, = (path for path in httpd.sockets() if ".app." in path.name)
    return path


@pytest.mark.parametrize("said", [
    b"", b"\x01", b"GET / HTTP/1.0\r\n\r\n", b"\xff" * 4096,
    struct.pack("<BBHI", 1, wire.VERSION, 0, 0xFFFFFFFF), struct.pack("<BBHI", 1, wire.VERSION, 0, 1 << 20) + b"x" * 100,
], ids=["nothing", "a byte", "http", "noise", "a length of 4 GB", "a part"])
def test_a_peer_that_makes_no_sense_is_dropped_and_takes_no_thread(httpd, said):
    httpd.serve("probe.wsgi", options="threads=2")
    pid = httpd.ask("/")["pid"]
    httpd.error_log.allow("WSGI0(305|306|311)")
    peers = []
    # Many times the threads there are. One that has said part of a request is waited for a second.
    begun_with_one = len(said) > 100 and said[0] == 1
    for _ in range(12 if begun_with_one else 40):
        peer = socket.socket(socket.AF_UNIX)
        peer.connect(str(group_socket(httpd)))
        if said:
            peer.sendall(said)
        peers.append(peer)
    begun = time.monotonic()
    assert httpd.ask("/")["pid"] == pid
    assert time.monotonic() - begun < (8 if begun_with_one else 2) + waiting.SLACK
    for peer in peers:
        peer.settimeout(5)
        try:
            assert peer.recv(4096) == b""
        except ConnectionResetError:
            pass
        peer.close()
    assert httpd.ask("/")["pid"] == pid


def test_a_peer_of_another_user_is_refused_even_where_the_file_lets_him(httpd, users):
    httpd.serve("probe.wsgi", options="threads=2")
    path = group_socket(httpd)
    path.chmod(0o777)
    code = f"""
import socket
peer = socket.socket(socket.AF_UNIX)
peer.connect({str(path)!r})
try:
    peer.sendall(b"x")
    print(peer.recv(10))
except OSError as error:
    print(type(error).__name__)
"""
    done = subprocess.run(["/usr/bin/python3", "-c", code], user=users[0].pw_uid, capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout.strip() in ("ConnectionResetError", "b''", "BrokenPipeError")
    httpd.error_log.expect(f"WSGI0310.*user {users[0].pw_uid}")
    assert httpd.get("/").status == 200


def test_a_request_without_the_group_s_key_is_never_run(httpd):
    """An application that runs as Apache's own user can connect to every group, and no more."""
    httpd.app("victim.wsgi", """
def application(environ, start_response):
    open(__file__ + ".ran", "w")
    start_response("200 OK", [])
    return [b""]
""")
    httpd.configure(
        "WSGIDaemonProcess app display-name=%{GROUP} threads=2",
        "WSGIScriptAlias / {apps}/victim.wsgi process-group=app",
    )
    httpd.start()
    waiting.until(lambda: httpd.workers(count=1), 5, "the worker")
    httpd.error_log.allow("WSGI0306")
    for key in (bytes(16), b"\xff" * 16):
        peer = socket.socket(socket.AF_UNIX)
        peer.settimeout(5)
        peer.connect(str(group_socket(httpd)))
        peer.sendall(wire.request({}, key=key, script=f"{httpd.apps}/victim.wsgi", group="x"))
        try:
            assert peer.recv(100) == b""
        except ConnectionResetError:
            pass
    httpd.error_log.expect("WSGI0306")
    assert not list(httpd.apps.glob("*.ran"))
