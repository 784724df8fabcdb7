//! Smoothing that keeps the volume.

use glam::{DVec3, Vec3};

use super::super::{
    Mesh,
    topology::{DisjointSets, EdgeTable, EdgeUse},
};

/// Share of the way to the middle of its neighbours that a vertex goes, and
/// goes back: their sum of inverses, 1/lambda + 1/mu, is Taubin's pass band 0.1.
const LAMBDA: f32 = 0.5;
const MU: f32 = -0.526_316;

/// Taubin's lambda/mu smoothing (Taubin 1995, "A signal processing approach to
/// fair surface design") with equal weights. Vertices on a border move along the
/// border only. Closed pieces get the volume back that they had, by scaling
/// about their middle. Positions must be welded. Triangles stay.
pub(super) fn taubin(mesh: &mut Mesh, n_passes: u32) {
    let before = volumes(mesh);
    let neighbours = Neighbours::of(mesh);
    for _ in 0..n_passes {
        neighbours.step(&mut mesh.positions, LAMBDA);
        neighbours.step(&mut mesh.positions, MU);
    }
    let after = volumes(mesh);
    for (v, p) in mesh.positions.iter_mut().enumerate() {
        let piece = before.piece_of[v] as usize;
        let (old, new) = (before.volume[piece], after.volume[piece]);
        let scale = (old / new).cbrt();
        if !before.is_open[piece] && scale.is_finite() && (0.5..2.0).contains(&scale) {
            let centre = after.centre[piece];
            *p = (centre + (p.as_dvec3() - centre) * scale).as_vec3();
        }
    }
}

struct Neighbours {
    /// Where the neighbours of each vertex start in `all`.
    starts: Vec<u32>,
    all: Vec<u32>,
}

impl Neighbours {
    fn of(mesh: &Mesh) -> Neighbours {
        let n = mesh.positions.len();
        let edges = EdgeTable::new(n, &mesh.triangles);
        let ends = |user: &EdgeUse| {
            let face = mesh.triangles[user.face() as usize];
            [face[user.side()], face[(user.side() + 1) % 3]]
        };
        let mut on_border = vec![false; n];
        for users in edges.iter().filter(|users| users.len() == 1) {
            ends(&users[0]).into_iter().for_each(|v| on_border[v as usize] = true);
        }
        // A border is pulled by the border alone.
        let pulls = |users: &[_], v: u32| !on_border[v as usize] || users.len() == 1;
        let mut starts = vec![0u32; n + 1];
        for users in edges.iter() {
            for v in ends(&users[0]).into_iter().filter(|&v| pulls(users, v)) {
                starts[v as usize + 1] += 1;
            }
        }
        for v in 0..n {
            starts[v + 1] += starts[v];
        }
        let mut next = starts.clone();
        let mut all = vec![0; starts[n] as usize];
        for users in edges.iter() {
            let [a, b] = ends(&users[0]);
            for (v, other) in [(a, b), (b, a)].into_iter().filter(|&(v, _)| pulls(users, v)) {
                all[next[v as usize] as usize] = other;
                next[v as usize] += 1;
            }
        }
        Neighbours { starts, all }
    }

    fn step(&self, positions: &mut [Vec3], share: f32) {
        let old = positions.to_vec();
        for (v, p) in positions.iter_mut().enumerate() {
            let around = &self.all[self.starts[v] as usize..self.starts[v + 1] as usize];
            if !around.is_empty() {
                let sum: Vec3 = around.iter().map(|&w| old[w as usize]).sum();
                *p = p.lerp(sum / around.len() as f32, share);
            }
        }
    }
}

struct Volumes {
    /// For each vertex its piece, named by the first vertex of it.
    piece_of: Vec<u32>,
    volume: Vec<f64>,
    /// Of area.
    centre: Vec<DVec3>,
    is_open: Vec<bool>,
}

fn volumes(mesh: &Mesh) -> Volumes {
    let n = mesh.positions.len();
    let mut sets = DisjointSets::new(n);
    for &[a, b, c] in &mesh.triangles {
        sets.join(a, b);
        sets.join(b, c);
    }
    let piece_of: Vec<u32> = (0..n as u32).map(|v| sets.find(v)).collect();
    let (mut volume, mut area, mut centre) = (vec![0.0; n], vec![0.0; n], vec![DVec3::ZERO; n]);
    for &triangle in &mesh.triangles {
        let piece = piece_of[triangle[0] as usize] as usize;
        // Relative to the piece's first vertex, so that far from the origin nothing cancels.
        let origin = mesh.positions[piece].as_dvec3();
        let [a, b, c] = mesh.corners(triangle).map(|p| p.as_dvec3() - origin);
        volume[piece] += a.dot(b.cross(c)) / 6.0;
        let size = (b - a).cross(c - a).length();
        area[piece] += size;
        centre[piece] += (a + b + c) / 3.0 * size;
    }
    for piece in 0..n {
        centre[piece] = mesh.positions[piece].as_dvec3() + centre[piece] / f64::max(area[piece], f64::MIN_POSITIVE);
    }
    let mut is_open = vec![false; n];
    for users in EdgeTable::new(n, &mesh.triangles).iter().filter(|users| users.len() == 1) {
        is_open[piece_of[mesh.triangles[users[0].face() as usize][0] as usize] as usize] = true;
    }
    Volumes { piece_of, volume, centre, is_open }
}
