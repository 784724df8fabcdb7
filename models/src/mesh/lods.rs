//! Levels of detail: coarser meshes on the same texture.
//!
//! In: the finished mesh, laid out and baked. Out: meshes with a share of its
//! triangles each. Every level is made from the finished mesh itself, not from
//! the level before, so that errors do not add up; seams and charts stay where
//! they are (see `simplify`), so the maps fit all levels.

use super::{
    Mesh,
    simplify::{SimplifyOptions, SimplifyTarget, simplify_with},
};
use crate::error::StageError;

/// What became of one ratio.
#[derive(Debug, Clone, PartialEq)]
pub struct Level {
    pub ratio: f64,
    /// Triangles asked for.
    pub budget: usize,
    pub triangles: usize,
    /// meshoptimizer's estimate, in metres; 0 for levels left out.
    pub error_m: f32,
    pub is_left_out: bool,
    /// Why the level was left out or has more triangles than asked for.
    pub reason: Option<String>,
}

/// A level has to have at most this share of the triangles of the one before.
const WORTH_IT: f64 = 0.9;
/// Below this there is no solid.
const FEWEST: usize = 4;

/// One mesh for each of `ratios`, 0..1 of the triangles of `mesh`, finest first
/// whatever their order; without those that would hardly be smaller than the one
/// before. Ratios that are 0 or less, 1 or more, or no number are no levels.
pub fn lods(mesh: &Mesh, ratios: &[f64]) -> Result<Vec<Mesh>, StageError> {
    Ok(lods_with_report(mesh, ratios)?.0)
}

/// `lods`, and what became of each ratio, finest first.
pub fn lods_with_report(mesh: &Mesh, ratios: &[f64]) -> Result<(Vec<Mesh>, Vec<Level>), StageError> {
    let mut ratios: Vec<f64> = ratios.iter().copied().filter(|&ratio| ratio > 0.0 && ratio < 1.0).collect();
    ratios.sort_by(|a, b| b.total_cmp(a));
    let (mut meshes, mut levels) = (Vec::new(), Vec::new());
    let mut n_before = mesh.triangles.len();
    for ratio in ratios {
        let budget = ((mesh.triangles.len() as f64 * ratio) as usize).max(FEWEST);
        let target = SimplifyTarget::Triangles(budget);
        let (coarse, report) = simplify_with(mesh, &SimplifyOptions { target, preserve_topology: false })?;
        let mut level = Level {
            ratio,
            budget,
            triangles: report.triangles,
            error_m: report.error_m,
            is_left_out: false,
            reason: report.reason,
        };
        if report.triangles as f64 > WORTH_IT * n_before as f64 || report.triangles < FEWEST {
            let why = format!("{} triangles are hardly fewer than the {n_before} of the level before", level.triangles);
            level = Level { is_left_out: true, error_m: 0.0, reason: Some(level.reason.unwrap_or(why)), ..level };
        } else {
            n_before = report.triangles;
            meshes.push(coarse);
        }
        levels.push(level);
    }
    Ok((meshes, levels))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::{shapes, topology::topology, uv::measure};

    #[test]
    fn levels_share_the_layout_and_stay_closed() {
        for (name, mesh) in [("ball", shapes::sphere(40)), ("ring", shapes::torus(32, 0.35))] {
            let whole = measure(&mesh.uvs, &mesh.triangles, 1024);
            let (levels, report) = lods_with_report(&mesh, &[0.1, 0.5, 0.25]).unwrap();
            assert_eq!(levels.len(), 3, "{name}: {report:?}");
            for (level, report) in levels.iter().zip(&report) {
                let t = topology(&level.positions, &level.triangles);
                assert!(t.is_watertight() && t.is_manifold() && t.n_degenerate == 0, "{name} {report:?}: {t:?}");
                assert_eq!(report.budget, (mesh.triangles.len() as f64 * report.ratio) as usize);
                assert!(report.reason.is_none() && !report.is_left_out, "{name}: {report:?}");
                assert!(
                    level.triangles.len() <= report.budget && level.triangles.len() * 100 >= report.budget * 99 - 400
                );
                let used = measure(&level.uvs, &level.triangles, 1024);
                assert_eq!((used.overlap, used.n_outside), (0.0, 0), "{name} {report:?}");
                assert!((used.coverage - whole.coverage).abs() < 0.03, "{name} {report:?}: {used:?}");
                assert!(level.normals.iter().all(|n| (n.length() - 1.0).abs() < 1e-4));
                assert_eq!(level.bounds(), mesh.bounds());
            }
        }
    }

    #[test]
    fn points_of_a_level_show_the_texel_they_showed_before() {
        // On the ring u and v are angles: what a vertex shows is where it lies.
        let mesh = shapes::torus(32, 0.35);
        for level in lods(&mesh, &[0.5, 0.1]).unwrap() {
            for (p, uv) in level.positions.iter().zip(&level.uvs) {
                let turn = p.x.atan2(p.z) / std::f32::consts::TAU;
                let off = (turn - uv.x).rem_euclid(1.0);
                assert!(off.min(1.0 - off) < 0.01, "{p} shows {uv}, off by {off}");
            }
        }
    }

    #[test]
    fn what_cannot_be_reduced_is_left_out_with_a_reason() {
        // All corners of a cube are corners of charts.
        let (levels, report) = lods_with_report(&shapes::cube(), &[0.5, 0.0, 1.0, f64::NAN]).unwrap();
        assert!(levels.is_empty());
        assert_eq!(report.len(), 1);
        assert!(report[0].is_left_out && report[0].reason.is_some(), "{report:?}");
    }
}
