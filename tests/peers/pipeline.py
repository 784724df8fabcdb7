"""From a reconstruction of half a million triangles to a finished asset, beside
pymeshlab + xatlas + trimesh doing the same steps on the same mesh.

    python3 tests/peers/pipeline.py

Prints seconds a step and the peak of memory of each. Installs what it needs as
peers.py says.
"""

import resource
import sys
import time

from peers import PEERS, bench, with_packages

PACKAGES = ["pymeshlab==2025.7", "xatlas==0.0.11", "trimesh==5.2.0", "numpy==2.3.5", "scipy", "pillow", "networkx"]
BUDGET, TEXTURE = 10_000, 1024


def theirs(folder):
    import numpy as np
    import pymeshlab
    import trimesh
    import xatlas

    seconds = {}

    def step(name, work):
        start = time.perf_counter()
        result = work()
        seconds[name] = seconds.get(name, 0) + time.perf_counter() - start
        return result

    meshes = pymeshlab.MeshSet()
    step("load", lambda: meshes.load_new_mesh(str(folder / "source.ply")))
    step("analyze", lambda: (meshes.get_topological_measures(), meshes.get_geometric_measures()))

    def clean():
        meshes.meshing_merge_close_vertices()
        meshes.meshing_remove_duplicate_faces()
        meshes.meshing_remove_null_faces()
        meshes.meshing_repair_non_manifold_edges()
        meshes.meshing_repair_non_manifold_vertices()
        meshes.meshing_close_holes()

    step("clean", clean)
    high = meshes.current_mesh_id()
    meshes.generate_copy_of_current_mesh()
    low = meshes.current_mesh_id()
    step("simplify", lambda: meshes.meshing_decimation_quadric_edge_collapse(targetfacenum=BUDGET))

    def unwrap():
        mesh = meshes.current_mesh()
        points, faces = mesh.vertex_matrix(), mesh.face_matrix()
        vmapping, indices, uvs = xatlas.parametrize(points, faces)
        flat = uvs[indices].reshape(len(indices), 6)
        meshes.add_mesh(
            pymeshlab.Mesh(vertex_matrix=points[vmapping], face_matrix=indices, v_tex_coords_matrix=uvs), "low"
        )
        return flat

    step("unwrap", unwrap)
    target = meshes.current_mesh_id()

    def bake():
        meshes.compute_texcoord_transfer_vertex_to_wedge()
        meshes.transfer_attributes_to_texture_per_vertex(
            sourcemesh=high,
            targetmesh=target,
            attributeenum="Vertex Color",
            textname=str(folder / "base_color.png"),
            textw=TEXTURE,
            texth=TEXTURE,
        )
        meshes.transfer_attributes_to_texture_per_vertex(
            sourcemesh=high,
            targetmesh=target,
            attributeenum="Vertex Normal",
            textname=str(folder / "normal.png"),
            textw=TEXTURE,
            texth=TEXTURE,
        )

    step("bake", bake)

    def lods():
        for ratio in (0.5, 0.25, 0.1):
            meshes.set_current_mesh(low)
            meshes.generate_copy_of_current_mesh()
            meshes.meshing_decimation_quadric_edge_collapse(targetfacenum=int(BUDGET * ratio))

    step("lods", lods)
    meshes.set_current_mesh(low)
    mesh = meshes.current_mesh()
    solid = trimesh.Trimesh(mesh.vertex_matrix(), mesh.face_matrix(), process=False)
    step("collider", lambda: solid.convex_hull)
    step("export", lambda: solid.export(str(folder / "theirs.glb")))
    _ = np
    return {
        "seconds": sum(seconds.values()),
        "stage_seconds": seconds,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
    }


def main():
    with_packages(*PACKAGES)
    folder = PEERS / "pipeline-files"
    ours = bench("pipeline", folder)[-1]
    if ours["error"]:
        sys.exit(f"pipeline: {ours['error']}")
    other = theirs(folder)
    print(f"{'step':10} {'meshkiln':>9} {'peers':>9}")
    for name in dict.fromkeys([*ours["stage_seconds"], *other["stage_seconds"]]):
        cells = [side["stage_seconds"].get(name) for side in (ours, other)]
        print(f"{name:10} " + " ".join("        -" if cell is None else f"{cell:8.2f}s" for cell in cells))
    print(f"{'all':10} {ours['seconds']:8.2f}s {other['seconds']:8.2f}s   {other['seconds'] / ours['seconds']:.1f}x")
    print(f"{'peak MiB':10} {ours['peak_mib']:>9} {other['peak_mib']:>9}")


if __name__ == "__main__":
    main()
