"""Three squares, computed somewhere else. Run it with: dcp localexec examples/squares.py"""

from dcp_worker.client import compute_for

job = compute_for([1, 2, 3], "x => { progress(); return x * x }", name="squares")
print(job.exec())
