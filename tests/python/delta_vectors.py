"""The vectors of delta/FORMAT.md: one function a file."""
import pathlib

import cbor
import coder
import delta
from counting import read

VECTORS = pathlib.Path(__file__).resolve().parents[2] / "delta/tests/vectors"

def typed(value):
    """CBOR as `cbor.json` writes it."""
    if type(value) is int:
        return {"int": str(value)}
    if type(value) is cbor.Float:
        return {"float": f"{value.bits:016x}"}
    if type(value) is bytes:
        return {"hex": value.hex()}
    if type(value) is dict:
        return {"map": [[typed(key), typed(item)] for key, item in value.items()]}
    return [typed(item) for item in value] if type(value) is list else value

def context_of(vector):
    return [vector["context"][name] for name in ("base_sequence", "sequence", "base_time_ms", "time_ms")]

def cbor_json(count, v):
    for vector in v["accepted"]:
        data = vector.b("hex")
        count.accept(vector["hex"], vector["value"], lambda: typed(cbor.decode(data)))
    for vector in v["refused"]:
        count.refuse(vector["hex"], cbor.decode, vector.b("hex"), name=vector["error"])

def target(vector):
    return cbor.encode(delta.decode(cbor.decode(vector.b("base")), vector.b("delta"), context_of(vector)))

def deltas_json(count, v):
    for vector in v["deltas"]:
        count.accept(vector["about"], vector.b("target"), target, vector)
    for vector in v["refused"]:
        count.refuse(vector["about"], target, vector, name=vector["error"])

class Noting(coder.Coder):
    def __init__(self, data):
        super().__init__(data)
        self.noted = []

    def decide(self, yes, scale=16):
        self.noted.append([yes, scale, super().decide(yes, scale)])
        return self.noted[-1][2]

def steps_json(count, v):
    for given, expected in v["squash"]:
        count.same(f"squash({given})", coder.squash(given), expected)
    for given, expected in v["stretch"]:
        count.same(f"stretch({given})", coder.STRETCH[given >> 4], expected)
    for case in v["coder"]:
        noting = Noting(case.b("hex"))
        for yes, scale, _ in case["decisions"]:
            noting.decide(yes, scale)
        count.same(case["about"], (noting.noted, noting.at >= len(noting.data)), (case["decisions"], True))
    deltas = read(VECTORS / "deltas.json")["deltas"]
    for walk in v["walks"]:
        vector = deltas[int(walk["delta"].rsplit("/", 1)[1])]
        noting = Noting(cbor.decode(vector.b("delta")))
        delta.Walk(cbor.decode(vector.b("base")), context_of(vector), noting).delta()
        count.same(walk["about"], noting.noted, [decision[2:] for decision in walk["decisions"]])
