// The line protocol of the reference, in place of bootstrap.js: one slice at a time, every message a KVIN document in a
// `workerMessage` line, so that somebody else's worker can use this sandbox. Rings, shapes and order as dcp-client has them;
// replies carry the KVIN version that the requests came with (4.4 writes v8, 5.6 writes v9). Modules are not available.

const MAP_BASIC = { name: "map-basic", version: "1.0.0" };
// The question that dcp-worker asks before it starts, as source text to evaluate. It is always the same, so it is answered.
const PROBE = "reportingCheck";

function worktimes() {
  return current.version === "v9" ? [{ ...MAP_BASIC }] : [{ name: MAP_BASIC.name, versions: [MAP_BASIC.version] }];
}

function post(ringSource, value) {
  let text;
  try {
    text = documentTextOf({ ringSource, value }, current.version);
  } catch (thrown) {
    if (value.request !== "complete") throw thrown;
    post(3, { request: "workError", error: freshError(describe(thrown)) });
    return;
  }
  writeln(`MSG:{"type":"workerMessage","message":${text}}`);
}

function postMeasurement() {
  const { wall, cpu } = meter.lap();
  post(3, { request: "measurement", total: wall, CPU: cpu, webGL: 0, webGPU: 0 });
}

send.console = (level, message, same) => {
  const payload = message === undefined ? { level, same } : { level, message, same };
  post(3, { request: "console", payload });
};
send.custom = (customEvent, data) =>
  post(3, { request: "emitEvent", payload: { eventName: "custom", customEvent, data } });
send.progress = (_run, _slice, value) => {
  const indeterminate = value < 0 ? 1 : 0;
  post(3, { request: "progress", progress: indeterminate ? undefined : value * 100, value, indeterminate, throttledReports: 0 });
};
send.rejected = (_run, _slice, reason, retries) => {
  postMeasurement();
  post(3, { request: "workReject", workRejectData: { reason, retries } });
};

const requests = {
  __proto__: null,

  describe() {
    const environment = { webgpu: false, offscreenCanvas: false, fdlibm: true };
    post(2, { request: "describe", capabilities: { environment, useStrict: true }, worktimes: worktimes() });
  },

  applyRequirements() {
    post(1, { request: "applyRequirementsDone" }); // the global object has its shape already
  },

  assign({ job, sandboxConfig }) {
    try {
      if (job.dependencies?.length > 0) {
        throw codedError("ENOMODULE", `modules are not available in this sandbox: ${stringifyJson(job.dependencies)}`);
      }
      // The version may be a range; that ours is in it is known to the worker, who has asked for it.
      if (job.worktime.name !== MAP_BASIC.name) {
        throw new NativeError(`worktime ${job.worktime.name} ${job.worktime.version} is not available in this sandbox`);
      }
      setUp({ ...job, range: null }, job.arguments ?? [], sandboxConfig?.progressThrottle);
    } catch (thrown) {
      post(2, { request: "reject", error: freshError(describe(thrown)) });
      return;
    }
    post(2, { request: "assigned", jobAddress: job.address });
  },

  resetState() {
    consoleLines.reset();
    post(2, { request: "resetStateDone" });
  },

  async main({ data }) {
    if (runs.job === null) throw new NativeError("a slice before a job");
    meter.restart();
    current.run = 1;
    runs.begin(1);
    progress.lastSent = -Infinity; // the first report of a slice is always told: without one its result is thrown away
    let outcome;
    try {
      let result = runs.job.work(data, ...runs.job.args);
      if (isThenable(result)) result = await runs.settled(result);
      outcome = { request: "complete", result };
    } catch (thrown) {
      outcome = { request: "workError", error: freshError(describe(thrown)) };
    }
    runs.end();
    postMeasurement();
    post(3, outcome);
  },

  eval({ msgId }) {
    if (msgId === PROBE) {
      post(2, { request: `evalResult::${PROBE}`, data: { webgpu: { enabled: false }, worktimes: worktimes() } });
      return;
    }
    const message = `nothing is evaluated on request in this sandbox (${toText(msgId)})`;
    post(2, { request: "error", error: { name: "EvalError", message, stack: "" } });
  },

  clearTimers() {
    timers.endSlice();
    post(0, { request: "clearTimersDone" });
  },
};

/** Tell that the synchronous part of a line is done. Nobody waits for it; the reference says it. */
function sayResult(step, problem) {
  const about = problem === undefined ? "" : `,"exception":{"name":${headerText(problem.name)},"message":${headerText(problem.message)}},"e":{}`;
  writeln(`MSG:{"type":"result","step":${headerText(step)},"success":${problem === undefined},"origin":${headerText(step)}${about}}`);
}

function onLine(line) {
  const message = parseJson(line);
  if (message.type === "die") {
    writeln("DIE: as told");
    die(0);
  }
  if (message.type !== "workerMessage") {
    sayResult(message.type, describe(new NativeError(`Invalid message type '${toText(message.type)}'`)));
    return;
  }
  current.version = message.message._serializeVerId === "v9" ? "v9" : "v8";
  const request = KVIN.unmarshal(message.message);
  const answer = requests[request.request];
  if (answer !== undefined) apply(answer, requests, [request])?.catch?.((thrown) => stopFor(textOf(thrown)));
  sayResult("workerMessage");
}

shapeGlobals();
onreadln((line) => {
  try {
    onLine(line);
  } catch (thrown) {
    stopFor(`the sandbox did not understand a line: ${textOf(thrown)}`);
  }
});
post(0, { request: "scriptLoaded", script: "bootstrap", result: "success" });
post(0, { request: "__sandboxLoaded" });
