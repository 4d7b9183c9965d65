// Errors on their way out: whatever was thrown becomes text that harms nobody.

const LONGEST_MESSAGE = 10_000; // characters of a message or stack that leave the sandbox

const OUR_FRAME = "dcp-sandbox:"; // as evaluator.js names this script

/** A property of anything, or undefined when reading it throws. */
function peek(value, name) {
  try {
    return value[name];
  } catch {
    return undefined;
  }
}

function textOf(value) {
  try {
    return sliceText(toText(value), 0, LONGEST_MESSAGE);
  } catch {
    return "something was thrown that cannot be shown";
  }
}

const textOrNothing = (value) => (typeof value === "string" ? sliceText(value, 0, LONGEST_MESSAGE) : undefined);

/** A stack without our own frames at its end: they would tell the job's owner about this box. */
function workFrames(stack) {
  if (stack === undefined) return undefined;
  const end = indexOfText(stack, OUR_FRAME);
  return end < 0 ? stack : sliceText(stack, 0, lastIndexOfText(stack, "\n", end));
}

/** What is kept of a thrown thing: {name, message, code, stack, lineNumber, columnNumber}, texts and numbers only. */
function describe(thrown) {
  const about = create(null);
  const isObject = (typeof thrown === "object" && thrown !== null) || typeof thrown === "function";
  const message = isObject ? textOrNothing(peek(thrown, "message")) : undefined;
  about.message = message ?? textOf(thrown);
  about.name = (isObject && textOrNothing(peek(thrown, "name"))) || "Error";
  if (isObject) {
    about.stack = workFrames(textOrNothing(peek(thrown, "stack")));
    for (const name of ["code", "lineNumber", "columnNumber"]) {
      const value = peek(thrown, name);
      if (typeof value === "number" || typeof value === "string") about[name] = value;
    }
  }
  return about;
}

/** A fresh Error that says what the thrown thing said, for the serializer. */
function freshError(about) {
  const error = new NativeError(about.message);
  for (const name of ["name", "stack", "code", "lineNumber", "columnNumber"]) {
    if (about[name] !== undefined) define(error, name, about[name]);
  }
  return error;
}

/** An error of the sandbox's own, with a code. */
function codedError(code, message) {
  const error = new NativeError(message);
  define(error, "code", code);
  return error;
}
