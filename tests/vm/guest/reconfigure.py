"""What nbd-client cannot do to an attached device: how long requests wait for a lost server, and new sockets for lost ones.

reconfigure.py INDEX --patience SECONDS       requests wait so long for a connection before they fail
reconfigure.py INDEX --sockets N PATH NAME    N new connections to the unix socket PATH, in place of dead ones

Speaks generic netlink (linux/nbd-netlink.h) and the NBD handshake, no more of either than this takes.
"""

import socket
import struct
import sys

NETLINK_GENERIC = 16  # not in the small Python of the guest
REQUEST_ACK = 5
GET_FAMILY, FAMILY_ID, FAMILY_NAME = 3, 1, 2
RECONFIGURE, INDEX, SOCKETS, DEAD_CONN_TIMEOUT, SOCK_ITEM, SOCK_FD = 3, 1, 7, 8, 1, 1
NESTED = 0x8000


def attribute(kind, payload):
    return struct.pack("=HH", 4 + len(payload), kind) + payload + bytes(-len(payload) % 4)


def ask(netlink, family, command, attributes):
    """Sends one request; the answer before the acknowledgement, if any. An error ends the program."""
    body = struct.pack("=BBH", command, 1, 0) + attributes
    netlink.send(struct.pack("=IHHII", 16 + len(body), family, REQUEST_ACK, 1, 0) + body)
    answer = b""
    while True:
        message = netlink.recv(65536)
        while message:
            length, kind = struct.unpack_from("=IH", message)
            if kind == 2:
                error = struct.unpack_from("=i", message, 16)[0]
                if error:
                    sys.exit(f"netlink: error {-error}")
                return answer
            answer, message = message[20:length], message[(length + 3) & ~3 :]


def family_of(netlink, name):
    answer = ask(netlink, 16, GET_FAMILY, attribute(FAMILY_NAME, name + b"\0"))
    while answer:
        length, kind = struct.unpack_from("=HH", answer)
        if kind == FAMILY_ID:
            return struct.unpack_from("=H", answer, 4)[0]
        answer = answer[(length + 3) & ~3 :]
    sys.exit("netlink: no family of that name")


def exactly(connection, size):
    data = connection.recv(size, socket.MSG_WAITALL)
    if len(data) != size:
        sys.exit("the server closed the connection")
    return data


def negotiate(path, name):
    """A connection behind its handshake: NBD_OPT_GO, and everything the server says until it acknowledges."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(path)
    assert exactly(connection, 18)[:16] == b"NBDMAGICIHAVEOPT"
    option = struct.pack(">I", len(name)) + name + struct.pack(">H", 0)
    connection.sendall(struct.pack(">I", 3) + b"IHAVEOPT" + struct.pack(">II", 7, len(option)) + option)
    while True:
        kind, length = struct.unpack(">12xII", exactly(connection, 20))
        if length:
            exactly(connection, length)
        if kind == 1:
            return connection
        if kind & 1 << 31:
            sys.exit(f"the server refuses: {kind:#x}")


def main(index, what, count, *place):
    attributes = attribute(INDEX, struct.pack("=I", int(index)))
    connections = []
    if what == "--patience":
        attributes += attribute(DEAD_CONN_TIMEOUT, struct.pack("=Q", int(count)))
    else:
        path, name = place
        connections = [negotiate(path, name.encode()) for _ in range(int(count))]
        items = [attribute(NESTED | SOCK_ITEM, attribute(SOCK_FD, struct.pack("=I", c.fileno()))) for c in connections]
        attributes += attribute(NESTED | SOCKETS, b"".join(items))
    netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_GENERIC)
    netlink.bind((0, 0))
    ask(netlink, family_of(netlink, b"nbd"), RECONFIGURE, attributes)


main(*sys.argv[1:])
