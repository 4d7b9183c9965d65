"""The files of KVIN alone: changed prototypes, hostile nodes, and what it cannot write. They run in V8, as they do
in the sandbox."""

import json
import subprocess
from typing import Any

from dcp_worker.evaluator_host.program import SANDBOX_FILES
from dcp_worker.protocol.dcp.kvin import value_of
from dcp_worker.tests.npm import node_binary

KVIN_JS = "\n".join(path.read_text() for path in SANDBOX_FILES if path.stem.startswith("kvin"))


def run(program: str, given: Any = None) -> Any:
    """What the program, which sees KVIN and ``given``, returns."""
    inside = f"""
const {{ parse, stringify }} = JSON;
const given = parse({json.dumps(json.dumps(given))});
const KVIN = (() => {{ {KVIN_JS}
return KVIN; }})();
stringify((() => {{ {program} }})());
"""  # a realm of its own, so that node itself goes on working whatever happens to the prototypes
    source = f"process.stdout.write(require('vm').runInNewContext({json.dumps(inside)}))"
    said = subprocess.run(
        [node_binary(), "-"], input=source, capture_output=True, text=True, timeout=60, check=False
    )
    assert said.returncode == 0, said.stderr
    return json.loads(said.stdout)


def test_changed_prototypes_neither_break_nor_steer_it() -> None:
    """A work function that has replaced what it could reach still gets its values through, both ways."""
    nodes = run("""
      const date = new Date(5), map = new Map([["k", [1, undefined]]]), bytes = new Uint8Array([1, 2, 3]);
      const value = { date, map, set: new Set([7]), bytes, list: [1, undefined], re: /a/g, error: new TypeError("m") };
      value.error.stack = "s";
      const evil = () => { throw new Error("caught"); };
      const { ownKeys } = Reflect, { defineProperty, getOwnPropertyDescriptor, getPrototypeOf } = Object;
      const types = [Array, Map, Set, Date, RegExp, String, Uint8Array, getPrototypeOf(Uint8Array), Promise, Symbol];
      for (let i = 0; i < types.length; i++) {
        const names = ownKeys(types[i].prototype);
        for (let j = 0; j < names.length; j++) {
          const { configurable } = getOwnPropertyDescriptor(types[i].prototype, names[j]);
          if (!configurable || names[j] === "constructor") continue;
          defineProperty(types[i].prototype, names[j], { get: evil, set: evil, configurable: true });
        }
      }
      const json = [Object, Array, String, Number, Boolean, BigInt];
      for (let i = 0; i < json.length; i++) {
        defineProperty(json[i].prototype, "toJSON", { value: () => "stolen", configurable: true });
      }
      const steal = { get: () => "stolen", set: evil, configurable: true };
      const words = ["ctr", "arr", "ps", "raw", "0", "1"];
      for (let i = 0; i < words.length; i++) defineProperty(Object.prototype, words[i], steal);
      JSON.stringify = JSON.parse = Object.keys = Array.isArray = Reflect.apply = Object.defineProperty = evil;
      Function.prototype.call = Function.prototype.apply = Function.prototype.bind = evil;
      const plain = KVIN.marshalNode({ a: [1, 2, "x"] }, "v9");
      const rich = KVIN.marshalNode(value, "v9");
      const again = KVIN.marshalNode(KVIN.unmarshalNode(rich), "v9");
      return { __proto__: null, plain, rich, again };
    """)

    assert nodes["again"] == nodes["rich"]
    assert value_of(nodes["plain"]) == {"a": [1, 2, "x"]}
    value = value_of(nodes["rich"])
    assert (value["bytes"], value["set"], value["list"][0]) == (b"\x01\x02\x03", {7}, 1)
    assert (value["error"].name, value["map"].pairs[0][0]) == ("TypeError", "k")


HOSTILE: list[Any] = [
    None,
    [1],
    {},
    {"arr": [None]},
    {"arr": 5},
    {"arr": [{"lst": 2}]},
    {"arr": [1, {"lst": -1}]},
    {"arr": [1, {"lst": 10**9}]},
    {"arr": [{"arr": [1, {"lst": 10**7}]}, {"lst": 10}]},
    {"arr": [], "len": -1},
    {"arr": [], "len": 2**40},
    {"arr": [], "isl": [{"@": -1, "arr": [1]}]},
    {"seen": 0},
    {"arr": [{"seen": 3}]},
    {"arr": [{"seen": "length"}]},
    {"bigint": "x"},
    {"number": "5"},
    {"json": "{"},
    {"ctr": 21},
    {"ctr": "constructor"},
    {"ctr": "__proto__"},
    {"ctr": "Foo"},
    {"ctr": "eval", "arg": "1"},
    {"ctr": 2, "ab8": "\u0100"},
    {"ctr": 9, "ab8": "abc"},
    {"ctr": 2, "isl8": [], "len": 10**12},
    {"ctr": 2, "isl8": [{"0": "ab", "@": 3}], "len": 4},
    {"ctr": 10, "args": ["(", ""]},
    {"mapKeys": {"arr": [1]}, "mapVals": {"arr": []}},
    {"set": 5},
]


def test_hostile_nodes_are_refused() -> None:
    """Nonsense and bombs throw, and the reader works as before afterwards."""
    deep: Any = 1
    for _ in range(300):
        deep = {"arr": [deep]}
    said = run(
        """
      const outcome = (node) => { try { KVIN.unmarshalNode(node); return "read"; } catch (e) { return e.name; } };
      const refused = given.map(outcome);
      return [refused, KVIN.unmarshalNode({ arr: [1, { lst: 2 }] })];
    """,
        [*HOSTILE, deep],
    )

    assert [
        node for node, outcome in zip([*HOSTILE, "deep"], said[0], strict=True) if outcome == "read"
    ] == []
    assert said[1] == [1, 1, 1]


def test_what_cannot_be_written_throws() -> None:
    """Promises, values that are nested too deep and unknown versions are refused with a sentence."""
    said = run("""
      let deep = 1, plain = 1;
      for (let i = 0; i < 300; i++) { deep = [deep, undefined]; plain = [plain]; }
      const attempt = (value, version) => {
        try { KVIN.marshalNode(value, version); return "written"; } catch (e) { return e.message; }
      };
      return [attempt(Promise.resolve(1), "v9"), attempt(deep, "v9"), attempt(plain, "v9"), attempt([undefined], "v7")];
    """)

    assert "await" in said[0]
    assert "nested" in said[1]
    assert "nested" in said[2]
    assert "v7" in said[3]


def test_proto_is_a_name_like_others() -> None:
    """A property named __proto__ arrives as one, and changes no prototype."""
    said = run(
        """
      const value = KVIN.unmarshalNode(given);
      return [Object.keys(value), Object.getPrototypeOf(value) === Object.prototype, KVIN.marshalNode(value, "v9")];
    """,
        {"ctr": 0, "ps": {"__proto__": {"ctr": 0, "ps": {"x": 1}}, "u": {"undefined": True}}},
    )

    assert said[0] == ["__proto__", "u"]
    assert said[1] is True
    assert said[2]["ps"]["__proto__"] == {"ctr": 0, "ps": {"x": 1}}
