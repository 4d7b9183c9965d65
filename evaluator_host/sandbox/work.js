// What a work function may say about its work: progress(), work.emit(), work.reject(), work.job.public.

const progress = {
  throttle: 100, // milliseconds between two reports
  lastSent: -Infinity,
  value: 0, // of this slice, 0..100; never goes backwards
  known: false,
  withheld: false,
  sentInSlice: false,

  startSlice() {
    this.value = 0;
    this.known = this.withheld = this.sentInSlice = false;
  },

  report(given) {
    const percent = percentOf(given);
    if (given !== undefined) {
      this.known = percent >= this.value; // NaN compares false
      if (this.known) this.value = percent;
    }
    consoleLines.flush();
    if (monotonicNow() - this.lastSent >= this.throttle) this.send();
    else if (!this.withheld) {
      this.withheld = true;
      // A slice that waits for something sends it when the time comes; one that computes, with its next report.
      if (current.waiting) this.sendLater();
    }
    return true;
  },

  /** Results are a sign of life, too. */
  heard() {
    this.lastSent = monotonicNow();
  },

  sendLater() {
    timers.start(() => this.withheld && this.send(), this.throttle, null, [], true);
  },

  send() {
    runs.flush(); // a slice that reports is a slow one; what was finished before it need not wait
    this.lastSent = monotonicNow();
    this.withheld = false;
    this.sentInSlice = true;
    if (current.slice > 0) send.progress(current.run, current.slice, this.known ? this.value / 100 : -1);
  },

  /** The last report of a slice is not lost, unless the slice was so short that its outcome says it all. */
  endSlice() {
    if (this.withheld && this.sentInSlice) this.send();
    this.withheld = false;
  },
};

/** 0..100, or NaN for what is none: a number 0..1, or a text such as "50%". */
function percentOf(given) {
  let percent = NaN;
  if (typeof given === "number") percent = given * 100;
  else if (typeof given === "string") {
    percent = endsWith(given, "%") ? +sliceText(given, 0, -1) : +given * 100;
  }
  return percent >= 0 && percent <= 100 ? percent : NaN;
}

const workFunctions = {
  emit(name, value) {
    if (typeof name !== "string") throw new TypeError("work.emit: the name of the event must be a string");
    send.custom(name, value);
  },

  reject(reason, retries = 0) {
    // work.reject(false) of the first workers meant: not here, try once more
    const [why, times] = reason === false ? ["false", 1] : [reason, retries];
    if (current.slice === 0) throw new NativeError("work.reject: no slice is being computed");
    runs.flush();
    send.rejected(current.run, current.slice, textOf(why), isInteger(times) && times >= 0 ? times : 0);
    writeln("DIE: work was rejected");
    die(0);
  },

  job: { public: { name: "Ad-Hoc Job", description: "Discreetly making the world smarter", link: "" } },
};
