"""Ports: is one free, and which one is."""

import random
import socket


def is_free(host, port):
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((host, port))
            # On Linux two sockets may bind one port with SO_REUSEADDR until one of them listens.
            sock.listen(1)
        except OSError:
            return False
    return True


def is_free_udp(host, port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.bind((host, port))
        except OSError:
            return False
    return True


def find_free(host="127.0.0.1", taken=()):
    """A port, free for TCP and UDP, below the range that the kernel takes for outgoing connections, so that none of them gets it."""
    for _ in range(1000):
        port = random.randint(15000, 31000)
        if port not in taken and is_free(host, port) and is_free("0.0.0.0", port) and is_free_udp("0.0.0.0", port):
            return port
    raise OSError("no free port between 15000 and 31000")


def answers(host, port, timeout=1.0):
    """Whether something accepts connections there."""
    try:
        with socket.create_connection((host, port), timeout):
            return True
    except OSError:
        return False
