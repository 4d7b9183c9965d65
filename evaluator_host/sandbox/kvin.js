// KVIN inside the sandbox: values of a work function to nodes and back, and whole documents. Written are v8 and v9, read
// are v4 to v9.

const KVIN = (() => {
  "use strict";

  const { isArray, refuse } = KVIN_SHARED;
  const { marshalNode } = KVIN_WRITER;
  const { unmarshalNode } = KVIN_READER;
  const toText = String;

  const marshal = (value, as = "v9") => ({ __proto__: null, _serializeVerId: as, what: marshalNode(value, as) });

  function unmarshal(document) {
    if (typeof document !== "object" || document === null || isArray(document)) throw refuse("this is no KVIN document");
    const { _serializeVerId: as } = document;
    if (!(as === "v9" || as === "v8" || as === "v7" || as === "v6" || as === "v5" || as === "v4")) {
      throw refuse(`KVIN ${toText(as)} cannot be read; v4 to v9 can`);
    }
    return unmarshalNode(document.what);
  }

  return { __proto__: null, marshalNode, unmarshalNode, marshal, unmarshal };
})();
