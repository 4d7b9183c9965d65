// The console of a work function: its lines become events of the job. The same line again and again is counted and told once.

const consoleLines = {
  level: null,
  text: null, // KVIN document of the last line's arguments
  repeats: 0,

  write(level, args) {
    let text;
    try {
      text = documentTextOf(args, current.version);
    } catch {
      const shown = [];
      for (let i = 0; i < args.length; i++) define(shown, i, textOf(args[i]));
      text = documentTextOf(shown, current.version);
    }
    if (level === this.level && text === this.text) {
      this.repeats++;
      return;
    }
    this.flush();
    this.level = level;
    this.text = text;
    send.event(current.slice, "console", `{"level":"${level}","message":${text},"same":1}`);
  },

  /** Tell how often the last line came again. */
  flush() {
    if (this.repeats > 0) {
      const nothing = documentTextOf(undefined, current.version);
      send.event(current.slice, "console", `{"level":"${this.level}","message":${nothing},"same":${this.repeats + 1}}`);
    }
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
