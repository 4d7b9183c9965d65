// The lines that come in. Whoever sends them is the evaluator host, so a line that makes no sense ends the sandbox.

let runBeforeValues = null; // a run whose values body is the next line

function onLine(line) {
  if (runBeforeValues !== null) {
    const run = runBeforeValues;
    runBeforeValues = null;
    run.nodes = parseJson(line);
    if (!isArray(run.nodes) || run.nodes.length !== run.count) throw new NativeError("a values body of another length");
    run.inChars = ceil(line.length / run.count);
    runs.add(run);
    return;
  }
  const message = parseJson(line);
  switch (message.type) {
    case "assign":
      return onAssign(message);
    case "run":
      return onRun(message);
    case "die":
      writeln("DIE: as told");
      return die(0);
    default:
      throw new NativeError(`unknown message ${toText(message.type)}`);
  }
}

function onAssign(message) {
  try {
    assign(message);
  } catch (thrown) {
    send.assignFailed(describe(thrown));
    return;
  }
  consoleLines.reset();
  send.assigned();
}

function onRun({ run, first, count, values }) {
  if (runs.job === null) throw new NativeError("a run before a job");
  if (!isInteger(run) || !isInteger(first) || !isInteger(count) || count < 1 || first < 1) {
    throw new NativeError("a run without whole numbers");
  }
  const entry = { run, first, count, nodes: null, inChars: 0, next: null };
  if (values) runBeforeValues = entry;
  else if (runs.job.nth === null) throw new NativeError("a run without values for a job without a range");
  else runs.add(entry);
}

shapeGlobals();
onreadln((line) => {
  try {
    onLine(line);
  } catch (thrown) {
    stopFor(`the sandbox did not understand a line: ${textOf(thrown)}`);
  }
});
send.ready();
