"""What the vectors have, and whether it is found: shared by the modules that read them."""
import binascii
import json
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
DECODER = HERE.parents[1] / "examples/python"
sys.path.append(str(DECODER))
sys.path.append(str(HERE / "standin"))  # behind the packages that are installed

import cbor  # noqa: E402

REFUSALS = (cbor.Refused, UnicodeDecodeError, binascii.Error, json.JSONDecodeError)
# Names of the pages for which the decoder has others: one check in the place of several, or Python's own.
OTHER_NAMES = {"LongHead": {"OneForm"}, "LongFloat": {"OneForm"}, "KeyTwice": {"OneForm", "KeyTwice"},
               "KeyOrder": {"KeyOrder", "OneForm"}, "NotUtf8": {"utf-8"}, "Frame": {"Truncated", "Trailing"}}

class Vector(dict):
    """A JSON object whose bytes are in hex."""

    def b(self, name):
        return unhex(self[name])

def unhex(value):
    """Bytes of hex, also of each in a list."""
    return [unhex(item) for item in value] if type(value) is list else bytes.fromhex(value)

def states(listed):
    """(layer hash, sequence, root prefix) of each."""
    return [(unhex(name), sequence, unhex(prefix)) for name, sequence, prefix in listed]

def read(path):
    return json.loads(path.read_text(), object_hook=Vector)

class Count:
    def __init__(self):
        self.accepted = self.refused = 0
        self.wrong = []

    def same(self, about, found, expected):
        if found == expected:
            self.accepted += 1
        else:
            self.wrong.append(f"{about}: {found!r} where {expected!r} is written down")

    def accept(self, about, expected, act, *arguments):
        """`act` has to return what is expected."""
        try:
            self.same(about, act(*arguments), expected)
        except (ValueError, KeyError, TypeError) as error:
            self.wrong.append(f"{about}: refused, {error!r}")

    def refuse(self, about, act, *arguments, name=None):
        try:
            act(*arguments)
            self.wrong.append(f"{about}: accepted")
        except REFUSALS as refused:
            if name is None or refused.args[0] in OTHER_NAMES.get(name, {name}):
                self.refused += 1
            else:
                self.wrong.append(f"{about}: refused as {refused.args[0]}, not as {name}")
