// Three squares with the npm package dcp-client: npm install dcp-client, start `dcp up`, then
//   DCP_SCHEDULER_LOCATION=http://127.0.0.1:9080/ node examples/squares.js
'use strict';

async function main() {
  await require('dcp-client').init();
  const wallet = require('dcp/wallet');
  const compute = require('dcp/compute');
  // Throw-away identity and account; with keystores in ~/.dcp these three lines can go.
  wallet.addId(await new wallet.IdKeystore(null, ''));
  const job = compute.for([1, 2, 3], function (x) { progress(); return x * x; });
  job.setPaymentAccountKeystore(await new wallet.Keystore(null, ''));
  const results = await job.exec();
  console.log(Array.from(results));
}

main().then(() => process.exit(0), (error) => { console.error(error); process.exit(1); });
