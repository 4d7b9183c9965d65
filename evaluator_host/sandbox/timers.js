// setTimeout and its family, on one native timer. What a slice has started ends with the slice.
//
// Two linked lists ordered by time: the work function's timers, and those of the sandbox itself, which stay.

const LONGEST_WAIT = 2 ** 31 - 1; // milliseconds, as browsers count

class Timer {
  #id;
  constructor(id) {
    this.#id = id;
  }
  valueOf() {
    return this.#id;
  }
  [Symbol.toPrimitive]() {
    return this.#id;
  }
  static idOf(handle) {
    return typeof handle === "object" && handle !== null && #id in handle ? handle.#id : handle;
  }
}
const timerIdOf = Timer.idOf;

const timers = {
  first: null, // {id, due, every, callback, args, own, next}
  last: null,
  lastId: 0,

  /** Call `callback(...args)` after `delay` ms, and again when `every` is not null. `own` timers survive the slice. */
  start(callback, delay, every, args, own = false) {
    const entry = { id: ++this.lastId, due: clockNow() + delay, every, callback, args, own, next: null };
    this.insert(entry);
    return entry.id;
  },

  insert(entry) {
    if (this.first === null || entry.due < this.first.due) {
      if (this.first === null) this.last = entry;
      entry.next = this.first;
      this.first = entry;
      nextTimer(entry.due);
      return;
    }
    if (this.last.due <= entry.due) { // the usual case: timers of one length
      this.last = this.last.next = entry;
      return;
    }
    let before = this.first;
    while (before.next !== null && before.next.due <= entry.due) before = before.next;
    entry.next = before.next;
    before.next = entry;
  },

  stop(id) {
    let before = null;
    for (let entry = this.first; entry !== null; before = entry, entry = entry.next) {
      if (entry.id !== id) continue;
      this.remove(entry, before);
      return;
    }
  },

  remove(entry, before) {
    if (before === null) this.first = entry.next;
    else before.next = entry.next;
    if (this.last === entry) this.last = before;
  },

  /** Forget every timer of the work function. */
  endSlice() {
    let before = null;
    for (let entry = this.first; entry !== null; entry = entry.next) {
      if (entry.own) before = entry;
      else this.remove(entry, before);
    }
    nextTimer(this.first === null ? 0 : this.first.due);
  },

  /** Run the first timer if it is due, and set the native one for the next. */
  service() {
    const entry = this.first;
    if (entry !== null && entry.due <= clockNow()) {
      this.remove(entry, null);
      entry.next = null;
      this.running = entry;
      try {
        apply(entry.callback, undefined, entry.args);
      } catch (thrown) {
        if (entry.own) throw thrown;
        this.onerror(thrown);
      }
      if (entry.every !== null && this.running === entry) {
        entry.due = clockNow() + entry.every;
        this.insert(entry);
      }
      this.running = null;
    }
    if (this.first !== null) nextTimer(this.first.due);
  },
  running: null,
  onerror() {},
};
ontimer(() => timers.service());

function delayOf(value) {
  const delay = +value;
  return delay >= 1 ? (delay < LONGEST_WAIT ? delay : 1) : 1;
}

function callbackOf(callback) {
  return typeof callback === "function" ? callback : () => globalEval(toText(callback));
}

function clearTimer(handle) {
  const id = timerIdOf(handle);
  if (timers.running !== null && timers.running.id === id) timers.running = null;
  else timers.stop(id);
}

const timerFunctions = {
  setTimeout(callback, delay, ...args) {
    return new Timer(timers.start(callbackOf(callback), delayOf(delay), null, args));
  },
  setInterval(callback, delay, ...args) {
    const every = delayOf(delay);
    return new Timer(timers.start(callbackOf(callback), every, every, args));
  },
  setImmediate(callback, ...args) {
    return new Timer(timers.start(callbackOf(callback), 0, null, args));
  },
  clearTimeout: clearTimer,
  clearInterval: clearTimer,
  clearImmediate: clearTimer,
};
