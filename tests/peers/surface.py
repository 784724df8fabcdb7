#!/usr/bin/env python3
"""Marching cubes beside scikit-image and PyMCubes, on one grid in one run.

    tests/peers/surface.py [--quick]

Runs the benchmark `surface`, which leaves its 256^3 grid, then the peers on that
grid, and prints a table with ratios. --quick leaves out the dense evaluation of
the network. Installs what it needs as peers.py says.
"""

import sys
import time

from peers import PEERS, bench, with_packages


def main():
    with_packages("numpy", "scikit-image", "PyMCubes")
    grid = PEERS / "grid.f32"
    environment = {"SURFACE_GRID": str(grid)}
    if "--quick" in sys.argv:
        environment["SURFACE_DENSE"] = "0"
    PEERS.mkdir(parents=True, exist_ok=True)
    lines = bench("surface", **environment)
    report_network(next(line for line in lines if line["name"] == "network"))
    report_grid([line for line in lines if line["name"] == "grid"], grid)


def report_network(line):
    print(f"network, {line['points_per_side']}^3: {line['points']} points asked, "
          f"{100 * line['share']:.2f} % of {line['dense_points']}; {line['seconds']:.2f} s, {line['triangles']} triangles")
    if line["same_triangles"] is None:
        print("dense evaluation left out")
    else:
        print(f"dense: {line['dense_seconds']:.2f} s ({line['dense_seconds'] / line['seconds']:.1f} times), "
              f"same vertices and triangles: {line['same_triangles']}")


def report_grid(ours, path):
    import mcubes
    import numpy
    import skimage.measure

    # x runs fastest in the file; the peers index [x, y, z].
    values = numpy.ascontiguousarray(numpy.fromfile(path, numpy.float32).reshape(256, 256, 256).transpose(2, 1, 0))
    rows = [(f"meshkiln, {line['threads']} thread(s)", line["seconds"], line["cpu_seconds"], line["triangles"])
            for line in ours]
    peers = {
        "scikit-image marching_cubes": lambda: skimage.measure.marching_cubes(values, 0.0)[1],
        "PyMCubes marching_cubes": lambda: mcubes.marching_cubes(values, 0.0)[1],
    }
    for name, run in peers.items():
        times = []
        cpu_start = time.process_time()
        for _ in range(5):
            start = time.perf_counter()
            faces = run()
            times.append(time.perf_counter() - start)
        rows.append((name, min(times), (time.process_time() - cpu_start) / 5, len(faces)))
    print("\nSeconds: the best run. CPU: the mean of all, all threads; ratios to the first row.")
    print(f"{'dense 256^3':30}{'seconds':>9}{'ratio':>7}{'CPU':>9}{'ratio':>7}{'triangles':>11}")
    for name, seconds, cpu, triangles in rows:
        print(f"{name:30}{seconds:9.3f}{seconds / rows[0][1]:7.2f}{cpu:9.3f}{cpu / rows[0][2]:7.2f}{triangles:11}")


if __name__ == "__main__":
    main()
