// KVIN inside the sandbox: values of a work function to nodes and back. Written are v8 and v9, read are v4 to v9.
//
// A work function may change every prototype it likes, before its result is written. So everything that is used here
// was taken at load, nodes are built where no foreign `toJSON` or setter can reach them (see `hard`), and depth and
// repetition are bounded. What is plain JSON leaves as {"raw": value}, untouched. Objects are numbered for {"seen": n}
// as the reader of the npm package does: a Map counts three times (itself, its keys, its values), raw parts never.

const KVIN = (() => {
  "use strict";

  const MAX_DEPTH = 200; // of nested values
  const MANY = 10_000; // elements; longer arrays are not searched for named properties, which would double the cost
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
  const [mapGet, mapSet, mapEach] = [Map.prototype.get, Map.prototype.set, Map.prototype.forEach].map(uncurry);
  const [setHas, setAdd, setEach] = [Set.prototype.has, Set.prototype.add, Set.prototype.forEach].map(uncurry);
  const [charCodeAt, sliceText] = [String.prototype.charCodeAt, String.prototype.slice].map(uncurry);
  const matchDigits = RegExp.prototype.exec.bind(/^-?[0-9]+$/); // `test` would look `exec` up on the prototype
  const isDigits = (text) => matchDigits(text) !== null;
  const TypedArray = getPrototypeOf(Uint8Array);
  const typeOfArray = getter(TypedArray.prototype, Symbol.toStringTag); // undefined when it is no typed array
  const [bufferOf, offsetOf, bytesOf] = ["buffer", "byteOffset", "byteLength"].map((n) => getter(TypedArray.prototype, n));
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
  const NativeURL = typeof URL === "function" ? URL : null;
  const urlText = NativeURL && getter(NativeURL.prototype, "href");
  const BUILT_IN = new Map();
  for (const type of [Date, Map, Set, RegExp, ArrayBuffer, DataView, Number, String, Boolean]) {
    BUILT_IN.set(type.prototype, type.name);
  }
  if (NativeURL) BUILT_IN.set(NativeURL.prototype, "URL");
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

  const owned = () => ownKeys(ObjectPrototype).length + ownKeys(ArrayPrototype).length;
  const ownedAtLoad = owned();
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
    hard = owned() !== ownedAtLoad;
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

  // -- reading ---------------------------------------------------------------------------------------------------------

  let seen, repeats; // of the document that is being read

  function unmarshalNode(node) {
    if (typeof node !== "object" || node === null) return read(node, 0);
    if (hasOwn(node, "raw")) return node.raw;
    seen = { __proto__: null, length: 0 };
    hard = owned() !== ownedAtLoad;
    repeats = 0;
    try {
      return read(node, 0);
    } finally {
      seen = null;
    }
  }

  const put = (array, index, value) => (hard ? define(array, index, value, true) : (array[index] = value));
  const met = (value) => (seen[seen.length++] = value);

  function read(node, depth) {
    if (typeof node === "number" || typeof node === "string" || typeof node === "boolean") return node;
    if (typeof node !== "object" || node === null || isArray(node)) throw refuse("this is no KVIN node");
    if (hasOwn(node, "raw")) return node.raw;
    if (depth >= MAX_DEPTH) throw refuse(`a document that is nested more than ${MAX_DEPTH} deep cannot be read`);
    if (hasOwn(node, "ctr")) return readInstance(node, depth);
    if (hasOwn(node, "arr")) return readArray(node, depth);
    if (hasOwn(node, "seen")) {
      if (!isInteger(node.seen) || node.seen < 0 || node.seen >= seen.length) throw refuse("a reference to nothing");
      return seen[node.seen];
    }
    if (hasOwn(node, "undefined")) return undefined;
    if (hasOwn(node, "number")) {
      if (node.number === "NaN") return NaN;
      if (node.number === "Infinity" || node.number === "-Infinity") return node.number === "Infinity" ? Infinity : -Infinity;
      throw refuse("a number node names no number");
    }
    if (hasOwn(node, "bigint")) {
      if (typeof node.bigint !== "string" || !isDigits(node.bigint)) throw refuse("a bigint must be decimal digits");
      return NATIVE.BigInt(node.bigint);
    }
    if (hasOwn(node, "symbol")) return met(NATIVE.Symbol(text(node.symbol)));
    if (hasOwn(node, "mapKeys")) return readMap(node, depth);
    if (hasOwn(node, "set")) return readSet(node, depth);
    if (hasOwn(node, "json")) return parse(text(node.json));
    if (hasOwn(node, "ptv")) return node.ptv;
    if (hasOwn(node, "resolve") || hasOwn(node, "reject")) return readPromise(node, depth);
    if (hasOwn(node, "fnName")) return readFunction(node, depth);
    throw refuse("this is no KVIN node");
  }

  const text = (value) => {
    if (typeof value !== "string") throw refuse("text belongs here");
    return value;
  };

  const object = (value) => {
    if (typeof value !== "object" || value === null || isArray(value)) throw refuse("an object belongs here");
    return value;
  };

  const natural = (value, most) => {
    if (!isInteger(value) || value < 0 || value > most) throw refuse("a number here is out of its bounds");
    return value;
  };

  function readArray(node, depth) {
    const array = met([]);
    if (hasOwn(node, "arr")) readElements(node.arr, array, depth);
    if (hasOwn(node, "isl")) readIslands(node.isl, array, depth);
    if (hasOwn(node, "ps")) readProperties(node.ps, array, depth);
    if (hasOwn(node, "len")) array.length = natural(node.len, 2 ** 32 - 1);
    return array;
  }

  function readElements(items, array, depth) {
    if (!isArray(items)) throw refuse("the elements of an array must be an array");
    let length = 0;
    let last; // the node that `lst` repeats
    for (let i = 0; i < items.length; i++) {
      const item = items[i];
      if (typeof item === "object" && item !== null && hasOwn(item, "lst")) {
        const times = natural(item.lst, MAX_REPEATS);
        if (length === 0) throw refuse("a repetition with nothing before it");
        for (let j = 0; j < times; j++) {
          if (++repeats > MAX_REPEATS) throw refuse("too many repetitions");
          put(array, length++, typeof last === "object" && hasOwn(last, "raw") ? copyJson(last.raw) : read(last, depth + 1));
        }
      } else {
        last = item;
        put(array, length++, typeof item === "number" ? item : read(item, depth + 1));
      }
    }
  }

  /** Every repetition is an object of its own. */
  function copyJson(value) {
    if (typeof value !== "object" || value === null) return value;
    if (++repeats > MAX_REPEATS) throw refuse("too many repetitions");
    const copy = isArray(value) ? [] : {};
    const names = keys(value);
    for (let i = 0; i < names.length; i++) define(copy, names[i], copyJson(value[names[i]]), true);
    return copy;
  }

  function readIslands(islands, array, depth) {
    if (!isArray(islands)) throw refuse("islands must be an array");
    for (let i = 0; i < islands.length; i++) {
      const { "@": at, arr } = object(islands[i]);
      natural(at, 2 ** 32 - 2);
      const items = isArray(arr) ? arr : readArray(object(arr), depth + 1); // short ones are plain JSON, long ones a node
      for (let j = 0; j < items.length; j++) put(array, at + j, items[j]);
    }
  }

  function readProperties(nodes, into, depth) {
    const names = keys(object(nodes));
    for (let i = 0; i < names.length; i++) {
      const name = names[i];
      const value = read(nodes[name], depth + 1);
      if (name === "__proto__" || (hard && name !== "length")) define(into, name, value, true);
      else if (name === "length" && isArray(into)) into.length = natural(value, 2 ** 32 - 1);
      else into[name] = value;
    }
    return into;
  }

  function readMap(node, depth) {
    const map = met(new NATIVE.Map());
    const names = readArray(object(node.mapKeys), depth + 1);
    const values = readArray(object(node.mapVals), depth + 1);
    if (names.length !== values.length) throw refuse("a Map must have as many keys as values");
    for (let i = 0; i < names.length; i++) mapSet(map, names[i], values[i]);
    return map;
  }

  function readSet(node, depth) {
    const set = met(new NATIVE.Set());
    const items = [];
    readElements(object(node.set).arr, items, depth + 1);
    for (let i = 0; i < items.length; i++) setAdd(set, items[i]);
    return set;
  }

  function readPromise(node, depth) {
    const rejected = hasOwn(node, "reject");
    const value = read(rejected ? node.reject : node.resolve, depth + 1);
    const promise = new NATIVE.Promise((yes, no) => (rejected ? no(value) : yes(value)));
    if (rejected) then(promise, undefined, () => {}); // nobody may ever look at it
    return promise;
  }

  /** Functions are not brought to life: the work function gets their source, as a String with their name. */
  function readFunction(node, depth) {
    const source = new NATIVE.String(hasOwn(node, "arg") ? text(node.arg) : "");
    define(source, "name", hasOwn(node, "fnName") ? text(node.fnName) : "", true);
    met(source);
    return hasOwn(node, "ps") ? readProperties(node.ps, source, depth) : source;
  }

  function readInstance(node, depth) {
    const ctr = typeof node.ctr === "number" ? NAMES[natural(node.ctr, NAMES.length - 1)] : text(node.ctr);
    const ps = hasOwn(node, "ps") ? node.ps : null;
    const finish = (value) => (ps === null ? met(value) : readProperties(ps, met(value), depth));
    switch (ctr) {
      case "Object":
        return finish({});
      case "Array":
        return readArray(node, depth);
      case "Function":
        return readFunction(node, depth);
      case "Date":
        return finish(new NATIVE.Date(node.arg));
      case "RegExp":
        if (!isArray(node.args)) return finish(new NATIVE.RegExp(text(node.arg)));
        return finish(new NATIVE.RegExp(text(node.args[0]), text(node.args[1])));
      case "Number":
        return finish(new NATIVE.Number(node.arg));
      case "String":
        return finish(new NATIVE.String(text(node.arg)));
      case "Boolean":
        return finish(new NATIVE.Boolean(node.arg === true || node.arg === "true"));
      case "Symbol":
        return met(NATIVE.Symbol(sliceText(text(node.arg), 7, -1)));
      case "URL":
      case "dcpUrl$$DcpURL":
        return finish(NativeURL ? new NativeURL(text(node.arg)) : new NATIVE.String(text(node.arg)));
      case "Map":
      case "Set":
        return finish(new NATIVE[ctr]()); // as the npm package writes those without content
      case "ArrayBuffer":
        return met(bufferOf(readBytes(node)));
      case "DataView":
        return met(new NATIVE.DataView(bufferOf(readBytes(node))));
      case "Buffer":
        return finish(readBytes(node));
    }
    if (ctr in ERRORS) return readError(ctr, node, depth);
    if (ctr in NATIVE && typeOfArray(NATIVE[ctr].prototype) === undefined && isPrototypeOf(TypedArray, NATIVE[ctr])) {
      if (isArray(node.arg)) return finish(readNumbers(NATIVE[ctr], node.arg));
      const buffer = bufferOf(readBytes(node));
      return finish(new NATIVE[ctr](buffer)); // throws when the bytes make no whole elements
    }
    throw refuse(`there is no class ${sliceText(ctr, 0, 60)} here to make an instance of`);
  }

  function readNumbers(Type, arg) {
    const array = new Type(arg.length);
    for (let i = 0; i < arg.length; i++) array[i] = arg[i];
    return array;
  }

  function readError(ctr, node, depth) {
    const error = met(new ERRORS[ctr](typeof node.arg === "string" ? node.arg : ""));
    const names = hasOwn(node, "ps") ? keys(object(node.ps)) : NAMES_OF_NONE;
    for (let i = 0; i < names.length; i++) {
      const name = names[i];
      let value = node.ps[name];
      try {
        value = read(value, depth + 1);
      } catch {
        // The npm package writes an error's own objects as they are: plain JSON, not nodes.
      }
      define(error, name, value, name !== "stack" && name !== "name" && name !== "cause");
    }
    return error;
  }
  const NAMES_OF_NONE = keys({});

  function readBytes(node) {
    if (hasOwn(node, "ab8")) {
      const bytes = new NATIVE.Uint8Array(natural(text(node.ab8).length, MAX_BYTES));
      return fill(bytes, 0, node.ab8, false);
    }
    if (hasOwn(node, "ab16")) {
      const odd = hasOwn(node, "eb") ? text(node.eb) : "";
      const bytes = new NATIVE.Uint8Array(natural(text(node.ab16).length * 2 + odd.length, MAX_BYTES));
      return fill(fill(bytes, 0, node.ab16, true), node.ab16.length * 2, odd, false);
    }
    const wide = hasOwn(node, "isl16");
    if (!wide && !hasOwn(node, "isl8")) return new NATIVE.Uint8Array(0);
    const islands = wide ? node.isl16 : node.isl8;
    const bytes = new NATIVE.Uint8Array(natural(node.len, MAX_BYTES));
    if (!isArray(islands)) throw refuse("islands must be an array");
    for (let i = 0; i < islands.length; i++) {
      const island = object(islands[i]);
      fill(bytes, natural(island["@"], MAX_BYTES) * (wide ? 2 : 1), text(island[0]), wide);
    }
    return bytes;
  }

  function fill(bytes, at, characters, wide) {
    const length = characters.length;
    if (at + (wide ? 2 * length : length) > bytesOf(bytes)) throw refuse("a part of a typed array lies behind its end");
    let wrong = 0;
    if (wide) {
      for (let i = 0; i < length; i++) {
        const pair = charCodeAt(characters, i);
        bytes[at + 2 * i] = pair & 255;
        bytes[at + 2 * i + 1] = pair >> 8;
      }
      return bytes;
    }
    for (let i = 0; i < length; i++) {
      const byte = charCodeAt(characters, i);
      wrong |= byte;
      bytes[at + i] = byte;
    }
    if (wrong > 255) throw refuse("a character that stands for no byte in a typed array");
    return bytes;
  }

  // -- documents -------------------------------------------------------------------------------------------------------

  const marshal = (value, as = "v9") => ({ __proto__: null, _serializeVerId: as, what: marshalNode(value, as) });

  function unmarshal(document) {
    const { _serializeVerId: as } = object(document);
    if (!(as === "v9" || as === "v8" || as === "v7" || as === "v6" || as === "v5" || as === "v4")) {
      throw refuse(`KVIN ${toText(as)} cannot be read; v4 to v9 can`);
    }
    return unmarshalNode(document.what);
  }

  return { __proto__: null, marshalNode, unmarshalNode, marshal, unmarshal };
})();
