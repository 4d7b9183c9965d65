"""Results as they come, console output and slices whose work function throws.

Run it with: dcp localexec examples/errors.py
"""

from dcp_worker.client import SliceError, compute_for

WORK = """
(text, factor) => {
  progress();
  console.log('parsing', text);
  const number = JSON.parse(text);
  return number * factor;
}
"""

job = compute_for(["1", "2.5", "three", "4"], WORK, [10], name="numbers", errors="return")
job.on("console", lambda event: print(f"  slice {event.slice} says: {event.message}"))

for slice_number, value in job.results_as_they_come():
    if isinstance(value, SliceError):
        print(f"slice {slice_number} failed: {value.message}")
    else:
        print(f"slice {slice_number}: {value}")
