// The global object as a work function sees it. What is not on the list reads undefined, until the job gives it a value.

const VISIBLE = `
  Object Function Array Number parseFloat parseInt Infinity NaN undefined Boolean String Symbol Date Promise RegExp Error
  AggregateError EvalError RangeError ReferenceError SyntaxError TypeError URIError globalThis JSON Math ArrayBuffer
  SharedArrayBuffer Atomics Uint8Array Int8Array Uint16Array Int16Array Uint32Array Int32Array BigUint64Array
  BigInt64Array Uint8ClampedArray Float32Array Float64Array DataView Map BigInt Set WeakMap WeakSet Proxy Reflect
  FinalizationRegistry WeakRef decodeURI decodeURIComponent encodeURI encodeURIComponent escape unescape eval isFinite
  isNaN WebAssembly self constructor onmessage onerror addEventListener removeEventListener dispatchEvent Event
  EventTarget CustomEvent DOMException TextEncoder TextDecoder URL crypto location navigator performance console atob
  btoa setTimeout clearTimeout setInterval clearInterval setImmediate queueMicrotask structuredClone reportError
  progress work`;

const NAVIGATOR = {
  appCodeName: "Mozilla",
  appName: "Netscape",
  appVersion: "",
  platform: "",
  product: "",
  userAgent: "not-a-browser",
  hardwareConcurrency: 1,
  onLine: false,
};

function hide(object, name) {
  let value;
  defineProperty(object, name, {
    __proto__: null,
    get: () => value,
    set: (given) => void (value = given),
    enumerable: false,
    configurable: false,
  });
}

function give(name, value) {
  defineProperty(globalThis, name, { __proto__: null, value, writable: true, enumerable: false, configurable: true });
}

function shapeGlobals() {
  for (const name in timerFunctions) give(name, timerFunctions[name]);
  give("console", consoleFunctions);
  give("navigator", NAVIGATOR);
  give("location", { search: "", href: "DCP Worker" });
  give("progress", (value) => progress.report(value));
  give("work", workFunctions);

  const visible = create(null);
  for (const name of splitText(VISIBLE, /\s+/)) visible[name] = true;
  // Once, before any work function runs; deno's own prototypes above the global object keep what it needs for events.
  for (const name of Object.getOwnPropertyNames(globalThis)) {
    if (!visible[name] && getOwnPropertyDescriptor(globalThis, name).configurable) hide(globalThis, name);
  }
  hide(globalThis, "constructor"); // would be Window, from the prototype
}
