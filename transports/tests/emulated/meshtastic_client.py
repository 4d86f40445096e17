"""The official Meshtastic client (PyPI meshtastic) on a TCP port, driven line by line.

usage: meshtastic_client.py HOST:PORT
Says its node's name and READY, then `heard FROM HEX` for each packet of the private port, `routing ID REASON` for each word of the
mesh on a packet of its own, `notice TEXT`. Lines on its input: `HEX` is broadcast, `NODE HEX` sent to a node with
acknowledgement; both answered by `queued`.
"""

import sys

from meshtastic.tcp_interface import TCPInterface
from pubsub import pub

PRIVATE_PORT = 256


def say(*words):
    print(*words, flush=True)


def received(packet, interface):
    decoded = packet.get("decoded", {})
    if decoded.get("portnum") in ("PRIVATE_APP", PRIVATE_PORT):
        say("heard", format(packet["from"], "08x"), decoded["payload"].hex())
    elif "routing" in decoded:
        say("routing", decoded.get("requestId"), decoded["routing"].get("errorReason"))


def noticed(notification, interface):
    say("notice", notification.message)


pub.subscribe(received, "meshtastic.receive")
pub.subscribe(noticed, "meshtastic.clientNotification")
host, port = sys.argv[1].rsplit(":", 1)
radio = TCPInterface(hostname=host, portNumber=int(port), timeout=30)
say("name", radio.getLongName())
say("firmware", radio.metadata.firmware_version)
say("READY")
for line in sys.stdin:
    *node, payload = line.split()
    to = int(node[0], 16) if node else "^all"
    radio.sendData(bytes.fromhex(payload), to, portNum=PRIVATE_PORT, wantAck=bool(node), hopLimit=0)
    say("queued")
