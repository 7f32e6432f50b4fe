"""Just enough of Kafka's protocol over plain sockets for tests that need many connections, or rude ones."""
import socket
import struct


def text(s):
    return struct.pack('>h', len(s)) + s.encode()


def connect(address, timeout=30, receive_buffer=None):
    host, port = address.rsplit(':', 1)
    s = socket.socket()
    if receive_buffer:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    s.settimeout(timeout)
    s.connect((host, int(port)))
    return s


def frame(key, version, body, correlation=1, client='bytes'):
    message = struct.pack('>hhi', key, version, correlation) + text(client) + body
    return struct.pack('>i', len(message)) + message


def read_exactly(s, n):
    parts = []
    while n > 0:
        part = s.recv(min(n, 1 << 20))
        if not part:
            raise ConnectionError('closed by the server')
        parts.append(part)
        n -= len(part)
    return b''.join(parts)


def answer(s):
    return read_exactly(s, struct.unpack('>i', read_exactly(s, 4))[0])


def call(s, key, version, body):
    s.sendall(frame(key, version, body))
    return answer(s)


def api_versions(s):
    return call(s, 18, 0, b'')


def create_topic(s, name, partitions=1):
    body = struct.pack('>i', 1) + text(name) + struct.pack('>ihii', partitions, 1, 0, 0) + struct.pack('>i', 30000)
    reply = call(s, 19, 0, body)
    error = struct.unpack('>h', reply[-2:])[0]
    assert error == 0, f'creating {name}: error {error}'


def fetch(name, offset=0, max_bytes=55 << 20, wait_ms=0, partition=0):
    return frame(1, 4, struct.pack('>iiiib', -1, wait_ms, 1, max_bytes, 0) + struct.pack('>i', 1) + text(name) +
                 struct.pack('>iiqi', 1, partition, offset, max_bytes))


def metadata(name):
    return frame(3, 1, struct.pack('>i', 1) + text(name))
