// What the reader and the writer of KVIN share: the engine's own functions as they were at load, names, bounds.
//
// A work function may change every prototype it likes, before its result is written. So everything that is used here was
// taken at load, nodes are built where no foreign `toJSON` or setter can reach them (see `isChanged`), and depth and
// repetition are bounded. The files of KVIN are joined into one scope, each a closure, and need no other file.

const KVIN_SHARED = (() => {
  "use strict";

  const MAX_DEPTH = 200; // of nested values

  const { ownKeys } = Reflect;
  const { defineProperty, getOwnPropertyDescriptor, getPrototypeOf, keys, setPrototypeOf } = Object;
  const { isArray } = Array;
  const uncurry = (method) => Function.prototype.call.bind(method);
  const getter = (prototype, name) => uncurry(getOwnPropertyDescriptor(prototype, name).get);
  const ObjectPrototype = Object.prototype;
  const ArrayPrototype = Array.prototype;
  const hasOwn = uncurry(ObjectPrototype.hasOwnProperty);
  const isPrototypeOf = uncurry(ObjectPrototype.isPrototypeOf);
  const mapSet = uncurry(Map.prototype.set);
  const setAdd = uncurry(Set.prototype.add);
  const TypedArray = getPrototypeOf(Uint8Array);
  const typeOfArray = getter(TypedArray.prototype, Symbol.toStringTag); // undefined when it is no typed array
  const [bufferOf, offsetOf, bytesOf] = ["buffer", "byteOffset", "byteLength"].map((n) => getter(TypedArray.prototype, n));
  const NativeURL = typeof URL === "function" ? URL : null;
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

  const owned = () => ownKeys(ObjectPrototype).length + ownKeys(ArrayPrototype).length;
  const ownedAtLoad = owned();

  /** Whether somebody has put something on the prototypes of plain objects and arrays. */
  const isChanged = () => owned() !== ownedAtLoad;

  return {
    __proto__: null, MAX_DEPTH, getOwnPropertyDescriptor, getPrototypeOf, keys, setPrototypeOf, isArray, uncurry, getter,
    ObjectPrototype, ArrayPrototype, hasOwn, isPrototypeOf, mapSet, setAdd, TypedArray, typeOfArray, bufferOf, offsetOf,
    bytesOf, NativeURL, NATIVE, ERRORS, NAMES, NUMBERS, refuse, define, isChanged,
  };
})();
