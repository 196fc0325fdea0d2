"""Stands in for a Python with the runtime: speaks as a worker does, and does what it is told.

Started as the interpreter of a group, with the listener as descriptor 3 and the conversation with
the supervisor as 4, and the board as 5. Each connection sends one line and gets one back.
"""

import os
import select
import signal
import socket
import struct
import sys
import threading
import time

# With the directory that is being read.
FDS = " ".join(sorted(os.listdir("/proc/self/fd"), key=int))
CONTROL = socket.socket(fileno=4)
LISTENER = socket.socket(fileno=3)


def say(payload):
    CONTROL.send(struct.pack("<BBHI", 35, 2, 0, len(payload)) + payload)


def unusable(text):
    say(b"\x03" + struct.pack("<I", len(text)) + text)


def wait_for(path):
    while not os.path.exists(path):
        time.sleep(0.002)


def serve(connection):
    try:
        line = connection.makefile("rb").readline().decode().split()
        command, rest = line[0], line[1:]
        if command == "pid":
            answer = str(os.getpid())
        elif command == "env":
            answer = os.environ.get(rest[0], "-")
        elif command == "setup":
            answer = SETUP.hex()
        elif command == "fds":
            answer = FDS
        elif command == "board":
            os.pwrite(5, bytes.fromhex(rest[1]), int(rest[0]))
            answer = "ok"
        elif command == "noise":
            size = os.fstat(5).st_size
            for _ in range(200):
                os.pwrite(5, os.urandom(size - 8), 8)
            answer = str(size)
        elif command == "print":
            sys.stderr.write(" ".join(rest) + "\n")
            sys.stderr.flush()
            answer = "ok"
        elif command == "loaded":
            script = rest[0].encode()
            say(b"\x04" + struct.pack("<I", len(script)) + script + struct.pack("<I", 0))
            answer = "ok"
        elif command == "used-up":
            say(b"\x08")
            answer = "ok"
        elif command == "blocking":
            LISTENER.setblocking(True)
            answer = "ok"
        elif command == "leave":
            say(bytes([2, int(rest[0])]))
            answer = "ok"
        elif command == "raw":
            CONTROL.send(bytes.fromhex(rest[0]))
            answer = "ok"
        elif command == "silent":
            DEAF.append(1)
            CONTROL.shutdown(socket.SHUT_RDWR)
            answer = "ok"
        elif command == "wait":
            connection.sendall(b"begun\n")
            wait_for(rest[0])
            answer = str(os.getpid())
        elif command == "deaf":
            DEAF.append(1)
            answer = "ok"
        elif command == "ids":
            answer = f"{os.getresuid()} {os.getresgid()} {sorted(os.getgroups())}"
        elif command == "exit":
            os._exit(int(rest[0]))
        connection.sendall(answer.encode() + b"\n")
    finally:
        connection.close()


def accept():
    while True:
        select.select([LISTENER], [], [])
        try:
            connection, _ = LISTENER.accept()
        except BlockingIOError:
            continue
        ACTIVE.append(1)
        try:
            serve(connection)
        finally:
            ACTIVE.pop()
        if DRAINING:
            break


ACTIVE, DRAINING, DEAF = [], [], []
signal.signal(signal.SIGTERM, lambda *_: DEAF or os._exit(0))
SETUP = CONTROL.recv(1 << 17)
mode = os.environ.get("MODE", "")
if mode == "crash":
    sys.stderr.write("cannot come up\n")
    sys.stderr.flush()
    os._exit(7)
if mode == "unusable":
    unusable(b"no module named encodings")
    os._exit(1)
if mode == "cannotload":
    report = b"Traceback:\n  broken deploy"
    say(b"\x05" + struct.pack("<I", len(report)) + report)
    os._exit(0)
if mode == "brief":
    say(b"\x01")
    os._exit(9)
if mode.startswith("slow"):
    time.sleep(float(mode[4:]))
if mode.startswith("/"):
    wait_for(mode)
say(b"\x01")
for _ in range(3):
    threading.Thread(target=accept, daemon=True).start()
while True:
    message = CONTROL.recv(1 << 17)
    if DEAF:
        time.sleep(1000)
    if not message:
        os._exit(0)
    if message[8] == 1:
        SETUP = message
        continue
    if message[8] == 2:
        DRAINING.append(1)
        # Threads in accept can't be called back from Python: leave the socket to others by ending
        # as soon as nothing runs.
        end = time.monotonic() + struct.unpack("<Q", message[9:17])[0] / 1000
        while ACTIVE and time.monotonic() < end:
            time.sleep(0.002)
        os._exit(0)
    os._exit(0)
