//! Surfaces of published neural implicits: closed, manifold, on the surface, and
//! the same coarse to fine as dense. Skipped where `../shared/data` is absent.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
};

use glam::Vec3;
use meshkiln_models::{
    StageError,
    mesh::{
        iso_surface::{Inside, IsoOptions, iso_surface},
        topology::topology,
    },
};

const RESOLUTION: u32 = 47;

/// Name, and share of the points of a 48^3 grid inside as measured by NumPy.
const NETS: [(&str, f64); 4] = [("bunny", 0.0776), ("fox", 0.0139), ("hammer", 0.0116), ("birdcage_occ", 0.0294)];
/// Furthest that a vertex may be from the surface after sixteen steps along edges, in cells.
const TOLERANCE: f32 = 0.01;

#[test]
fn implicit_networks_become_closed_surfaces() {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/weights/implicit"));
    if !folder.exists() {
        println!("skipped: ../shared/data is absent");
        return;
    }
    for (name, share_inside) in NETS {
        let net = Implicit::open(folder.join(format!("{name}.npz")));
        let field = |points: &[Vec3]| Ok(net.values(points));
        let options = IsoOptions {
            edge_steps: 0,
            batch_points: 1024,
            ..IsoOptions::new((Vec3::NEG_ONE, Vec3::ONE), RESOLUTION, 0.0, Inside::Below)
        };
        let run = |options: &IsoOptions| iso_surface(&field, options, &|_, _| Ok::<_, StageError>(())).expect(name);

        let n_inside = AtomicUsize::new(0);
        let counting = |points: &[Vec3]| {
            let values = net.values(points);
            n_inside.fetch_add(values.iter().filter(|v| **v < 0.0).count(), Ordering::Relaxed);
            Ok(values)
        };
        let (dense, _) =
            iso_surface(&counting, &IsoOptions { dense: true, ..options.clone() }, &|_, _| Ok(())).expect(name);
        let share = n_inside.into_inner() as f64 / 48f64.powi(3);
        assert!((share - share_inside).abs() < 6e-5, "{name}: {share} of the points are inside");
        let (sparse, stats) = run(&options);
        assert!(sparse == dense, "{name}: coarse to fine differs from dense");
        let (moved, _) = run(&IsoOptions { edge_steps: 16, newton_steps: 4, ..options });

        for mesh in [&sparse, &moved] {
            let t = topology(&mesh.positions, &mesh.triangles);
            assert!(t.is_watertight() && t.is_manifold() && t.n_degenerate == 0, "{name}: {t:?}");
        }
        // Vertices within cells come after those on edges, which a bracket holds.
        let n_on_edges = sparse.positions.partition_point(|&p| is_on_lattice_edge(p));
        let is_off: Vec<bool> = moved.positions.iter().map(|&p| !net.changes_sign_near(p)).collect();
        let off = [&is_off[..n_on_edges], &is_off[n_on_edges..]].map(|part| part.iter().filter(|off| **off).count());
        println!(
            "{name}: {:.1} % of the points, {} triangles; {} of {n_on_edges} vertices on edges and {} of {} in cells are off",
            100.0 * stats.n_points as f64 / stats.n_dense_points as f64,
            stats.n_triangles,
            off[0],
            off[1],
            moved.positions.len() - n_on_edges
        );
        assert_eq!(off[0], 0, "{name}: vertices over {TOLERANCE} cells off the surface");
        // Newton steps find no way where a field is as rough as the hammer's two sheets a cell apart.
        assert!(off[1] <= 4, "{name}: {} vertices within cells off the surface", off[1]);
    }
}

fn is_on_lattice_edge(p: Vec3) -> bool {
    let index = (p + 1.0) * (RESOLUTION as f32 / 2.0);
    index.to_array().iter().filter(|i| (*i - i.round()).abs() < 1e-4).count() >= 2
}

/// A multilayer perceptron from point to value, negative inside.
struct Implicit {
    /// Weights, input-major, and biases.
    layers: Vec<(Vec<f32>, Vec<f32>)>,
    activation: fn(f32) -> f32,
}

impl Implicit {
    fn open(path: PathBuf) -> Implicit {
        let mut archive = zip::ZipArchive::new(File::open(path).expect("file")).expect("zip");
        let mut names: Vec<String> = archive.file_names().map(|name| name.expect("name").into_owned()).collect();
        names.sort();
        let mut net = Implicit { layers: Vec::new(), activation: |x| x };
        for name in names {
            let mut bytes = Vec::new();
            archive.by_name(&name).expect("entry").read_to_end(&mut bytes).expect("data");
            // .npy: magic, version 1.0, header length, header, little-endian values.
            assert_eq!(bytes[..8], *b"\x93NUMPY\x01\x00", "{name}");
            let start = 10 + u16::from_le_bytes([bytes[8], bytes[9]]) as usize;
            let values: Vec<f32> =
                bytes[start..].chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
            match name.split('.').collect::<Vec<_>>()[1..] {
                ["dense", "A", _] => net.layers.push((values, Vec::new())),
                ["dense", "b", _] => net.layers.last_mut().expect("weights come first").1 = values,
                ["elu", ..] => net.activation = |x| if x > 0.0 { x } else { x.exp_m1() },
                ["relu", ..] => net.activation = |x| x.max(0.0),
                ["squeeze_last", ..] => {}
                _ => panic!("layer {name} is not known"),
            }
        }
        net
    }

    fn values(&self, points: &[Vec3]) -> Vec<f32> {
        points.iter().map(|p| self.value(*p)).collect()
    }

    fn value(&self, point: Vec3) -> f32 {
        let mut x = [0.0f32; 64];
        x[..3].copy_from_slice(&point.to_array());
        for (i, (weights, biases)) in self.layers.iter().enumerate() {
            let n_out = biases.len();
            let mut y = [0.0f32; 64];
            y[..n_out].copy_from_slice(biases);
            for (value, row) in x.iter().zip(weights.chunks_exact(n_out)) {
                y[..n_out].iter_mut().zip(row).for_each(|(o, w)| *o += value * w);
            }
            if i + 1 < self.layers.len() {
                y[..n_out].iter_mut().for_each(|o| *o = (self.activation)(*o));
            }
            x = y;
        }
        x[0]
    }

    /// Whether the surface is within the tolerance. A distance from value and slope
    /// says nothing where two sheets nearly touch.
    fn changes_sign_near(&self, p: Vec3) -> bool {
        let reach = TOLERANCE * 2.0 / RESOLUTION as f32;
        let is_inside = self.value(p) < 0.0;
        let around = [Vec3::X, Vec3::Y, Vec3::Z].map(|axis| axis * reach);
        around.iter().flat_map(|&step| [p + step, p - step]).any(|q| (self.value(q) < 0.0) != is_inside)
    }
}
