// KVIN, the writer: values of a work function to nodes, in v8 and v9.
//
// What is plain JSON leaves as {"raw": value}, untouched. Objects are numbered for {"seen": n} as the reader of the npm
// package does: a Map counts three times (itself, its keys, its values), raw parts never.

const KVIN_WRITER = (() => {
  "use strict";

  const {
    MAX_DEPTH, getOwnPropertyDescriptor, getPrototypeOf, keys, setPrototypeOf, isArray, uncurry, getter, ObjectPrototype,
    ArrayPrototype, hasOwn, isPrototypeOf, mapSet, setAdd, TypedArray, typeOfArray, bufferOf, offsetOf, bytesOf, NativeURL,
    NATIVE, ERRORS, NUMBERS, refuse, define, isChanged,
  } = KVIN_SHARED;
  const MANY = 10_000; // elements; longer arrays are not searched for named properties, which would double the cost

  const { apply } = Reflect;
  const { fromCharCode } = String;
  const toText = String;
  const [mapGet, mapEach] = [Map.prototype.get, Map.prototype.forEach].map(uncurry);
  const [setHas, setEach] = [Set.prototype.has, Set.prototype.forEach].map(uncurry);
  const [viewBuffer, viewOffset, viewBytes] = ["buffer", "byteOffset", "byteLength"].map((n) => getter(DataView.prototype, n));
  const lengthOf = getter(TypedArray.prototype, "length");
  const mapSize = getter(Map.prototype, "size");
  const setSize = getter(Set.prototype, "size");
  const bufferSize = getter(ArrayBuffer.prototype, "byteLength");
  const [dateTime, dateText] = [Date.prototype.getTime, Date.prototype.toISOString].map(uncurry);
  const patternSource = getter(RegExp.prototype, "source");
  const FLAGS = { // the getter `flags` would ask the pattern, whose prototype may have been changed
    __proto__: null, hasIndices: "d", global: "g", ignoreCase: "i", multiline: "m", dotAll: "s", unicode: "u",
    unicodeSets: "v", sticky: "y",
  };
  for (const name of keys(FLAGS)) FLAGS[name] = { get: getter(RegExp.prototype, name), letter: FLAGS[name] };
  const symbolText = getter(Symbol.prototype, "description");
  const functionText = uncurry(Function.prototype.toString);
  const bigintText = uncurry(BigInt.prototype.toString);
  const unboxed = { __proto__: null, Number, String, Boolean };
  for (const name of keys(unboxed)) unboxed[name] = uncurry(unboxed[name].prototype.valueOf);
  const urlText = NativeURL && getter(NativeURL.prototype, "href");
  const BUILT_IN = new Map();
  for (const type of [Date, Map, Set, RegExp, ArrayBuffer, DataView, Number, String, Boolean]) {
    BUILT_IN.set(type.prototype, type.name);
  }
  if (NativeURL) BUILT_IN.set(NativeURL.prototype, "URL");

  /** A finite number other than -0: what JSON text gives back as it was. */
  const isPlainNumber = (value) => value - value === 0 && (value !== 0 || 1 / value > 0);

  /** Whether JSON says all of an object: no part met twice, nothing that JSON lacks. `met` is a Set, made when needed. */
  function isPlain(object, depth, met) {
    if (depth >= MAX_DEPTH) return false;
    if (met !== null) {
      if (setHas(met, object)) return false;
      setAdd(met, object);
    }
    const list = isArray(object);
    const prototype = getPrototypeOf(object);
    if (list ? prototype !== ArrayPrototype : prototype !== ObjectPrototype && prototype !== null) return false;
    const names = list && object.length > MANY ? null : keys(object);
    const length = names === null ? object.length : names.length;
    if (list && length !== object.length) return false;
    for (let i = 0; i < length; i++) {
      const value = list ? object[i] : object[names[i]];
      switch (typeof value) {
        case "number":
          if (!isPlainNumber(value)) return false;
          break;
        case "string":
        case "boolean":
          break;
        case "object":
          if (value === null) break;
          if (met === null) setAdd((met = new NATIVE.Set()), object);
          if (!isPlain(value, depth + 1, met)) return false;
          break;
        default:
          return false;
      }
    }
    return true;
  }

  let version, numbers, count; // of the document that is being written
  let hard; // whether somebody has put something on the prototypes of our nodes: they are then made without prototypes

  const sealed = (object) => (hard ? setPrototypeOf(object, null) : object);

  function marshalNode(value, as = "v9") {
    switch (typeof value) {
      case "number":
        if (isPlainNumber(value)) return value;
        break;
      case "string":
      case "boolean":
        return value;
      case "object":
        if (value === null || (!("toJSON" in ArrayPrototype) && isPlain(value, 0, null))) return { __proto__: null, raw: value };
    }
    if (as !== "v8" && as !== "v9") throw refuse(`KVIN ${toText(as)} cannot be written; v8 and v9 can`);
    version = as;
    numbers = new NATIVE.Map();
    count = 0;
    hard = isChanged();
    try {
      return write(value, 0);
    } finally {
      numbers = null;
    }
  }

  function write(value, depth) {
    switch (typeof value) {
      case "number":
        if (isPlainNumber(value)) return value;
        return sealed(value === 0 ? { json: "-0" } : { number: `${value}` });
      case "string":
      case "boolean":
        return value;
      case "undefined":
        return sealed({ undefined: true });
      case "bigint":
        return sealed({ bigint: bigintText(value) });
    }
    if (value === null) return sealed({ raw: null });
    const number = mapGet(numbers, value);
    if (number !== undefined) return sealed({ seen: number });
    if (depth >= MAX_DEPTH) throw refuse(`a value that is nested more than ${MAX_DEPTH} deep cannot be serialized`);
    mapSet(numbers, value, count++);
    if (typeof value === "symbol") {
      const text = symbolText(value) ?? "";
      return sealed(version === "v8" ? { ctr: "Symbol", ps: sealed({}), arg: `Symbol(${text})` } : { symbol: text });
    }
    if (typeof value === "function") {
      const fnName = getOwnPropertyDescriptor(value, "name")?.value;
      const ps = writeProperties(value, keys(value), depth);
      return sealed({ ctr: 15, ps, fnName: typeof fnName === "string" ? fnName : "", arg: functionText(value) });
    }
    if (isArray(value)) return writeArray(value, depth);
    const prototype = getPrototypeOf(value);
    if (prototype === ObjectPrototype || prototype === null) {
      return sealed({ ctr: 0, ps: writeProperties(value, keys(value), depth) });
    }
    return writeInstance(value, prototype, depth);
  }

  function writeProperties(object, names, depth, ps = sealed({})) {
    for (let i = 0; i < names.length; i++) {
      const node = write(object[names[i]], depth + 1);
      if (names[i] === "__proto__" && !hard) define(ps, "__proto__", node, true);
      else ps[names[i]] = node;
    }
    return ps;
  }

  function writeArray(value, depth) {
    const arr = sealed([]);
    const length = value.length;
    let i = 0;
    for (; i < length; i++) {
      const item = value[i];
      if (item === undefined && !hasOwn(value, i)) break; // a hole
      arr[i] = write(item, depth + 1);
    }
    const node = sealed({ arr });
    if (i === length && length > MANY) return node;
    const names = keys(value); // the indices first, in order
    if (names.length > i) {
      const rest = sealed([]);
      for (let j = i; j < names.length; j++) rest[j - i] = names[j];
      node.ps = writeProperties(value, rest, depth);
    }
    if (i < length) node.len = length;
    return node;
  }

  /** The name of the built-in class that an object descends from, if any. */
  function builtInOf(prototype) {
    for (let steps = 0; prototype !== null && steps < 8; steps++) {
      const name = mapGet(BUILT_IN, prototype);
      if (name !== undefined) return name;
      prototype = getPrototypeOf(prototype);
    }
    return undefined;
  }

  function flagsOf(pattern) {
    let flags = "";
    for (const name in FLAGS) if (FLAGS[name].get(pattern)) flags += FLAGS[name].letter;
    return flags;
  }

  function writeInstance(value, prototype, depth) {
    const type = typeOfArray(value);
    if (type !== undefined) return writeBytes(type, value, bufferOf(value), offsetOf(value), bytesOf(value));
    try {
      const name = builtInOf(prototype);
      switch (name) { // a prototype can be made up; the captured methods then throw, and it is written as any object
        case "Date": {
          const time = dateTime(value); // the reader of the npm package takes null, its own form, for 1970
          return sealed({ ctr: 19, ps: sealed({}), arg: time === time ? dateText(value) : "invalid" });
        }
        case "Map":
          mapSize(value);
          return writeMap(value, depth);
        case "Set":
          setSize(value);
          return writeSet(value, depth);
        case "RegExp":
          return sealed({ ctr: 10, args: sealed([patternSource(value), flagsOf(value)]) });
        case "URL":
          return sealed({ ctr: 18, ps: sealed({}), arg: urlText(value) });
        case "ArrayBuffer": // the npm package would lose the content; bytes are what it can read
          return writeBytes("Uint8Array", null, value, 0, bufferSize(value));
        case "DataView":
          return writeBytes("DataView", null, viewBuffer(value), viewOffset(value), viewBytes(value));
        case "Number":
        case "String":
        case "Boolean": {
          const inner = unboxed[name](value);
          const arg = typeof inner === "boolean" ? inner : `${inner}`; // the npm package reads "false" as true
          return sealed({ ctr: NUMBERS[name], arg });
        }
      }
    } catch (thrown) {
      if (thrown?.code === "EKVIN" || !isPrototypeOf(ERRORS.TypeError.prototype, thrown)) throw thrown;
    }
    if (isPrototypeOf(ERRORS.Error.prototype, value)) return writeError(value, depth);
    if (isPrototypeOf(NATIVE.Promise.prototype, value)) throw refuse("a promise cannot be serialized; await it first");
    const name = prototype.constructor?.name;
    const ps = writeProperties(value, keys(value), depth);
    const node = sealed({ ctr: typeof name === "string" && name !== "" && name !== "Object" ? name : 0, ps });
    if (node.ctr !== 0 && typeof value.toJSON === "function") {
      const arg = value.toJSON();
      if (typeof arg === "string" || (typeof arg === "number" && isPlainNumber(arg))) node.arg = arg;
    }
    return node;
  }

  function writeMap(value, depth) {
    const mapKeys = sealed({ arr: sealed([]) });
    const mapVals = sealed({ arr: sealed([]) });
    let length = 0;
    count++; // the array of keys
    mapEach(value, (_, key) => (mapKeys.arr[length++] = write(key, depth + 1)));
    count++; // the array of values
    length = 0;
    mapEach(value, (item) => (mapVals.arr[length++] = write(item, depth + 1)));
    return sealed({ mapKeys, mapVals });
  }

  function writeSet(value, depth) {
    const arr = sealed([]);
    let length = 0;
    setEach(value, (item) => (arr[length++] = write(item, depth + 1)));
    return sealed({ set: sealed({ arr }) });
  }

  function writeError(value, depth) {
    const { name, message, stack } = value;
    const known = typeof name === "string" && name in ERRORS;
    const ps = sealed({});
    if (typeof stack === "string") ps.stack = stack;
    if (typeof name === "string" && !known) ps.name = name;
    const names = sealed([]);
    if (hasOwn(value, "cause")) names[0] = "cause"; // not enumerable, as `errors` of an AggregateError is not
    if (hasOwn(value, "errors")) names[names.length] = "errors";
    const own = keys(value);
    for (let i = 0; i < own.length; i++) if (!(own[i] in ps) && own[i] !== "message") names[names.length] = own[i];
    writeProperties(value, names, depth, ps);
    return sealed({ ctr: known ? name : "Error", ps, arg: typeof message === "string" ? message : "" });
  }

  const BLOCK = 8192; // characters made at once; more arguments would overflow the stack
  const block = new Array(BLOCK).fill(0);

  const textOfBytes = (bytes, from, to) => {
    let text = "";
    let at = from;
    for (; at + BLOCK <= to; at += BLOCK) {
      for (let i = 0; i < BLOCK; i++) block[i] = bytes[at + i];
      text += apply(fromCharCode, null, block);
    }
    for (; at < to; at++) text += fromCharCode(bytes[at]);
    return text;
  };

  /** One character a byte. A zero byte takes six characters of JSON, so runs of them are left out, or numbers written. */
  function writeBytes(type, array, buffer, offset, size) {
    const ctr = NUMBERS[type] ?? type;
    const bytes = new NATIVE.Uint8Array(buffer, offset, size);
    const isl8 = sealed([]);
    let zeros = 0, run = 0, end = 0; // `end`: what stands before it is in an island or left out
    let islands = 0;
    for (let i = 0; i <= size; i++) {
      if (i < size && bytes[i] === 0) {
        run++;
        continue;
      }
      if (run >= 8) {
        if (i - run > end) isl8[islands++] = sealed({ 0: textOfBytes(bytes, end, i - run), "@": end });
        end = i;
      }
      zeros += run;
      run = 0;
    }
    if (array !== null && ctr > 3 && zeros * 4 > size && saysAll(array, ctr)) {
      const arg = sealed([]);
      const length = lengthOf(array);
      for (let i = 0; i < length; i++) arg[i] = array[i];
      return sealed({ ctr, arg });
    }
    if (end === 0) return sealed({ ctr, ab8: textOfBytes(bytes, 0, size) });
    if (end < size) isl8[islands] = sealed({ 0: textOfBytes(bytes, end, size), "@": end });
    return sealed({ ctr, isl8, len: size });
  }

  const saysAll = (array, ctr) => {
    if (ctr >= 8) for (let i = lengthOf(array) - 1; i >= 0; i--) if (!isPlainNumber(array[i])) return false;
    return true;
  };

  return { __proto__: null, marshalNode };
})();
