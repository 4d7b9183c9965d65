// Values of slices: KVIN nodes in, KVIN nodes out, with a short way for the plain numbers that most jobs are made of.

/** The value of a node of a values body. Throws when the node makes no sense. */
function valueOf(node) {
  if (typeof node === "number" || typeof node === "boolean") return node;
  if (typeof node === "object" && node !== null && getOwnPropertyDescriptor(node, "uri") !== undefined) {
    throw codedError("EDATUMURI", "the input of this slice is at an address that has not been fetched for the sandbox");
  }
  return KVIN.unmarshalNode(node);
}

/** JSON text, on one line, of the node of a value. Throws when the value cannot be serialized. */
function nodeTextOf(value, version) {
  if (typeof value === "number" && value - value === 0 && (value !== 0 || 1 / value > 0)) return `${value}`;
  if (typeof value === "boolean") return value ? "true" : "false";
  const text = stringifyJson(KVIN.marshalNode(value, version));
  if (typeof text !== "string") throw codedError("EUNSERIALIZABLE", "the value cannot be serialized");
  return text;
}

/** JSON text of a whole KVIN document, as event payloads carry it. */
const documentTextOf = (value, version) => `{"_serializeVerId":"${version}","what":${nodeTextOf(value, version)}}`;
