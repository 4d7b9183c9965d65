// The lines that leave the sandbox. Numbers and quoted texts only are put into a header, so no value can forge one.

const MAX_HEADER_TEXT = 10_000; // characters

const wellFormed = uncurry(String.prototype.toWellFormed); // a reader may refuse half a surrogate pair
const headerText = (text) => quote(wellFormed(sliceText(toText(text), 0, MAX_HEADER_TEXT)));
const metricsText = (m) => `"wall":${+m.wall},"cpu":${+m.cpu},"gpu":0,"in":${+m.in},"out":${+m.out}`;

const send = {
  ready() {
    writeln('MSG:{"type":"ready"}');
  },
  assigned() {
    writeln('MSG:{"type":"assigned"}');
  },
  assignFailed(about) {
    const stack = about.stack === undefined ? "" : `,"stack":${headerText(about.stack)}`;
    writeln(
      `MSG:{"type":"assignFailed","error":{"name":${headerText(about.name)},"message":${headerText(about.message)}${stack}}}`,
    );
  },
  results(run, first, count, metrics, body) {
    writeln(`MSG:{"type":"results","run":${run},"first":${first},"count":${count},${metricsText(metrics)}}\n${body}`);
  },
  /** The last results of a run and its end, in one write. */
  lastResults(run, first, count, metrics, body) {
    send.results(run, first, count, metrics, `${body}\nMSG:{"type":"finished","run":${run}}`);
  },
  failed(run, slice, message, metrics, node) {
    writeln(
      `MSG:{"type":"failed","run":${run},"slice":${slice},"message":${headerText(message)},${metricsText(metrics)}}\n${node}`,
    );
  },
  rejected(run, slice, reason, retries) {
    writeln(
      `MSG:{"type":"rejected","run":${run},"slice":${slice},"reason":${headerText(reason)},"retries":${retries}}`,
    );
  },
  progress(run, slice, progress) {
    writeln(`MSG:{"type":"progress","run":${run},"slice":${slice},"progress":${progress}}`);
  },
  /** A console line; args is undefined when the last line came again, `same` times in all. */
  console(level, args, same) {
    const message = documentTextOf(args, current.version);
    sendEvent("console", `{"level":"${level}","message":${message},"same":${same}}`);
  },
  custom(name, value) {
    const data = stringifyJson(value);
    const text = typeof data === "string" ? `,"data":${data}` : "";
    sendEvent("custom", `{"eventName":"custom","customEvent":${quote(name)}${text}}`);
  },
  finished(run) {
    writeln(`MSG:{"type":"finished","run":${run}}`);
  },
};

function sendEvent(event, payload) {
  writeln(`MSG:{"type":"event","slice":${current.slice},"event":"${event}"}\n${payload}`);
}

/** End the sandbox for a reason that is the fault of whoever drives it, or of the sandbox itself. */
function stopFor(reason) {
  writeln(`DIE: ${sliceText(stringifyJson(toText(reason)), 1, -1)}`);
  die(1);
}
