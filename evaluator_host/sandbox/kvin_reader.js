// KVIN, the reader: nodes of v4 to v9 to values.

const KVIN_READER = (() => {
  "use strict";

  const {
    MAX_DEPTH, keys, isArray, uncurry, hasOwn, isPrototypeOf, mapSet, setAdd, TypedArray, typeOfArray, bufferOf, bytesOf,
    NativeURL, NATIVE, ERRORS, NAMES, refuse, define, isChanged,
  } = KVIN_SHARED;
  const MAX_REPEATS = 2 ** 24; // elements that repetitions may add to a document
  const MAX_BYTES = 2 ** 29; // of one typed array

  const { isInteger } = Number;
  const { parse } = JSON;
  const [charCodeAt, sliceText] = [String.prototype.charCodeAt, String.prototype.slice].map(uncurry);
  const matchDigits = RegExp.prototype.exec.bind(/^-?[0-9]+$/); // `test` would look `exec` up on the prototype
  const isDigits = (text) => matchDigits(text) !== null;
  const then = uncurry(Promise.prototype.then);

  let seen, repeats; // of the document that is being read
  let hard; // whether values must be put past setters that somebody has put on the prototypes

  function unmarshalNode(node) {
    if (typeof node !== "object" || node === null) return read(node, 0);
    if (hasOwn(node, "raw")) return node.raw;
    seen = { __proto__: null, length: 0 };
    hard = isChanged();
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

  return { __proto__: null, unmarshalNode };
})();
