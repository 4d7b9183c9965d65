// Runs of slices: computed one after the other, their results sent together every few milliseconds.

const FLUSH_AFTER_MS = 100;
const FLUSH_AFTER_CHARS = 256 * 1024;
const FLUSH_AFTER_SLICES = 1000;

/** What is being computed; slice 0 is none. `waiting`: the work function has returned a promise. */
const current = { run: 0, slice: 0, waiting: false, version: "v8", started: 0 };

const runs = {
  job: null, // {work, args, nth}
  first: null, // waiting runs: {run, first, count, nodes, inChars, next}
  last: null,
  busy: false,

  // results of this run that wait to be sent
  text: "",
  from: 0,
  count: 0,
  inChars: 0,
  flushTimer: false,

  add(run) {
    if (this.last === null) this.first = run;
    else this.last.next = run;
    this.last = run;
    if (!this.busy) this.compute();
  },

  /** Compute all waiting runs. Synchronous as long as the work function is: a promise for each slice would cost more
   * than most slices. */
  async compute() {
    this.busy = true;
    try {
      while (this.first !== null) {
        const run = this.first;
        this.first = run.next;
        if (this.first === null) this.last = null;
        current.run = run.run;
        meter.restart();
        this.from = run.first;
        for (let i = 0; i < run.count; i++) {
          const slice = run.first + i;
          this.begin(slice);
          let text;
          try {
            const work = this.job.work;
            let result = work(run.nodes === null ? this.job.nth(slice - 1) : valueOf(run.nodes[i]), ...this.job.args);
            if (isThenable(result)) result = await this.settled(result);
            text = nodeTextOf(result, current.version);
          } catch (thrown) {
            this.end();
            this.fail(slice, thrown, run.inChars);
            continue;
          }
          this.end();
          this.keep(slice, text, run.inChars);
          if (i + 1 < run.count && this.isDue()) this.flush();
        }
        this.flushLast();
        current.run = 0;
      }
    } catch (thrown) {
      stopFor(`the sandbox failed: ${textOf(thrown)}`);
    }
    this.busy = false;
  },

  begin(slice) {
    current.slice = slice;
    current.started = monotonicNow();
    progress.startSlice();
  },

  end() {
    current.waiting = false;
    if (timers.first !== null) timers.endSlice();
    consoleLines.reset();
    progress.endSlice();
    current.slice = 0;
  },

  /** Wait for a work function's promise. An error in one of its timers fails the slice: nobody else could notice it. */
  settled(promise) {
    current.waiting = true;
    if (progress.withheld) progress.sendLater();
    this.armFlush();
    return new NativePromise((resolve, reject) => {
      timers.onerror = reject;
      resolveNative(promise).then(resolve, reject);
    });
  },

  keep(slice, text, inChars) {
    if (this.count === 0) this.from = slice;
    this.text += this.count === 0 ? text : `,${text}`;
    this.count++;
    this.inChars += inChars;
  },

  /** Whether what waits has become much, or old. */
  isDue() {
    return this.count >= FLUSH_AFTER_SLICES ||
      this.text.length >= FLUSH_AFTER_CHARS ||
      monotonicNow() - meter.wallStart >= FLUSH_AFTER_MS;
  },

  /** Send the results that wait, with what they cost until that moment: while a slice is computed, its start. */
  flush(until = current.slice === 0 ? Infinity : current.started, write = send.results) {
    if (this.count === 0) return;
    const { wall, cpu } = meter.lap(until);
    const body = `[${this.text}]`;
    write(current.run, this.from, this.count, { wall, cpu, in: this.inChars, out: body.length }, body);
    this.text = "";
    this.count = 0;
    this.inChars = 0;
    progress.heard();
  },

  /** The end of a run goes out together with its last results: each write wakes three processes. */
  flushLast() {
    if (this.count === 0) send.finished(current.run);
    else this.flush(Infinity, send.lastResults);
  },

  armFlush() {
    if (this.count === 0 || this.flushTimer) return;
    this.flushTimer = true;
    timers.start(
      () => {
        this.flushTimer = false;
        this.flush();
      },
      FLUSH_AFTER_MS,
      null,
      [],
      true,
    );
  },

  fail(slice, thrown, inChars) {
    this.flush(current.started);
    const { wall, cpu } = meter.lap();
    const about = describe(thrown);
    let node;
    try {
      node = nodeTextOf(freshError(about), current.version);
    } catch {
      node = "{\"raw\":null}";
    }
    const metrics = { wall, cpu, in: inChars, out: node.length };
    send.failed(current.run, slice, `${about.name}: ${about.message}`, metrics, node);
  },
};

const NativePromise = Promise;
const resolveNative = Promise.resolve.bind(Promise);

function isThenable(value) {
  return ((typeof value === "object" && value !== null) || typeof value === "function") && typeof value.then === "function";
}
