// What the sandbox itself works with, taken before any work function runs, and the natives, which nobody finds afterwards.
//
// All files of this folder are one script in one function scope (see evaluator.js): they see each other's names, a
// work function sees none of them. A work function may change every prototype it likes; so these files call captured
// functions, walk linked lists of their own, and add up text instead of joining arrays.

const { writeln, onreadln, die, ontimer, nextTimer, cpuTime } = globalThis;
for (const name of ["writeln", "onreadln", "die", "ontimer", "nextTimer", "cpuTime"]) delete globalThis[name];

const { apply, ownKeys } = Reflect;
const { defineProperty, getOwnPropertyDescriptor, getPrototypeOf, create } = Object;
const { isInteger, isFinite: isFiniteNumber } = Number;
const { abs, floor, ceil, sign } = Math;
const { parse: parseJson, stringify: stringifyJson } = JSON;
const isArray = Array.isArray;
const clockNow = Date.now;
const monotonicNow = performance.now.bind(performance); // milliseconds, about 0.2 us a call
const globalEval = globalThis.eval;
const NativeError = Error;
const toText = String;
const uncurry = (method) => Function.prototype.call.bind(method);
const sliceText = uncurry(String.prototype.slice);
const splitText = uncurry(String.prototype.split);
const indexOfText = uncurry(String.prototype.indexOf);
const lastIndexOfText = uncurry(String.prototype.lastIndexOf);
const endsWith = uncurry(String.prototype.endsWith);

/** JSON text of a text: JSON.stringify never calls toJSON of a primitive, so this cannot be tampered with. */
const quote = (text) => stringifyJson(toText(text));

/** Give an object of ours a property, past any setter that somebody has put on a prototype. */
const define = (object, name, value) =>
  defineProperty(object, name, { __proto__: null, value, writable: true, enumerable: true, configurable: true });
