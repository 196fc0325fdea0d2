"""Clients that had an answer and keep their connections: `idle.py PORT PATH`.

Runs in: a process of its own, so that the benchmark's limit of open files holds for one server's clients.
Reads how many there shall be, a line each time, and answers "ok" or what is wrong; an empty line asks
whether all are still open.
"""

import socket
import sys


def opened(port, path, number):
    # Addresses enough that ports do not run out.
    one = socket.create_connection(("127.0.0.1", port), 30, (f"127.0.0.{2 + number // 5000}", 0))
    one.sendall(f"GET {path} HTTP/1.1\r\nHost: idle\r\n\r\n".encode())
    answer = b""
    while not answer.endswith(b"Hello, World!"):
        got = one.recv(4096)
        if not got:
            raise OSError(f"connection {number} was closed after {answer[:100]!r}")
        answer += got
    one.setblocking(False)
    return one


def is_open(one):
    try:
        return bool(one.recv(1))
    except BlockingIOError:
        return True


def main():
    port, path = int(sys.argv[1]), sys.argv[2]
    sockets = []
    for line in sys.stdin:
        try:
            if line.strip():
                while len(sockets) < int(line):
                    sockets.append(opened(port, path, len(sockets)))
            closed = sum(not is_open(one) for one in sockets)
            print(f"{closed} of {len(sockets)} were closed" if closed else "ok", flush=True)
        except OSError as error:
            print(error, flush=True)


if __name__ == "__main__":
    main()
