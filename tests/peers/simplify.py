#!/usr/bin/env python3
"""Simplification to 2 % beside pymeshlab's quadric decimation, in one run.

    tests/peers/simplify.py

Takes the closed OBJ, STL and PLY files of ../shared/data/meshes, subdivides them
to 50,000 triangles and more (Loop where the shape is round, at the middles of
edges where it is not), runs the benchmark `simplify` and pymeshlab on the same
meshes, and measures both with pymeshlab's sampled distances: the largest and the
mean, both ways, in 1/10000 of the diagonal. Installs what it needs as
peers.py says.
"""

import pathlib
import time

from peers import PEERS, bench, data, with_packages

PACKAGES = ["numpy", "trimesh", "pymeshlab", "networkx", "scipy"]
ROUND = ["spot.obj", "blub.obj", "teddy.obj", "animal.obj", "potion.obj", "quadknot.obj", "fuze.obj", "unit_sphere.STL"]
EDGED = ["hand_prismatic.obj", "featuretype.STL", "broken_or_odd/busted.STL", "broken_or_odd/fixed_top.ply"]
LEAST = 50_000
SAMPLES = 200_000


def main():
    with_packages(*PACKAGES)
    source = data() / "meshes"
    folder = PEERS / "simplify"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    meshes = {name: subdivided(source, name) for name in ROUND + EDGED}
    for name, (vertices, faces) in meshes.items():
        write(folder / f"{pathlib.Path(name).stem}.mesh", vertices, faces)
    ours = {line["name"]: line for line in bench("simplify", SIMPLIFY_MESHES=str(folder))}

    print("Seconds: the best of three. Distances in 1/10000 of the diagonal; ratios: ours to pymeshlab's.")
    print(f"{'mesh':16}{'before':>8}{'after':>7}{'s':>8}{'pml s':>8}{'faster':>8}"
          f"{'mean':>8}{'pml':>8}{'ratio':>7}{'largest':>9}{'pml':>9}{'ratio':>7}")
    for name, (vertices, faces) in meshes.items():
        stem = pathlib.Path(name).stem
        line = ours[stem]
        seconds, theirs = decimated(vertices, faces, line["budget"])
        our = distances(vertices, faces, *read(folder / f"{stem}.out"))
        their = distances(vertices, faces, *theirs)
        print(f"{stem:16}{len(faces):8}{line['triangles']:7}{line['seconds']:8.3f}{seconds:8.3f}"
              f"{seconds / line['seconds']:8.1f}{our[1]:8.2f}{their[1]:8.2f}{our[1] / their[1]:7.2f}"
              f"{our[0]:9.2f}{their[0]:9.2f}{our[0] / their[0]:7.2f}", flush=True)


def subdivided(source, name):
    import trimesh

    mesh = trimesh.load(source / name, process=False, force="mesh")
    mesh.merge_vertices(merge_tex=True, merge_norm=True)
    vertices, faces = mesh.vertices, mesh.faces
    split = trimesh.remesh.subdivide_loop if name in ROUND else trimesh.remesh.subdivide
    while len(faces) < LEAST:
        vertices, faces = split(vertices, faces)
    return vertices, faces


def decimated(vertices, faces, budget):
    import numpy
    import pymeshlab

    def run():
        meshes = pymeshlab.MeshSet()
        meshes.add_mesh(pymeshlab.Mesh(numpy.float64(vertices), numpy.int32(faces)))
        start = time.perf_counter()
        meshes.meshing_decimation_quadric_edge_collapse(targetfacenum=budget)
        seconds = time.perf_counter() - start
        result = meshes.current_mesh()
        return seconds, (result.vertex_matrix(), result.face_matrix())

    runs = [run() for _ in range(3)]
    return min(seconds for seconds, _ in runs), runs[-1][1]


def distances(vertices, faces, other_vertices, other_faces):
    """The largest and the mean distance, both ways."""
    import numpy
    import pymeshlab

    meshes = pymeshlab.MeshSet()
    meshes.add_mesh(pymeshlab.Mesh(numpy.float64(vertices), numpy.int32(faces)))
    meshes.add_mesh(pymeshlab.Mesh(numpy.float64(other_vertices), numpy.int32(other_faces)))
    ways = [
        meshes.get_hausdorff_distance(sampledmesh=one, targetmesh=1 - one, samplenum=SAMPLES,
                                      sampleface=True, samplevert=False)
        for one in (0, 1)
    ]
    unit = numpy.linalg.norm(numpy.ptp(vertices, axis=0)) / 1e4
    return max(way["max"] for way in ways) / unit, sum(way["mean"] for way in ways) / 2 / unit


def write(path, vertices, faces):
    import numpy

    header = numpy.array([len(vertices), len(faces)], "<u4")
    path.write_bytes(header.tobytes() + numpy.asarray(vertices, "<f4").tobytes() + numpy.asarray(faces, "<u4").tobytes())


def read(path):
    import numpy

    words = numpy.frombuffer(path.read_bytes(), "<u4")
    n_vertices, n_triangles = words[:2]
    vertices = words[2:2 + 3 * n_vertices].view("<f4").reshape(-1, 3)
    return vertices, words[2 + 3 * n_vertices:].reshape(n_triangles, 3)


if __name__ == "__main__":
    main()
