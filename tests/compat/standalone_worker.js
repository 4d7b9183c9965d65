// Drives an evaluator with dcp-client's own standalone worker, as its supervisor does. Prints JSON lines.
// Argument: the port of the evaluator.
const fs = require('fs');

const port = Number(process.argv[2]);
const say = (what) => fs.writeSync(1, JSON.stringify(what) + '\n');

async function main() {
  setInterval(() => {}, 1000); // the worker's socket does not keep node alive
  await require('dcp-client').init({
    programName: 'dcp-worker',
    parseArgv: false,
    dcpConfig: { scheduler: { configLocation: false }, bundle: { location: false } },
  });
  const kvin = require('kvin');
  const { workerFactory } = require('dcp-client/lib/standaloneWorker');
  const Worker = workerFactory({ hostname: '127.0.0.1', port });
  const worker = new Worker();
  const waiting = [];
  worker.onmessage = (event) => {
    const { data } = event;
    const { ringSource, value } = data.serialized ? kvin.parse(data.message) : kvin.unmarshal(data);
    if (['console', 'progress', 'emitEvent', 'workReject'].includes(value.request)) say({ ringSource, ...value });
    const at = waiting.findIndex((one) => one.requests.includes(value.request));
    if (at >= 0) waiting.splice(at, 1)[0].resolve(value);
  };
  const reply = (...requests) => new Promise((resolve) => waiting.push({ requests, resolve }));
  const ask = (message, ...requests) => {
    const answer = reply(...requests);
    worker.postMessage(kvin.marshal(message));
    return answer;
  };

  const { worktimes } = await ask({ request: 'describe' }, 'describe');
  say({ worktimes });
  const requirements = { environment: { offscreenCanvas: false, webgpu: false } }; // as 4.4 wants it
  await ask({ request: 'applyRequirements', worktime: 'map-basic', requirements }, 'applyRequirementsDone');
  const job = {
    id: 'job', address: 'job', arguments: [10, 100], dependencies: [], modulePath: [], requirePath: [],
    public: { name: 'compat' }, useStrict: false, worktime: { name: 'map-basic', version: '1.0.0' },
    workFunction: `async function work(x, y, z) {
      progress(0.5);
      console.log('hello', x);
      await new Promise((resolve) => setTimeout(resolve, 10));
      if (x === 2) throw new RangeError('two');
      const module = new WebAssembly.Module(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0]));
      return { sum: x + y + z, bytes: new Uint8Array([1, 2, x]), wasm: module instanceof WebAssembly.Module };
    }`,
  };
  await ask({ request: 'assign', sandboxConfig: {}, job }, 'assigned');
  for (const data of [1, 2, 3]) {
    await ask({ request: 'resetState' }, 'resetStateDone');
    const done = await ask({ request: 'main', data }, 'complete', 'workError');
    if (done.request === 'workError') say({ error: done.error.message, name: done.error.name });
    else say({ sum: done.result.sum, bytes: Array.from(done.result.bytes), wasm: done.result.wasm });
  }
  worker.terminate();
  say({ ended: true });
  process.exit(0);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
