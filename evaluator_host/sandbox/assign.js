// The one job of this sandbox.

const WORKTIMES = { __proto__: null, "map-basic": true };

/** Set the job up from its assign message. Throws what is wrong with it. */
function assign(message) {
  if (runs.job !== null) throw new NativeError("this sandbox has its job already");
  const { job } = message;
  const worktime = typeof job.worktime === "object" && job.worktime !== null ? job.worktime.name : job.worktime;
  if (!WORKTIMES[worktime]) throw new NativeError(`worktime ${toText(worktime)} is not available in this sandbox`);
  current.version = job.kvin === "v9" ? "v9" : "v8";
  if (isFiniteNumber(message.progressThrottle)) progress.throttle = message.progressThrottle * 1000;
  for (const name of ["name", "description", "link"]) {
    if (typeof job.public?.[name] === "string") workFunctions.job.public[name] = job.public[name];
  }
  const args = [];
  for (let i = 0; i < message.arguments.length; i++) define(args, i, valueOf(message.arguments[i]));
  const nth = job.range === null || job.range === undefined ? null : elementsOf(job.range);
  // The source is data of one global eval; the line feed ends a comment that it may end with.
  const strict = job.useStrict ? '"use strict";' : "";
  const work = globalEval(`${strict}(${job.workFunction}\n)\n//# sourceURL=workFunction`);
  if (typeof work !== "function") throw new TypeError("the work function is no function");
  runs.job = { work, args, nth };
}
