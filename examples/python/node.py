"""Lists the layers of a running node and verifies each: `python3 node.py FOLDER/control.sock`.

The socket speaks HTTP (src/api/API.md). Proved of each layer: its author signed this head, and so this root.
Of a snapshot also that the value shown is the one under the root, unless JSON has no form for it (bytes).
Not proved: the content of a map, which is shown merged from all authors, and that no layer is newer.
Exit code 1 if a signature does not hold.
"""
import json
import socket
import sys
from urllib.parse import quote

from blake3 import blake3

from cbor import Float, bits_of, encode
from layers import MAP, SNAPSHOT, Head, holds, key_of_did

def get(path, target):
    with socket.socket(socket.AF_UNIX) as stream:
        stream.connect(path)
        stream.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: stream.recv(65_536), b""))
    return json.loads(answer.split(b"\r\n\r\n", 1)[1], parse_float=lambda text: Float(bits_of(float(text))))

def main(path):
    documents = {(doc["owner"], doc["name"]): doc["document"] for doc in get(path, "/v1/docs")}
    listed, wrong = get(path, "/v1/layers"), 0
    for layer in listed:
        owner, author = key_of_did(layer["owner"]), key_of_did(layer["author"])
        kind, root = MAP if layer["kind"] == "map" else SNAPSHOT, bytes.fromhex(layer["root"])
        head = Head(kind, owner, layer["name"], author, layer["sequence"], layer["time_ms"],
                    layer["audience_sequence"], root)
        signed, proved = holds(head, bytes.fromhex(layer["signature"])), ""
        document = documents.get((layer["owner"], layer["name"]))
        if signed and kind == SNAPSHOT and document:
            value = get(path, f"/v1/docs/{quote(document, safe='')}")
            proved = ", content as signed" if blake3(encode(value)).digest() == root else ""
        wrong += not signed
        line = f"{head.name}@{head.sequence} by {layer['author']}, {layer['bytes']} bytes{proved}"
        print("ok " if signed else "BAD", line)
    verdict = f"{wrong} NOT signed as shown" if wrong else "all signed by their authors"
    print(f"{len(listed)} layers, {verdict}")
    return 1 if wrong else 0

if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
