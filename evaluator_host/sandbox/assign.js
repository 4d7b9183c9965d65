// The one job of this sandbox.

const WORKTIMES = { __proto__: null, "map-basic": true };

/** Set the job up. `args` are its arguments as values, in an array. Throws what is wrong with the job. */
function setUp(job, args, progressThrottle) {
  if (runs.job !== null) throw new NativeError("this sandbox has its job already");
  const worktime = typeof job.worktime === "object" && job.worktime !== null ? job.worktime.name : job.worktime;
  if (!WORKTIMES[worktime]) throw new NativeError(`worktime ${toText(worktime)} is not available in this sandbox`);
  if (isFiniteNumber(progressThrottle)) progress.throttle = progressThrottle * 1000;
  for (const name of ["name", "description", "link"]) {
    if (typeof job.public?.[name] === "string") workFunctions.job.public[name] = job.public[name];
  }
  const nth = job.range === null || job.range === undefined ? null : elementsOf(job.range);
  // The source is data of one global eval; the line feed ends a comment that it may end with.
  const strict = job.useStrict ? '"use strict";' : "";
  const work = globalEval(`${strict}(${job.workFunction}\n)\n//# sourceURL=workFunction`);
  if (typeof work !== "function") throw new TypeError("the work function is no function");
  runs.job = { work, args, nth };
}

/** Set the job up from an assign line of ours. */
function assign({ job, arguments: nodes, progressThrottle }) {
  current.version = job.kvin === "v9" ? "v9" : "v8";
  const args = [];
  for (let i = 0; i < nodes.length; i++) define(args, i, valueOf(nodes[i]));
  setUp(job, args, progressThrottle);
}
