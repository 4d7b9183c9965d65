// KVIN inside the sandbox: values of a work function to nodes and back. Written are v8 and v9, read are v4 to v9.
//
// A work function may change every prototype it likes, before its result is written. So everything that is used here was
// taken at load, nodes are built where no foreign `toJSON` or setter can reach them (see `hard`), and depth and repetition are
// bounded. What is plain JSON leaves as {"raw": value}, untouched. Objects are numbered for {"seen": n} as the reader of the
// npm package does: a Map counts three times (itself, its keys, its values), raw parts never.

const KVIN = (() => {
  "use strict";

  const MAX_DEPTH = 200; // of nested values
  const MAX_REPEATS = 2 ** 24; // elements that repetitions may add to a document
  const MAX_BYTES = 2 ** 29; // of one typed array

  const { apply, ownKeys } = Reflect;
  const { create, defineProperty, getOwnPropertyDescriptor, getPrototypeOf, keys, setPrototypeOf } = Object;
  const { isArray } = Array;
  const { isInteger } = Number;
  const { fromCharCode } = String;
  const { parse } = JSON;
  const toText = String;
  const uncurry = (method) => Function.prototype.call.bind(method);
  const getter = (prototype, name) => uncurry(getOwnPropertyDescriptor(prototype, name).get);
  const ObjectPrototype = Object.prototype;
  const ArrayPrototype = Array.prototype;
  const hasOwn = uncurry(ObjectPrototype.hasOwnProperty);
  const isPrototypeOf = uncurry(ObjectPrototype.isPrototypeOf);
  const tagOf = uncurry(ObjectPrototype.toString);
  const [mapGet, mapSet, mapEach] = [Map.prototype.get, Map.prototype.set, Map.prototype.forEach].map(uncurry);
  const [setHas, setAdd, setEach] = [Set.prototype.has, Set.prototype.add, Set.prototype.forEach].map(uncurry);
  const [charCodeAt, sliceText] = [String.prototype.charCodeAt, String.prototype.slice].map(uncurry);
  const [isIndex, isDigits] = [/^(0|[1-9][0-9]{0,9})$/, /^-?[0-9]+$/].map((re) => {
    const test = RegExp.prototype.exec.bind(re); // `test` would look `exec` up on the prototype
    return (text) => test(text) !== null;
  });
  const TypedArray = getPrototypeOf(Uint8Array);
  const typeOfArray = getter(TypedArray.prototype, Symbol.toStringTag); // undefined when it is no typed array
  const [bufferOf, offsetOf, bytesOf] = ["buffer", "byteOffset", "byteLength"].map((n) => getter(TypedArray.prototype, n));
  const [viewBuffer, viewOffset, viewBytes] = ["buffer", "byteOffset", "byteLength"].map((n) => getter(DataView.prototype, n));
  const subarray = uncurry(TypedArray.prototype.subarray);
  const mapSize = getter(Map.prototype, "size");
  const setSize = getter(Set.prototype, "size");
  const bufferSize = getter(ArrayBuffer.prototype, "byteLength");
  const [dateTime, dateText] = [Date.prototype.getTime, Date.prototype.toISOString].map(uncurry);
  const [patternSource, patternFlags] = ["source", "flags"].map((n) => getter(RegExp.prototype, n));
  const symbolText = getter(Symbol.prototype, "description");
  const functionText = uncurry(Function.prototype.toString);
  const bigintText = uncurry(BigInt.prototype.toString);
  const unboxed = { "[object Number]": Number, "[object String]": String, "[object Boolean]": Boolean };
  for (const tag of keys(unboxed)) unboxed[tag] = uncurry(unboxed[tag].prototype.valueOf);
  setPrototypeOf(unboxed, null);
  const NativeURL = typeof URL === "function" ? URL : null;
  const urlText = NativeURL && getter(NativeURL.prototype, "href");
  const then = uncurry(Promise.prototype.then);
  const NATIVE = {
    __proto__: null, BigInt, Boolean, DataView, Date, Error, Map, Number, Promise, RegExp, Set, String, Symbol, Uint8Array,
    Int8Array, Uint8ClampedArray, Int16Array, Uint16Array, Int32Array, Uint32Array, Float32Array, Float64Array,
    BigInt64Array, BigUint64Array,
  };
  if (typeof Float16Array === "function") NATIVE.Float16Array = Float16Array;
  const ERRORS = {
    __proto__: null, Error, TypeError, RangeError, SyntaxError, ReferenceError, EvalError, URIError,
  };
  const NAMES = [
    "Object", "Int8Array", "Uint8Array", "Uint8ClampedArray", "Int16Array", "Uint16Array", "Int32Array", "Uint32Array",
    "Float32Array", "Float64Array", "RegExp", "Number", "String", "Boolean", "Array", "Function", "Error", "Promise", "URL",
    "Date", "Set",
  ];
  setPrototypeOf(NAMES, null);
  const NUMBERS = { __proto__: null };
  for (let i = 0; i < NAMES.length; i++) NUMBERS[NAMES[i]] = i;

  const refuse = (text) => {
    const error = new NATIVE.Error(text);
    defineProperty(error, "code", { __proto__: null, value: "EKVIN", writable: true, enumerable: true, configurable: true });
    return error;
  };

  const define = (object, name, value, enumerable) =>
    defineProperty(object, name, { __proto__: null, value, writable: true, enumerable, configurable: true });

  // -- writing ---------------------------------------------------------------------------------------------------------

  /** A finite number other than -0: what JSON text gives back as it was. */
  const isPlainNumber = (value) => value - value === 0 && (value !== 0 || 1 / value > 0);

  /** Whether JSON says all of an object: no part met twice, nothing that JSON lacks. `met` is a Set, made when needed. */
  function isPlain(object, depth, met) {
    if (depth >= MAX_DEPTH || (met !== null && setHas(met, object))) return false;
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
          setAdd(met, value);
          break;
        default:
          return false;
      }
    }
    return true;
  }
  const MANY = 10_000; // elements; longer arrays are not searched for named properties, which would double the cost

  let version, numbers, count, hard; // of the document that is being written
  const untouched = () => ownKeys(ObjectPrototype).length === ownedAtLoad && ownKeys(ArrayPrototype).length === listedAtLoad;
  let ownedAtLoad = ownKeys(ObjectPrototype).length;
  let listedAtLoad = ownKeys(ArrayPrototype).length;

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
    hard = !untouched();
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

  function writeInstance(value, prototype, depth) {
    const type = typeOfArray(value);
    if (type !== undefined) return writeBytes(type, value, bufferOf(value), offsetOf(value), bytesOf(value));
    const tag = tagOf(value);
    try {
      switch (tag) { // a tag can be made up; the captured methods then throw, and it is written as any other object
        case "[object Date]": {
          const time = dateTime(value); // the reader of the npm package takes null, its own form, for 1970
          return sealed({ ctr: 19, ps: sealed({}), arg: time === time ? dateText(value) : "invalid" });
        }
        case "[object Map]":
          mapSize(value);
          return writeMap(value, depth);
        case "[object Set]":
          setSize(value);
          return writeSet(value, depth);
        case "[object RegExp]":
          return sealed({ ctr: 10, args: sealed([patternSource(value), patternFlags(value)]) });
        case "[object URL]":
          if (urlText) return sealed({ ctr: 18, ps: sealed({}), arg: urlText(value) });
          break;
        case "[object ArrayBuffer]": // the npm package would lose the content; bytes are what it can read
          return writeBytes("Uint8Array", null, value, 0, bufferSize(value));
        case "[object DataView]":
          return writeBytes("DataView", null, viewBuffer(value), viewOffset(value), viewBytes(value));
        case "[object Number]":
        case "[object String]":
        case "[object Boolean]": {
          const inner = unboxed[tag](value);
          const arg = typeof inner === "boolean" ? inner : `${inner}`; // the npm package reads "false" as true
          return sealed({ ctr: NUMBERS[sliceText(tag, 8, -1)], arg });
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
    for (const hidden of ["cause", "errors"]) if (hasOwn(value, hidden)) ps[hidden] = write(value[hidden], depth + 1);
    const names = sealed([]);
    const own = keys(value);
    for (let i = 0; i < own.length; i++) if (!(own[i] in ps) && own[i] !== "message") names[names.length] = own[i];
    writeProperties(value, names, depth, ps);
    return sealed({ ctr: known ? name : "Error", ps, arg: typeof message === "string" ? message : "" });
  }
