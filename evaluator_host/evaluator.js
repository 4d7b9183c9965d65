// The entry of one evaluator, run by deno with no permission but to read the setup files named on its command line.
//
// It knows nothing of DCP. It puts a few natives on the global object, as the native evaluators of the field do, takes
// away everything that is not plain ECMAScript or harmless, and runs the setup files:
//
//   writeln(text)        write a line to stdout, in order, blocking
//   onreadln(handler)    handler(line) gets every line of stdin, without its line feed; the last call wins
//   die(code)            end the process at once
//   ontimer(handler)     handler() is called when the time given to nextTimer has come, or a little earlier
//   nextTimer(when)      when to call it, in milliseconds of Date.now(); 0 for never
//   cpuTime()            CPU time of this process so far, in milliseconds
//
// What arrives on stdin is only ever data here: a work function never becomes part of a module. Nothing in this file may
// be reachable for hostile code afterwards, so every function is captured before the first setup file runs. That is
// the second wall; the first one is the operating system's (evaluator_host/confinement).
//
// Arguments: [--together] FILE... With --together all files are one script in one function scope, so that they see each
// other's declarations and nobody else does; without it each one is a classic script of its own.

const { cpuUsage, exit, readTextFileSync, stdin, stdout } = Deno;
const args = [...Deno.args];
const uncurry = (method) => Function.prototype.call.bind(method);
const read = stdin.read.bind(stdin);
const writeSync = stdout.writeSync.bind(stdout);
const clock = clockOf(Deno[Deno.internal]?.core);
const { now } = Date;
const { min } = Math;
const encode = TextEncoder.prototype.encode.bind(new TextEncoder());
const decode = TextDecoder.prototype.decode.bind(new TextDecoder("utf-8", { ignoreBOM: true }));
const bytesPrototype = Object.getPrototypeOf(Uint8Array.prototype);
const indexOf = uncurry(bytesPrototype.indexOf);
const subarray = uncurry(bytesPrototype.subarray);
const lengthOf = uncurry(Object.getOwnPropertyDescriptor(bytesPrototype, "length").get);
const stringOf = String;

// ECMAScript, and helpers of the web that reach nothing outside this process.
const KEPT = new Set(`
  Object Function Array Number parseFloat parseInt Infinity NaN undefined Boolean String Symbol Date Promise RegExp Error
  AggregateError EvalError RangeError ReferenceError SyntaxError TypeError URIError SuppressedError globalThis JSON Math
  Intl ArrayBuffer SharedArrayBuffer Atomics Uint8Array Int8Array Uint16Array Int16Array Uint32Array Int32Array
  BigUint64Array BigInt64Array Uint8ClampedArray Float16Array Float32Array Float64Array DataView Map BigInt Set Iterator
  WeakMap WeakSet Proxy Reflect FinalizationRegistry WeakRef DisposableStack AsyncDisposableStack decodeURI
  decodeURIComponent encodeURI encodeURIComponent escape unescape eval isFinite isNaN WebAssembly queueMicrotask
  structuredClone TextDecoder TextEncoder URL URLSearchParams atob btoa crypto Crypto CryptoKey SubtleCrypto performance
  Performance PerformanceEntry PerformanceMark PerformanceMeasure Event EventTarget CustomEvent ErrorEvent
  PromiseRejectionEvent DOMException AbortController AbortSignal reportError self
`.trim().split(/\s+/));

const REFUSED = Object.freeze({ __proto__: null, error: "there are no modules in a sandbox" });
const NO_IMPORTS = [1]; // host-defined options with which deno refuses import() of a script and of all that it evaluates

const READ_AT_ONCE = 256 * 1024; // bytes; more than a pipe of the usual size holds
const LONGEST_TIMER = 2 ** 31 - 1; // milliseconds that a timer can count

let lineHandler = () => {};
let timerHandler = () => {};
let timer;
let immediate;

const natives = {
  writeln(text) {
    const bytes = encode(`${text}\n`);
    const length = lengthOf(bytes);
    try {
      for (let done = 0; done < length;) {
        done += writeSync(done === 0 ? bytes : subarray(bytes, done));
      }
    } catch {
      exit(0); // nobody listens any more
    }
  },
  onreadln(handler) {
    lineHandler = handler;
  },
  die(code = 0) {
    exit(code);
  },
  ontimer(handler) {
    timerHandler = handler;
  },
  nextTimer(when) {
    cancelTimer();
    if (!(when > 0)) return;
    const delay = when - now();
    // a timer waits a millisecond at least
    if (delay <= 0) immediate = clock.soon(wake);
    else timer = clock.start(wake, min(delay, LONGEST_TIMER));
  },
  cpuTime() {
    const { user, system } = cpuUsage();
    return (user + system) / 1000;
  },
};

function cancelTimer() {
  if (timer !== undefined) clock.stop(timer);
  if (immediate !== undefined) clock.notSoon(immediate);
  timer = immediate = undefined;
}

function wake() {
  timer = immediate = undefined;
  timerHandler();
}

async function listen() {
  const buffer = new Uint8Array(READ_AT_ONCE);
  let line = "";
  for (;;) {
    const count = await read(buffer);
    if (count === null) exit(0);
    let start = 0;
    for (;;) {
      const end = indexOf(buffer, 10, start);
      if (end < 0 || end >= count) break;
      const whole = line + decode(subarray(buffer, start, end));
      line = "";
      start = end + 1;
      lineHandler(whole);
    }
    // The decoder keeps a character that is cut in two; the string is a rope, so a long line costs no copies.
    if (start < count) line += decode(subarray(buffer, start, count), { stream: true });
  }
}

/** {start, stop, soon, notSoon}, as setTimeout, clearTimeout, setImmediate and clearImmediate. Those four are node's in
 * deno and take 6 ms to load; they are used where deno's engine does not offer its own. */
function clockOf(core) {
  const { createTimer, cancelTimer, queueImmediate, clearImmediate, immediateRefCount, kRefed } = core ?? {};
  if (!createTimer || !cancelTimer || !queueImmediate || !clearImmediate || !immediateRefCount || !kRefed) {
    const { clearImmediate: notSoon, clearTimeout: stop, setImmediate: soon, setTimeout: start } = globalThis;
    return { start, stop, soon, notSoon };
  }
  return {
    start: (callback, delay) => createTimer(callback, delay, undefined, false, true),
    stop: cancelTimer,
    soon(callback) {
      const links = { _idleNext: null, _idlePrev: null, _argv: null, asyncId: 0, triggerAsyncId: 0 };
      const entry = { __proto__: null, ...links, _onImmediate: callback, _destroyed: false, [kRefed]: true };
      immediateRefCount(true);
      queueImmediate(entry);
      return entry;
    },
    notSoon: clearImmediate,
  };
}

/** What keeps import() shut and runs a script: {shut(), run(source, url)}.
 *
 * `shut` puts a resolver in that refuses every specifier, as registerHooks of node:module does. Loading node:module only
 * for that takes longer than all the rest of a start, so the operation behind it is taken from deno's own list, which
 * is handed out to deno's own modules while one of them is loaded. Where a deno no longer does that, node's modules are
 * loaded. Whichever it was, `shutImports` tries it.
 */
async function engineRoom() {
  const internals = Deno[Deno.internal];
  const { evalContext } = internals?.core ?? {};
  let operations;
  try {
    let listed;
    const hook = { configurable: true, set: () => void (listed = evalContext('import("ext:core/ops")', "ext:dcp")[0]) };
    Object.defineProperty(internals, "getBitmapData", hook);
    globalThis.ImageBitmap; // the smallest of deno's lazy modules that tells us when it is loaded
    delete internals.getBitmapData;
    operations = await listed;
  } catch {
    // the long way
  }
  if (typeof operations?.op_module_hooks_register === "function") {
    return {
      shut: () => operations.op_module_hooks_register(() => REFUSED, true),
      run(source, url) {
        const [, failure] = evalContext(source, url, NO_IMPORTS);
        if (failure !== null) throw failure.thrown;
      },
    };
  }
  // named so that deno does not see it when it reads this file: it would get ready for node's modules at every start
  const [{ registerHooks }, { runInThisContext }] = await Promise.all(["module", "vm"].map((n) => import(`node:${n}`)));
  const refuse = () => {
    throw null; // an error object of ours would be a way to our functions
  };
  return {
    shut: () => registerHooks({ resolve: refuse, load: refuse }),
    run: (source, url) => runInThisContext(source, { filename: url }),
  };
}

/** After this no import() finds anything, not even the builtin modules that need no permission. */
async function shutImports(engine) {
  engine.shut();
  for (const specifier of ["node:process", "data:text/javascript,", "ext:core/ops"]) {
    const open = await import(specifier).then(() => true, () => false);
    if (open) throw new Error(`import() of ${specifier} is not refused`);
  }
}

function strip() {
  // A stray rejection or error of a work function must not end the sandbox.
  for (const name of ["unhandledrejection", "error"]) {
    addEventListener(name, (event) => event.preventDefault());
  }
  // The two symbols of the global object and its prototype stay: deno itself needs them for events.
  for (const name of Object.getOwnPropertyNames(globalThis)) {
    if (!KEPT.has(name) && !delete globalThis[name]) throw new Error(`cannot remove ${name}`);
  }
  for (const [name, value] of Object.entries(natives)) {
    Object.defineProperty(globalThis, name, { value, configurable: true, writable: true, enumerable: false });
  }
}

async function load() {
  const together = args[0] === "--together";
  const files = together ? args.slice(1) : args;
  const sources = files.map((file) => readTextFileSync(file));
  Deno.permissions.revokeSync({ name: "read" });
  const engine = await engineRoom();
  await shutImports(engine);
  strip();
  if (together) {
    engine.run(`(() => {"use strict";${sources.join("\n")}\n})()`, "dcp-sandbox:environment");
  } else {
    sources.forEach((source, index) => engine.run(source, `file://${encodeURI(files[index])}`));
  }
}

try {
  await load();
  listen();
} catch (error) {
  natives.writeln(`DIE: the sandbox could not be set up: ${stringOf(error?.stack ?? error).replaceAll("\n", "\u2424")}`);
  exit(1);
}
