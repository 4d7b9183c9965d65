// Answers questions about KVIN, one JSON line each: [codec, action, version, payload] -> {"ok": description | node} | {"error": text}.
// Codecs: "npm8" and "npm9", the unmodified packages, and "ours", the file of our sandbox. Actions:
//   read:     payload is a node; the answer describes the value
//   write:    payload is a JavaScript expression; the answer is its node and the description of its value
//   rewrite:  payload is a node that npm reads and ours writes, or the other way round; the answer is the node
const fs = require("fs");
const vm = require("vm");

const ours = vm.runInThisContext(`(() => {${process.argv.slice(2).map((name) => fs.readFileSync(name, "utf8")).join("\n")}\nreturn KVIN;})()`);
const codecs = { npm8: require("kvin8"), npm9: require("kvin9"), ours };
const hex = (bytes) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("hex");

/** A value as plain JSON that Python can make of its own values too: kinds, exact numbers, and what is the same object. */
function describe(value, met = new Map()) {
  const inner = (item) => describe(item, met);
  switch (typeof value) {
    case "undefined": return ["undefined"];
    case "boolean": return ["boolean", value];
    case "number": { const b = Buffer.alloc(8); b.writeDoubleBE(value); return ["number", value !== value ? "NaN" : b.toString("hex")]; }
    case "string": return ["string", value];
    case "bigint": return ["bigint", String(value)];
    case "symbol": return ["symbol", value.description];
    case "function": return ["function", String(value)];
  }
  if (value === null) return ["null"];
  if (value instanceof Number || value instanceof String || value instanceof Boolean) return inner(value.valueOf());
  if (value instanceof Date) return ["date", isNaN(value) ? null : value.getTime()];
  if (value instanceof RegExp) return ["regexp", value.source, value.flags];
  if (value instanceof URL) return ["url", value.href];
  if (value instanceof ArrayBuffer) return ["bytes", "Uint8Array", hex(new Uint8Array(value))];
  if (value instanceof DataView || Buffer.isBuffer(value)) return ["bytes", "Uint8Array", hex(value)];
  if (ArrayBuffer.isView(value)) return ["bytes", value.constructor.name, hex(value)];
  if (met.has(value)) return ["same", met.get(value)];
  met.set(value, met.size);
  const named = (names, object = value) => names.sort().map((name) => [name, inner(object[name])]);
  if (value instanceof Map) return ["map", [...value].map(([k]) => inner(k)), [...value].map(([, v]) => inner(v))];
  if (value instanceof Set) return ["set", [...value].map(inner)];
  if (value instanceof Error) {
    const own = Object.keys(value).filter((name) => !["name", "message", "stack"].includes(name));
    return ["error", value.name, value.message, value.stack, named(own)];
  }
  if (Array.isArray(value)) {
    const items = Array.from({ length: value.length }, (_, i) => inner(value[i]));
    return ["array", items, named(Object.keys(value).filter((name) => !/^\d+$/.test(name)))];
  }
  return ["object", named(Object.keys(value))];
}

const unmarshal = (codec, version, node) => codecs[codec].unmarshal({ _serializeVerId: version, what: node });
const marshal = (codec, version, value) => {
  const what = codec === "ours" ? ours.marshalNode(value, version) : codecs[codec].marshal(value).what;
  return JSON.parse(JSON.stringify(what));
};

function answer([codec, action, version, payload]) {
  if (action === "read") return describe(unmarshal(codec, version, payload));
  if (action === "rewrite") return marshal(codec, version, unmarshal(codec, version, payload));
  const value = vm.runInThisContext(`(${payload})`);
  return [marshal(codec, version, value), describe(value)];
}

process.on("unhandledRejection", () => {});
require("readline").createInterface({ input: process.stdin }).on("line", (line) => {
  let said;
  try { said = { ok: answer(JSON.parse(line)) }; } catch (thrown) { said = { error: String(thrown) }; }
  process.stdout.write(JSON.stringify(said) + "\n");
});
