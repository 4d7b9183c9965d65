// Connects to a service with dcp-client's own protocol layer and prints one JSON line for each thing that happened.
// Arguments: the scheduler's address, the service's address, and how long the large message is.
const fs = require('fs');

const [, , scheduler, service, bigSize] = process.argv;
const say = (what) => fs.writeSync(1, JSON.stringify(what) + '\n');

async function main() {
  setInterval(() => {}, 1000); // dcp-client's sockets do not keep node alive while they close
  const dcpClient = require('dcp-client');
  const { protocol, wallet } = await dcpClient.init(scheduler);
  wallet.addId(await new wallet.IdKeystore(null, ''));
  const connection = new protocol.Connection({ location: new URL(service) });
  connection.on('request', (request) => {
    if (request.payload.operation === 'event') request.respond({ heard: request.payload.data });
  });
  const echo = await connection.request('echo', { 2: 'b', 1: 'a', text: 'é😀', small: 1e-7, half: '\ud800' });
  say({ echo: echo.payload, success: echo.success });
  say({ dcpsid: connection.dcpsid, peer: String(connection.peerAddress) });

  const refused = await connection.request('fail', {});
  say({ refused: refused.payload.message, code: refused.payload.code, success: refused.success });

  const text = 'aé😀"\\'.repeat(Number(bigSize));
  const big = await connection.request('echo', text);
  say({ big: big.payload === text, length: text.length });

  const many = await Promise.all(Array.from({ length: 50 }, (_, i) => connection.request('echo', i)));
  say({ many: many.map((response) => response.payload) });

  const asked = await connection.request('askBack', { question: 7 });
  say({ asked: asked.payload });

  const keystore = await new wallet.Keystore(null, '');
  const request = new connection.Request('allowed', { text: 'é😀', 2: 1e-7, 1: [] });
  await request.authorize(keystore);
  say({ allowed: (await request.send()).payload, account: String(keystore.address) });

  say({ keepalive: (await connection.keepalive()).payload });
  // The server cuts the wire before it answers; the answer comes over the next one.
  const during = [1, 2, 3].map((i) => connection.request('cut', i));
  say({ cut: (await Promise.all(during)).map((response) => response.payload), dcpsid: connection.dcpsid });

  const closed = new Promise((resolve) => connection.on('close', resolve));
  connection.close();
  await closed;
  say({ closed: true });

  // A server that has lost the session asks to close it.
  const second = new protocol.Connection({ location: new URL(service) });
  const lost = new Promise((resolve) => second.on('close', resolve));
  second.request('restart', 1).then(
    () => say({ forgotten: 'answered' }),
    (error) => say({ forgotten: String(error.code) })
  );
  await lost;
  say({ lost: true });
}

main().then(() => process.exit(0), (error) => { say({ error: String(error && error.stack) }); process.exit(1); });
