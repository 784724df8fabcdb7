//! Every mesh of the test data: what comes out, against its table and by itself.

use std::{
    collections::BTreeSet,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use expect_test::expect;
use glam::{DVec3, Vec3};

use super::{Bundle, Imported, Limits, read};
use crate::{
    error::StageError,
    image::srgb::Srgb,
    mesh::{Mesh, test_support::test_data, textured::TexturedMesh, topology::weld_map},
};

/// The file and what it refers to, as a caller gathers them.
pub(super) fn gathered(path: &Path) -> Result<Bundle, StageError> {
    let folder = path.parent().unwrap();
    let name = path.file_name().unwrap().to_str().unwrap();
    Bundle::gather(name, fs::read(path).unwrap(), &Limits::default(), |path, _| Ok(fs::read(folder.join(path)).ok()))
}

fn imported(path: &Path) -> Result<Imported, StageError> {
    read(&gathered(path)?, &Limits::default())
}

/// Mesh files under `folder` of the test data, sorted.
pub(super) fn files(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> = test_data(folder).into_iter().collect();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else if !["bin", "png", "jpg", "mtl", "zip"].iter().any(|ext| path.extension().is_some_and(|e| e == *ext)) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn volume(mesh: &Mesh) -> f64 {
    let corners = |t: &[u32; 3]| mesh.corners(*t).map(Vec3::as_dvec3);
    mesh.triangles.iter().map(corners).map(|[a, b, c]: [DVec3; 3]| a.dot(b.cross(c)) / 6.0).sum()
}

/// Vertices - edges + faces, equal positions being one vertex.
fn euler(mesh: &Mesh) -> i64 {
    let weld = weld_map(&mesh.positions);
    let faces: Vec<[u32; 3]> = mesh.triangles.iter().map(|t| t.map(|v| weld[v as usize])).collect();
    let vertices: BTreeSet<u32> = faces.iter().flatten().copied().collect();
    let edges = |[a, b, c]: &[u32; 3]| [(a, b), (b, c), (c, a)].map(|(u, v)| (*u.min(v), *u.max(v)));
    let edges: BTreeSet<(u32, u32)> = faces.iter().flat_map(edges).collect();
    vertices.len() as i64 - edges.len() as i64 + faces.len() as i64
}

fn described(result: Result<Imported, StageError>) -> String {
    let Imported { format, textured, notes } = match result {
        Ok(imported) => imported,
        Err(error) => return format!("{:?}: {}", error.kind, error.message),
    };
    let TexturedMesh { mesh, colors, tangents, materials, textures, .. } = &textured;
    assert!(mesh.triangles.iter().flatten().all(|&v| (v as usize) < mesh.positions.len()));
    let (low, high) = mesh.bounds().unwrap();
    let size = high - low;
    let mut text = format!(
        "{format:?} {}v {}t, {:.4} x {:.4} x {:.4}",
        mesh.positions.len(),
        mesh.triangles.len(),
        size.x,
        size.y,
        size.z
    );
    let with = [
        (!mesh.normals.is_empty(), "normals"),
        (!mesh.uvs.is_empty(), "uvs"),
        (!colors.is_empty(), "colours"),
        (!tangents.is_empty(), "tangents"),
    ];
    with.iter().filter(|(has, _)| *has).for_each(|(_, what)| write!(text, ", {what}").unwrap());
    write!(text, "; {} materials, {} textures", materials.len(), textures.len()).unwrap();
    notes.iter().for_each(|note| write!(text, "; {note}").unwrap());
    text
}

fn table(folder: &str) -> String {
    let root = test_data(folder).unwrap();
    let line =
        |path: &PathBuf| format!("{}: {}\n", path.strip_prefix(&root).unwrap().display(), described(imported(path)));
    files(folder).iter().map(line).collect()
}

#[test]
fn every_file_is_read_or_says_why_not() {
    if test_data("meshes").is_none() {
        return;
    }
    expect![[r#"
        animal.obj: Obj 2757v 3068t, 30.0000 x 69.2582 x 130.7211, normals, uvs; 1 materials, 0 textures; the material file `animal_legs_head.obj.mtl` is missing; the material `material_0` is not defined
        avocado/Avocado.gltf: Gltf 406v 682t, 0.0426 x 0.0629 x 0.0276, normals, uvs, tangents; 1 materials, 3 textures
        blub.obj: Obj 7317v 14208t, 1.4229 x 1.7471 x 2.9083, uvs; 1 materials, 0 textures
        box_textured.glb: Glb 24v 12t, 1.0000 x 1.0000 x 1.0000, normals, uvs; 1 materials, 1 textures
        box_vertex_colors.glb: Glb 24v 12t, 1.0000 x 1.0000 x 1.0000, normals, uvs, colours; 1 materials, 0 textures
        broken_or_odd/7_8ths_cube.stl: Stl 14v 24t, 40.0000 x 40.0000 x 40.0000; 0 materials, 0 textures
        broken_or_odd/AlphaBlendModeTest.glb: Glb 137v 61t, 8.6000 x 2.3995 x 1.3000, normals, uvs; 6 materials, 9 textures
        broken_or_odd/P_XPM_0331_01.3mf: Unsupported: a 3MF file is not read as a mesh: GLB, glTF, OBJ, PLY and STL are
        broken_or_odd/beetle_non_manifold.obj: Obj 1254v 2053t, 0.3603 x 0.3030 x 0.8917, normals; 1 materials, 0 textures; the material file `VWBugMesh002.mtl` is missing; the material `None` is not defined
        broken_or_odd/busted.STL: Stl 1941v 3878t, 10.6755 x 11.3847 x 9.5724; 0 materials, 0 textures
        broken_or_odd/fixed_top.ply: Ply 2374v 4772t, 120.0026 x 10.0000 x 120.0026; 0 materials, 0 textures; colours of faces were passed over: those of vertices are read
        broken_or_odd/insulated.msh: Unsupported: a Gmsh file is not read as a mesh: GLB, glTF, OBJ, PLY and STL are
        broken_or_odd/joined_tetrahedra.obj: Obj 15v 8t, 1.5000 x 1.7321 x 2.0000, normals; 1 materials, 0 textures
        broken_or_odd/mode5.gltf: Gltf 3610v 2786t, 57.1500 x 64.5358 x 76.1178, normals; 1 materials, 0 textures
        broken_or_odd/multibody.stl: Stl 20v 32t, 0.6360 x 1.0884 x 0.3399; 0 materials, 0 textures
        broken_or_odd/nancolor.obj: Obj 8v 12t, 1.0000 x 1.0000 x 1.0000, colours; 1 materials, 0 textures; vertex colours that are not numbers were set to white
        broken_or_odd/negative_indices.obj: Obj 24v 12t, 2.0000 x 2.0000 x 2.0000, normals, uvs; 1 materials, 0 textures
        broken_or_odd/notenoughindices.obj: Obj 3v 1t, 1000.0000 x 500.0000 x 0.0000; 1 materials, 0 textures; faces with fewer than 3 corners were passed over, the first in line 9; the material file `surface.mtl` is missing; the material `Material` is not defined
        broken_or_odd/obj_empty.obj: Unsupported: this is not a mesh format that is read
        broken_or_odd/ply_empty_header.ply: InvalidInput: the mesh file has no triangles
        broken_or_odd/points_bin.ply: Unsupported: the PLY is a cloud of 5 points without faces
        broken_or_odd/points_emptyface.ply: Unsupported: the PLY is a cloud of 1024 points without faces
        broken_or_odd/polygonfaces.obj: Obj 5v 3t, 1000.0000 x 500.0000 x 1000.0000; 1 materials, 0 textures; the material file `surface.mtl` is missing; the material `Material` is not defined
        broken_or_odd/soup.stl: Stl 300v 100t, 0.9974 x 0.9965 x 0.9929; 0 materials, 0 textures
        broken_or_odd/stl_empty_bin.stl: InvalidInput: the mesh file has no triangles
        broken_or_odd/wallhole.obj: Obj 92v 66t, 10.0000 x 15.0000 x 10.0000, normals, uvs; 1 materials, 0 textures; the material file `00.mtl` is missing
        cesium_milk_truck.glb: Glb 3564v 3624t, 4.8689 x 2.5829 x 2.7920, normals, uvs; 4 materials, 1 textures
        chair_model.obj: Obj 11250v 12756t, 0.5310 x 0.6638 x 0.5267, uvs; 3 materials, 0 textures; the material file `model.mtl` is missing; the material `material_0_1_8` is not defined; the material `material_1_24` is not defined; the material `material_2_24` is not defined
        cycloidal.ply: Ply 21384v 43368t, 1.8750 x 1.8746 x 1.1069, colours; 0 materials, 0 textures; colours of faces were passed over: those of vertices are read
        featuretype.3MF: Unsupported: a 3MF file is not read as a mesh: GLB, glTF, OBJ, PLY and STL are
        featuretype.STL: Stl 2010v 3476t, 5.0000 x 2.5000 x 1.3750; 0 materials, 0 textures
        fuze.obj: Obj 664v 1000t, 0.0726 x 0.0735 x 0.2151, normals, uvs; 1 materials, 1 textures
        fuze.ply: Ply 664v 1000t, 0.0726 x 0.0735 x 0.2151, uvs, colours; 1 materials, 1 textures; colours of faces were passed over: those of vertices are read
        hand_prismatic.obj: Obj 2006v 2000t, 265.2308 x 378.6467 x 40.0000, normals, uvs; 1 materials, 0 textures; the material file `hand_b.mtl` is missing; the material `Steel_-_Satin` is not defined
        monkey.glb: Glb 1966v 968t, 2.7344 x 1.9688 x 1.7031, normals, uvs; 1 materials, 0 textures
        not_convex.obj: Obj 288v 96t, 0.3660 x 0.7620 x 0.7620; 1 materials, 0 textures
        potion.obj: Obj 3687v 6654t, 99.9773 x 160.0000 x 99.9106, normals, uvs; 1 materials, 0 textures; the material file `potion_b.mtl` is missing; the material `Steel_-_Satin` is not defined
        quadknot.obj: Obj 2879v 2880t, 170.7347 x 133.7192 x 181.3236, normals, uvs, colours; 1 materials, 0 textures; the material file `quadknot.obj.mtl` is missing; the material `material_0` is not defined
        spot.obj: Obj 3225v 5856t, 0.9431 x 1.6904 x 1.7179, uvs; 1 materials, 0 textures
        suzanne/Suzanne.gltf: Gltf 11808v 3936t, 2.6738 x 1.9248 x 1.6265, normals, uvs, tangents; 1 materials, 2 textures
        teddy.obj: Obj 5922v 5760t, 8.3129 x 11.2987 x 6.5796, normals, uvs; 2 materials, 0 textures; the material file `teddy2.mtl` is missing; the material `Default_OBJ` is not defined; the material `None` is not defined
        unit_cube.STL: Stl 8v 12t, 1.0000 x 1.0000 x 1.0000; 0 materials, 0 textures
        unit_sphere.STL: Stl 642v 1280t, 2.0000 x 2.0000 x 2.0000; 0 materials, 0 textures
        waterbottle/WaterBottle.gltf: Gltf 2549v 4510t, 0.1089 x 0.2604 x 0.1089, normals, uvs, tangents; 1 materials, 4 textures
    "#]].assert_eq(&table("meshes"));
}

/// Triangles and size of files whose nodes move, turn or repeat meshes: the table
/// has them without that. As trimesh 4 has the whole scene.
const PLACED: &[(&str, usize, [f64; 3])] = &[
    ("meshes/broken_or_odd/AlphaBlendModeTest.glb", 61, [8.6, 2.3995, 1.3]),
    ("meshes/broken_or_odd/mode5.gltf", 2786, [57.15, 64.5358, 76.1178]),
    ("meshes/cesium_milk_truck.glb", 3624, [4.8689, 2.5829, 2.792]),
    ("restricted/meshes/cesium_man.glb", 4672, [0.312, 1.5065, 1.1383]),
    ("restricted/meshes/duck.glb", 4212, [1.6548, 1.5404, 1.1525]),
];

/// Triangles, size, volume and Euler number of the table that comes with the
/// data, which were measured with another reader (trimesh).
#[test]
fn figures_are_those_of_the_datas_own_table() {
    let Some(readme) = test_data("README.md") else { return };
    let readme = fs::read_to_string(readme).unwrap();
    let number = |text: &str, after: &str| -> Option<f64> {
        let rest = &text[text.find(after)? + after.len()..];
        rest.split([',', ';', ' ']).next()?.parse().ok()
    };
    let mut n_checked = 0;
    let mut differing = String::new();
    for path in files("meshes").into_iter().chain(files("restricted/meshes")) {
        let name = path.strip_prefix(test_data("").unwrap()).unwrap().to_str().unwrap().to_owned();
        let Some(line) = readme.lines().find(|line| line.starts_with(&format!("| `{name}`"))) else { continue };
        let (Some(vertices), Ok(imported)) = (line.find(" vertices, "), imported(&path)) else { continue };
        let mesh = &imported.textured.mesh;
        let (low, high) = mesh.bounds().unwrap();
        let size: Vec<f64> = line[line.find("size ").unwrap() + 5..]
            .split(" x ")
            .take(3)
            .map(|word| word.split([' ', ';']).next().unwrap().parse().unwrap())
            .collect();
        let mut check = |what: &str, found: f64, stated: f64, tolerance: f64| {
            if (found - stated).abs() > tolerance {
                writeln!(differing, "{name}: {what} {found} instead of {stated}").unwrap();
            }
        };
        let placed = PLACED.iter().find(|(placed, ..)| *placed == name);
        let stated = number(&line[vertices..], " vertices, ").unwrap();
        let (stated, size) = placed.map_or((stated, size), |(_, n, size)| (*n as f64, size.to_vec()));
        check("triangles", mesh.triangles.len() as f64, stated, 0.0);
        // The table has three digits of sizes, four of volumes.
        let found = (high - low).as_dvec3().to_array();
        found.iter().zip(size).for_each(|(found, stated)| check("size", *found, stated, 0.006 * stated.max(1e-3)));
        if let Some(stated) = number(line, "volume ").filter(|_| placed.is_none()) {
            check("volume", volume(mesh), stated, 6e-4 * stated);
        }
        if let Some(stated) = number(line, "Euler ") {
            check("Euler number", euler(mesh) as f64, stated, 0.0);
        }
        n_checked += 1;
    }
    assert!(n_checked >= 35, "{n_checked}");
    assert!(differing.is_empty(), "{differing}");
}

/// The same bottle as OBJ and as PLY, which turn their texture coordinates around
/// in different places: what vertices show must be what the picture has there.
#[test]
fn a_bottle_has_the_same_colours_from_obj_and_ply() {
    let Some(folder) = test_data("meshes") else { return };
    let colors = |name: &str| -> Vec<(Vec3, Vec3)> {
        let textured = imported(&folder.join(name)).unwrap().textured;
        let texture = &textured.textures[0];
        let (w, h) = (texture.width() as f32, texture.height() as f32);
        let mut seen: Vec<(Vec3, Vec3)> = textured
            .mesh
            .positions
            .iter()
            .zip(&textured.mesh.uvs)
            .map(|(p, uv)| {
                let [r, g, b, _] =
                    texture.get_pixel((uv.x * w).clamp(0.0, w - 1.0) as u32, (uv.y * h).clamp(0.0, h - 1.0) as u32).0;
                (*p, Vec3::new(f32::from(r), f32::from(g), f32::from(b)))
            })
            .collect();
        seen.sort_by(|a, b| a.0.to_array().partial_cmp(&b.0.to_array()).unwrap());
        seen
    };
    let (obj, ply) = (colors("fuze.obj"), colors("fuze.ply"));
    assert_eq!(obj.len(), ply.len());
    let near = |a: &Vec3, others: &[(Vec3, Vec3)]| others.iter().any(|b| b.0.distance(*a) < 1e-5);
    assert!(obj.iter().all(|(p, _)| near(p, &ply)));
    // Colours differ along the whole bottle, so a turned picture would not agree.
    let worst = obj
        .iter()
        .filter(|(p, color)| {
            let same: Vec<_> = ply.iter().filter(|(q, _)| p.distance(*q) < 1e-5).collect();
            same.iter().all(|(_, other)| other.distance(*color) > 12.0)
        })
        .count();
    assert!(worst < obj.len() / 50, "{worst} of {} vertices differ", obj.len());
}

/// An avocado: green skin all around, a stone that is brown in front.
#[test]
fn an_avocado_is_green_with_a_brown_stone() {
    let Some(folder) = test_data("meshes") else { return };
    let textured = imported(&folder.join("avocado/Avocado.gltf")).unwrap().textured;
    let texture = &textured.textures[textured.materials[0].base_color_texture.unwrap().texture];
    let mean = |pick: &dyn Fn(Vec3) -> bool| {
        let tables = Srgb::tables();
        let mesh = &textured.mesh;
        let shown = mesh.positions.iter().zip(&mesh.uvs).filter(|(p, _)| pick(**p));
        let colors: Vec<Vec3> = shown
            .map(|(_, uv)| {
                let place = |at: f32, n: u32| ((at.rem_euclid(1.0) * n as f32) as u32).min(n - 1);
                let [r, g, b, _] = texture.get_pixel(place(uv.x, texture.width()), place(uv.y, texture.height())).0;
                Vec3::new(tables.to_linear(r), tables.to_linear(g), tables.to_linear(b))
            })
            .collect();
        colors.iter().sum::<Vec3>() / colors.len() as f32
    };
    let (low, high) = textured.mesh.bounds().unwrap();
    let back = mean(&|p| p.z < low.z + 0.5 * (high.z - low.z));
    let stone = mean(&|p| p.z > low.z + 0.9 * (high.z - low.z));
    assert!(back.y > back.x && back.y > back.z, "{back}");
    assert!(stone.x > 1.2 * stone.y && stone.x > stone.z, "{stone}");
}
