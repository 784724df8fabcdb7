use glam::Vec3;

use super::{super::tests::check as check_layout, *};
use crate::mesh::{
    raster::scan::ScanTriangle,
    shapes::{cube, sphere, torus},
    test_shapes::{cuboid, lens},
    test_support::test_data,
};

const OPTIONS: AtlasOptions = AtlasOptions { size: 512, padding: 4 };

/// Lays out, and checks what every layout must be.
fn laid_out(mesh: &Mesh, options: &AtlasOptions) -> (Mesh, AtlasStats) {
    let (out, stats) = atlas(mesh, options).unwrap_or_else(|e| panic!("{e}"));
    check_layout(mesh, &out, stats.padding as f32 / options.size as f32 - 1e-6);
    assert_eq!((stats.overlap, stats.layout.n_flipped, stats.layout.n_flat), (0.0, 0, 0), "{stats:?}");
    (out, stats)
}

/// Moves each vertex along its normal by up to `amount` metres either way.
fn rough(mut mesh: Mesh, amount: f32) -> Mesh {
    for (p, n) in mesh.positions.iter_mut().zip(&mesh.normals) {
        // Doubled vertices have equal positions, hence equal noise.
        let seed = p.to_array().iter().fold(7u64, |seed, x| seed.wrapping_mul(31) ^ u64::from((x + 0.0).to_bits()));
        *p += n.normalize() * (fastrand::Rng::with_seed(seed).f32() * 2.0 - 1.0) * amount;
    }
    mesh
}

#[test]
fn solids_get_few_charts_at_one_density() {
    for (name, mesh, most_charts) in
        [("sphere", sphere(24), 8), ("torus", torus(20, 0.4), 12), ("lens", lens([0.3, 0.5].into(), 0.2, 16), 4)]
    {
        let (_, stats) = laid_out(&mesh, &OPTIONS);
        assert!(stats.layout.density_deviation < 0.1, "{name}: {stats:?}");
        assert!(stats.layout.n_charts <= most_charts, "{name}: {stats:?}");
        assert!(stats.coverage > 0.5, "{name}: {stats:?}");
    }
}

#[test]
fn flat_faces_are_kept_true_to_size() {
    let (_, stats) = laid_out(&cube(), &OPTIONS);
    assert!(stats.layout.stretch_most < 1.001 && stats.layout.density_deviation < 0.001, "{stats:?}");
    assert!(stats.layout.n_charts <= 6, "{stats:?}");
}

#[test]
fn rough_surfaces_do_not_fall_into_islands() {
    let (_, stats) = laid_out(&rough(sphere(32), 0.01), &OPTIONS);
    assert!(stats.layout.n_charts <= 16 && stats.layout.n_tiny_charts <= 4, "{stats:?}");
    assert!(stats.layout.density_deviation < 0.1, "{stats:?}");
}

#[test]
fn open_surfaces_are_laid_out() {
    let mut half = sphere(24);
    half.triangles.retain(|t| half.positions[t[0] as usize].y > 0.2);
    let (_, stats) = laid_out(&half, &OPTIONS);
    assert!(stats.layout.n_charts <= 4, "{stats:?}");
}

#[test]
fn charts_keep_their_distance() {
    let options = AtlasOptions { size: 256, padding: 6 };
    let (out, stats) = laid_out(&cuboid(Vec3::ZERO, Vec3::new(0.5, 0.3, 0.2)), &options);
    assert_eq!(stats.padding, 6);
    let side = options.size as i32;
    // Which chart covers each texel: triangles of a cuboid's side share a vertex.
    let mut sets = topology::DisjointSets::new(out.positions.len());
    out.triangles.iter().for_each(|t| (sets.join(t[0], t[1]), sets.join(t[1], t[2])).1);
    let mut texels = vec![u32::MAX; (side * side) as usize];
    for t in &out.triangles {
        let corners = t.map(|v| out.uvs[v as usize].as_dvec2() * f64::from(side));
        let scan = ScanTriangle::new(corners).unwrap();
        scan.for_each_run(options.size, scan.rows(options.size), |y, xs| {
            xs.for_each(|x| texels[(y as i32 * side + x as i32) as usize] = sets.find(t[0]));
        });
    }
    let free = options.padding as i32;
    for (y, x) in (0..side).flat_map(|y| (0..side).map(move |x| (y, x))) {
        let own = texels[(y * side + x) as usize];
        if own == u32::MAX {
            continue;
        }
        assert!(x.min(y) >= free && x.max(y) < side - free, "border at {x}, {y}");
        for (dy, dx) in (-free..=free).flat_map(|dy| (-free..=free).map(move |dx| (dy, dx))) {
            let other = texels[((y + dy) * side + x + dx) as usize];
            assert!(other == u32::MAX || other == own, "charts {own} and {other} at {x}, {y}");
        }
    }
}

#[test]
fn the_number_of_threads_does_not_matter() {
    let mesh = rough(torus(24, 0.4), 0.01);
    let with = |n_threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
        pool.install(|| atlas(&mesh, &OPTIONS).unwrap().0.to_bytes().unwrap())
    };
    assert!(with(1) == with(3));
}

#[test]
fn thin_and_flat_faces_take_no_room() {
    let mut mesh = sphere(8);
    let [a, b, _] = mesh.triangles[40];
    let n = mesh.positions.len() as u32;
    mesh.positions.push(mesh.positions[a as usize].lerp(mesh.positions[b as usize], 0.5));
    mesh.normals.push(mesh.normals[a as usize]);
    mesh.triangles.extend([[a, b, n], [a, a, b]]);
    let (out, stats) = atlas(&mesh, &OPTIONS).unwrap();
    assert_eq!(out.triangles.len(), mesh.triangles.len());
    for t in &out.triangles[mesh.triangles.len() - 2..] {
        assert_eq!(layout::uv_area(&out, *t), 0.0);
        assert!(t.iter().all(|v| out.uvs[*v as usize] == out.uvs[t[0] as usize]));
    }
    assert_eq!((stats.layout.n_flipped, stats.layout.n_flat, stats.overlap), (0, 0, 0.0));
}

#[test]
fn triangles_that_share_nothing_get_a_chart_each_and_less_padding() {
    let mut soup = Mesh::default();
    for i in 0..400 {
        let at = Vec3::new((i % 20) as f32, (i / 20) as f32, 0.0);
        soup.triangles.push([0, 1, 2].map(|k| soup.positions.len() as u32 + k));
        soup.positions.extend([at, at + Vec3::X * 0.5, at + Vec3::Y * 0.5]);
    }
    let (_, stats) = laid_out(&soup, &AtlasOptions { size: 128, padding: 8 });
    assert_eq!((stats.layout.n_charts, stats.padding < 8), (400, true));
    let error = atlas(&soup, &AtlasOptions { size: 16, padding: 8 }).unwrap_err();
    assert_eq!(error.kind, StageErrorKind::TooLarge, "{error}");
    assert!(error.message.contains("400 charts"), "{error}");
}

#[test]
fn edges_of_three_faces_and_turned_faces_are_no_obstacle() {
    let mut mesh = cuboid(Vec3::ZERO, Vec3::splat(0.5));
    mesh.positions.push(Vec3::new(2.0, 2.0, 0.0));
    mesh.triangles.push([0, 1, 8]);
    mesh.triangles[3].swap(1, 2);
    let (out, stats) = atlas(&mesh, &OPTIONS).unwrap();
    assert_eq!((out.triangles.len(), stats.overlap, stats.layout.n_flipped), (13, 0.0, 0));
}

#[test]
fn nonsense_is_refused_and_nothing_stays_nothing() {
    let broken = |change: fn(&mut Mesh)| {
        let mut mesh = cuboid(Vec3::ZERO, Vec3::ONE);
        change(&mut mesh);
        atlas(&mesh, &OPTIONS).unwrap_err().kind
    };
    assert_eq!(broken(|mesh| mesh.positions[2].y = f32::NAN), StageErrorKind::InvalidInput);
    assert_eq!(broken(|mesh| mesh.triangles[0][0] = 99), StageErrorKind::InvalidInput);
    assert_eq!(atlas(&Mesh::default(), &OPTIONS).unwrap(), Default::default());
}

#[test]
fn real_meshes_get_few_even_charts() {
    for (name, most_charts) in [("spot.obj", 20), ("quadknot.obj", 20), ("hand_prismatic.obj", 16)] {
        let Some(mesh) = obj(&format!("meshes/{name}")) else { continue };
        let (_, stats) = laid_out(&mesh, &AtlasOptions { size: 1024, padding: 8 });
        assert!(stats.layout.n_charts <= most_charts && stats.padding == 8, "{name}: {stats:?}");
        assert!(stats.layout.density_deviation < 0.05, "{name}: {stats:?}");
    }
}

#[test]
fn broken_meshes_are_laid_out_too() {
    for name in ["beetle_non_manifold.obj", "joined_tetrahedra.obj", "wallhole.obj", "polygonfaces.obj"] {
        let Some(mesh) = obj(&format!("meshes/broken_or_odd/{name}")) else { continue };
        let (out, stats) = atlas(&mesh, &OPTIONS).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(out.triangles.len(), mesh.triangles.len(), "{name}");
        assert_eq!((stats.layout.n_flipped, stats.layout.n_flat, stats.overlap), (0, 0, 0.0), "{name}: {stats:?}");
        assert!(out.uvs.iter().all(|uv| uv.min_element() >= 0.0 && uv.max_element() <= 1.0), "{name}");
    }
}

/// Positions and triangles of an OBJ file of the test data.
fn obj(name: &str) -> Option<Mesh> {
    let text = std::fs::read_to_string(test_data(name)?).unwrap();
    // A backslash at the end of a line continues it.
    let text = text.replace("\\\r\n", " ").replace("\\\n", " ");
    let mut mesh = Mesh::default();
    for words in text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()) {
        match words.as_slice() {
            ["v", xyz @ ..] => {
                let xyz: Vec<f32> = xyz.iter().map(|word| word.parse().unwrap()).collect();
                mesh.positions.push(Vec3::from_slice(&xyz[..3]));
            }
            ["f", corners @ ..] => {
                let index = |word: &&str| word.split('/').next().unwrap().parse::<u32>().unwrap() - 1;
                let polygon: Vec<u32> = corners.iter().map(index).collect();
                mesh.triangles.extend((2..polygon.len()).map(|k| [polygon[0], polygon[k - 1], polygon[k]]));
            }
            _ => {}
        }
    }
    Some(mesh)
}

#[test]
fn a_cancelled_layout_stops() {
    let error = atlas_unless(&sphere(16), &OPTIONS, &|| true).unwrap_err();
    assert_eq!(error.kind, StageErrorKind::Cancelled);
}
