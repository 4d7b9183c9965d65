// The console of a work function: its lines become events of the job. The same line again and again is counted and told once.

const consoleLines = {
  level: null,
  text: null, // KVIN node of the last line's arguments
  repeats: 0,

  write(level, args) {
    let text;
    try {
      text = nodeTextOf(args, current.version);
    } catch {
      const shown = [];
      for (let i = 0; i < args.length; i++) define(shown, i, textOf(args[i]));
      args = shown;
      text = nodeTextOf(args, current.version);
    }
    if (level === this.level && text === this.text) {
      this.repeats++;
      return;
    }
    this.flush();
    this.level = level;
    this.text = text;
    send.console(level, args, 1);
  },

  /** Tell how often the last line came again. */
  flush() {
    if (this.repeats > 0) send.console(this.level, undefined, this.repeats + 1);
    this.repeats = 0;
  },

  /** The next line is told whatever it says. */
  reset() {
    this.flush();
    this.level = this.text = null;
  },
};

const consoleFunctions = create(null);
for (const level of ["debug", "error", "info", "log", "warn"]) {
  define(consoleFunctions, level, (...args) => consoleLines.write(level, args));
}
consoleFunctions.trace = consoleFunctions.debug;
