"""Lists the layers of a running node and verifies each: `python3 node.py ~/.local/share/tombolo/control.sock`.

The socket speaks HTTP (src/api/API.md). Exit code 1 if a signature is not the author's over what the node shows.
"""
import json
import socket
import sys

try:
    import envelope
    import federation
except ImportError as missing:
    print(f"SKIPPED: needs the Python package {missing.name} (apt install python3-{missing.name})")
    sys.exit(77)


def get(path, target):
    with socket.socket(socket.AF_UNIX) as stream:
        stream.connect(path)
        stream.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: stream.recv(65_536), b""))
    return json.loads(answer.split(b"\r\n\r\n", 1)[1])


def main(path):
    wrong, layers = 0, get(path, "/v1/layers")
    for layer in layers:
        owner, author = federation.key_of_did(layer["owner"]), federation.key_of_did(layer["author"])
        kind = envelope.MAP if layer["kind"] == "map" else envelope.SNAPSHOT
        head = envelope.Head(kind, owner, layer["name"], author, layer["sequence"], layer["time_ms"],
                             layer["audience_sequence"], bytes.fromhex(layer["root"]))
        holds = envelope.holds(head, bytes.fromhex(layer["signature"]))
        wrong += not holds
        print(f"{'ok ' if holds else 'BAD'} {layer['name']}@{layer['sequence']} by {layer['author']}, {layer['bytes']} bytes")
    print(f"{len(layers)} layers, {f'{wrong} NOT signed as shown' if wrong else 'all signed by their authors'}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
