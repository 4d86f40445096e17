#!/usr/bin/env python3
"""Reads every vector, with the decoder in examples/python and, of the further pages, what stands beside this file:

    python3 tests/python/check.py tests/vectors delta/tests/vectors

Prints for each file how many were accepted and refused as they should be. Exit code 0: all as written down;
1: a difference, or a decoder that has grown beyond a tutorial; 77: a package is missing.
"""
import json
import pathlib
import sys

from counting import DECODER, Count, read, unhex

try:
    import delta_vectors
    import engine_vectors
    import radio_vectors
    import refusal_vectors
    import envelope
    import federation
    import frames
    import layers
except ImportError as missing:
    print(f"SKIPPED: needs the Python package {missing.name} (apt install python3-{missing.name})")
    sys.exit(77)

READERS = {}  # by the name of the file
for module in (delta_vectors, engine_vectors, radio_vectors, refusal_vectors):
    READERS.update((name.replace("_json", ".json"), reader) for name, reader in vars(module).items())
LINES_MAX = 900
COLUMNS_MAX = 110

def transcript(count, lines):
    """What nodes sent: each message is one of the pages, each whole layer is signed."""
    for line in map(json.loads, lines):
        data, sent = unhex(line.get("hex") or ""), line.get("output")
        about = f"{line.get('node')} at {line.get('at_ms')}"
        if sent == "frame":
            count.accept(about, True, lambda: frames.header(data + bytes(2)).kind <= 10)
        elif sent == "join_answer":
            count.accept(about, True, lambda: federation.decode_answer(data)[0])
        elif sent == "send" and data[0] == 5:
            whole = envelope.decode_whole(data[1:])
            count.same(f"{about}: signature", layers.holds(whole.head, whole.signature), True)
        elif sent == "send" and not 0x0B <= data[0] <= 0x0E:
            count.accept(about, data[0] if data[0] < 0x80 else 0x80, lambda: envelope.decode_message(data)[0])

def grown():
    """What is wrong with the size of the decoder."""
    lines = [line for path in sorted(DECODER.glob("*.py")) for line in path.read_text().splitlines()]
    print(f"examples/python has {len(lines)} lines, and may have {LINES_MAX}")
    long = [f"over {COLUMNS_MAX} columns: {line}" for line in lines if len(line) > COLUMNS_MAX]
    return long + [f"more than {LINES_MAX} lines"] * (len(lines) > LINES_MAX)

def files(folders, form):
    return sorted(path for folder in folders for path in pathlib.Path(folder).glob(form))

def show(about, count):
    print(f"{about}, {len(count.wrong)} different")
    for line in count.wrong:
        print(f"  {line}")

def main(folders):
    counts = []
    for path in files(folders, "*.json"):
        count = Count()
        READERS[path.name](count, read(path))
        counts.append(count)
        show(f"{path.name:16} {count.accepted:4} accepted, {count.refused:4} refused", count)
    sent = Count()
    for path in files(folders, "transcripts/*.jsonl"):
        transcript(sent, path.read_text().splitlines()[1:])
    show(f"transcripts      {sent.accepted:4} messages and frames as the pages have them", sent)
    size = Count()
    size.wrong = grown()
    show("the decoder", size)
    accepted, refused = sum(count.accepted for count in counts), sum(count.refused for count in counts)
    wrong = sum(len(count.wrong) for count in [*counts, sent, size])
    print(f"totals: {accepted} accepted, {refused} refused, {wrong} different")
    return 1 if wrong or not accepted else 0

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or ["tests/vectors", "delta/tests/vectors"]))
