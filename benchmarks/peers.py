"""The same plain call in ray or dask. Runs in their environment and needs nothing of ours."""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable


def square(x: int) -> int:
    """The trivial slice."""
    return x * x


def report(slices: int, call: Callable[[], list[int]], repeat: int) -> None:
    """Print the durations of a few calls, each checked."""
    samples = []
    for _ in range(repeat):
        started = time.perf_counter()
        results = call()
        samples.append(time.perf_counter() - started)
        assert results == [x * x for x in range(slices)]
    answer = {
        "median": statistics.median(samples),
        "best": min(samples),
        "worst": max(samples),
        "slices": slices,
    }
    print(json.dumps(answer))


def with_dask(slices: int, repeat: int) -> None:
    """``client.map`` over the items, with one process a core."""
    import dask.distributed as dask

    cores = os.cpu_count() or 1
    with (
        dask.LocalCluster(n_workers=cores, threads_per_worker=1, dashboard_address=None) as cluster,
        dask.Client(cluster) as client,
    ):
        client.gather(client.map(square, range(100), pure=False))
        report(slices, lambda: client.gather(client.map(square, range(slices), pure=False)), repeat)


def with_ray(slices: int, repeat: int) -> None:
    """One task an item."""
    import ray

    ray.init(include_dashboard=False, log_to_driver=False)
    task = ray.remote(square)
    ray.get([task.remote(x) for x in range(100)])
    report(slices, lambda: ray.get([task.remote(x) for x in range(slices)]), repeat)
    ray.shutdown()


def main() -> None:
    """Parse and measure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("peer", choices=["dask", "ray"])
    parser.add_argument("--slices", type=int, default=50_000)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    {"dask": with_dask, "ray": with_ray}[options.peer](options.slices, options.repeat)


if __name__ == "__main__":
    main()
