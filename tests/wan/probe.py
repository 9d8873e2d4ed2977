"""What the tests of the cable run inside a namespace: ping (there may be no such program), a server
that hashes what it is sent, and a client that sends.

    probe.py ping ADDRESS COUNT       prints [milliseconds, ...]
    probe.py serve ADDRESS            prints its port, then {"bytes", "sha256"} for one connection
    probe.py send ADDRESS PORT BYTES  prints {"seconds", "sha256"}
"""
import hashlib
import json
import os
import socket
import struct
import sys
import time

REPLY_SECONDS = 2


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xffff)
    return ~(total + (total >> 16)) & 0xffff


def ping(address, count):
    times = []
    identity = os.getpid() & 0xffff
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as icmp:
        icmp.settimeout(REPLY_SECONDS)
        for sequence in range(int(count)):
            header = struct.pack("!BBHHH", 8, 0, 0, identity, sequence)
            header = struct.pack("!BBHHH", 8, 0, checksum(header), identity, sequence)
            began = time.monotonic()
            try:
                icmp.sendto(header, (address, 0))
                while True:
                    kind, _, _, who, what = struct.unpack("!BBHHH", icmp.recv(1024)[20:28])
                    if (kind, who, what) == (0, identity, sequence):
                        break
            except OSError:
                continue
            times.append((time.monotonic() - began) * 1000)
    print(json.dumps(times))


def serve(address):
    digest = hashlib.sha256()
    count = 0
    with socket.create_server((address, 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        connection, _ = listener.accept()
        with connection:
            while data := connection.recv(1 << 20):
                digest.update(data)
                count += len(data)
            connection.sendall(b"done")
    print(json.dumps({"bytes": count, "sha256": digest.hexdigest()}), flush=True)


def send(address, port, count):
    block = os.urandom(1 << 20)
    digest = hashlib.sha256()
    left = int(count)
    with socket.create_connection((address, int(port))) as connection:
        began = time.monotonic()
        while left > 0:
            part = block[:left]
            connection.sendall(part)
            digest.update(part)
            left -= len(part)
        connection.shutdown(socket.SHUT_WR)
        connection.recv(4)
        seconds = time.monotonic() - began
    print(json.dumps({"seconds": seconds, "sha256": digest.hexdigest()}))


if __name__ == "__main__":
    {"ping": ping, "serve": serve, "send": send}[sys.argv[1]](*sys.argv[2:])
