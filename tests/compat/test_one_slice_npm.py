"""Unmodified npm dcp-client deploys to a scheduler without bulk operations, and our worker computes one by one."""

from pathlib import Path

from dcp_worker.tests.evaluators import skip_unless_confined
from dcp_worker.tests.npm import node_binary, npm_packages
from dcp_worker.tests.one_slice import plain_scheduler, running_worker
from dcp_worker.tests.programs import Program

PROGRAM = r"""
'use strict';
const assert = require('assert');
async function main() {
  await require('dcp-client').init();
  const compute = require('dcp/compute');

  const inputs = [1, -0.5, 'ünï\u{1F600} 100% #?&', '', true, null, undefined, NaN, { a: [1, { b: null }] }];
  inputs.push(new Uint8Array([1, 2, 255]), new Date(5), 'x'.repeat(100000));
  const extra = new Float64Array([0.5]);
  const mixed = compute.for(inputs, function (x, extra) { progress(1); return { x, extra }; }, [extra]);
  Array.from(await mixed.exec()).forEach((result, index) => {
    assert.deepStrictEqual(result.x, inputs[index]);
    assert.deepStrictEqual(result.extra, extra);
  });
  console.log('mixed values hold ' + mixed.id);

  const range = compute.for(10, 610, 2, function (x) { progress(); return x + 1; });
  assert.deepStrictEqual(Array.from(await range.exec()), Array.from({ length: 301 }, (_, i) => 11 + 2 * i));
  console.log('range holds');

  const thrower = compute.for([1, 2, 3], function (x) {
    progress();
    if (x === 2) throw new RangeError('two');
    return x;
  });
  const results = Array.from(await thrower.exec());
  assert.strictEqual(results[0], 1);
  assert.strictEqual(results[2], 3);
  assert.ok(results[1] instanceof Error, String(results[1]));
  assert.strictEqual(results[1].message, 'two');
  console.log('the error arrived as ' + results[1].name);

  const picky = compute.for([1, 2], function (x) {
    progress();
    if (x === 2) work.reject('not for me');
    return x;
  });
  const some = Array.from(await picky.exec());
  assert.strictEqual(some[0], 1);
  assert.match(some[1].message, /not for me/);
  console.log('returned ' + picky.id);
}
main().then(() => process.exit(0), (error) => { console.error(error); process.exit(1); });
"""


def test_npm_client_and_our_worker_slice_by_slice(tmp_path: Path) -> None:
    """Mixed values, a range, a work function that throws, a slice that is returned; then an orderly stop."""
    skip_unless_confined()
    packages = npm_packages({"dcp-client": "5.6.1"})
    source = tmp_path / "program.js"
    source.write_text(PROGRAM)
    with plain_scheduler(tmp_path / "scheduler") as plain:
        with running_worker(tmp_path / "worker", plain.url) as worker:
            environment = {
                "NODE_PATH": str(packages / "node_modules"),
                "DCP_SCHEDULER_LOCATION": plain.url,
                "DCP_RESOURCE_DIR": str(tmp_path / "worker" / "resources"),  # the worker made its keystores
            }
            node = Program(
                [str(node_binary()), str(source)], tmp_path / "node.log", env=environment, cwd=tmp_path
            )
            try:
                assert node.wait(120) == 0, node.output + worker.output
            finally:
                node.stop()
            assert worker.interrupt() == 0

        assert "range holds" in node.output
        assert "the error arrived as RangeError" in node.output
        mixed = node.wait_for(r"mixed values hold (\S+)").group(1)
        picky = node.wait_for(r"returned (\S+)").group(1)
        assert plain.statuses(mixed, "begin") == list(range(1, 13))
        assert set(plain.statuses(picky, "return")) == {2}
        assert plain.data_of("requestTask@3")[-1]["fetchState"] == 16
        assert plain.bulk_asked == []
