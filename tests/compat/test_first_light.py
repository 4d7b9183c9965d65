"""Unmodified npm dcp-client deploys to the whole stack, and our worker computes in V8."""

import json
from pathlib import Path

from dcp_worker.tests.npm import node_binary, npm_packages
from dcp_worker.tests.stack import running_stack

SQUARES = """
'use strict';
async function main() {
  await require('dcp-client').init();
  const compute = require('dcp/compute');
  const job = compute.for([1, 2, 3], function (x) { progress(); return x * x });
  const results = await job.exec();
  console.log('results ' + JSON.stringify(Array.from(results)));
}
main().then(() => process.exit(0), (error) => { console.error(error); process.exit(1); });
"""

KINDS = r"""
'use strict';
async function main() {
  await require('dcp-client').init();
  const compute = require('dcp/compute');
  const inputs = [new Uint8Array([1, 2, 255]), { a: [1, { b: null }] }, 'ünï\u{1F600}', new Date(5), NaN, 1.5e300];
  inputs.push(undefined, true, null);
  const job = compute.for(inputs, function (x, extra) { progress(1); return { x, extra }; }, [new Float64Array([0.5])]);
  const results = Array.from(await job.exec());
  const assert = require('assert');
  results.forEach((result, index) => {
    assert.deepStrictEqual(result.x, inputs[index]);
    assert.deepStrictEqual(result.extra, new Float64Array([0.5]));
  });
  const range = compute.for(10, 20, 2, function (x) { console.log('slice', x); progress(); return x + 1; });
  const said = [];
  range.on('console', (event) => said.push(event.message));
  assert.deepStrictEqual(Array.from(await range.exec()), [11, 13, 15, 17, 19, 21]);
  console.log('console messages ' + said.length);
  console.log('all kinds hold');
}
main().then(() => process.exit(0), (error) => { console.error(error); process.exit(1); });
"""


def run_node(tmp_path: Path, source: str) -> str:
    packages = npm_packages({"dcp-client": "5.6.1"})
    program = tmp_path / "program.js"
    program.write_text(source)
    with running_stack(tmp_path / "stack") as stack:
        stack.environment["NODE_PATH"] = str(packages / "node_modules")
        node = stack.run([str(node_binary()), str(program)], "node")
        assert node.wait(120) == 0, node.output + stack.program.output
        return node.output


def test_npm_client_gets_squares(tmp_path: Path) -> None:
    """The program of the README, with the npm package as published, prints the squares."""
    output = run_node(tmp_path, SQUARES)

    line = next(line for line in output.splitlines() if line.startswith("results "))
    assert json.loads(line.removeprefix("results ")) == [1, 4, 9]


def test_npm_client_gets_every_kind_of_value_back(tmp_path: Path) -> None:
    """Typed arrays, dates, numbers that JSON lacks, arguments, ranges and console output survive the whole way."""
    output = run_node(tmp_path, KINDS)

    assert "all kinds hold" in output
    assert "console messages 6" in output
