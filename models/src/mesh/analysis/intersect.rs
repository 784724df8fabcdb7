//! Triangles of a mesh that pass through each other.
//!
//! A pair counts when each triangle has corners strictly on both sides of the
//! other's plane and they meet, or when both lie in one plane and share area.
//! Mere contact, as where a corner lies on a face, does not count; neither do
//! neighbours along a common edge, unless one is folded flat onto the other, nor
//! triangles with the same three corners. Signs are exact (`robust`, after
//! Shewchuk, "Adaptive Precision Floating-Point Arithmetic", 1997), so there is
//! no tolerance.

use std::sync::atomic::{AtomicBool, Ordering};

use glam::Vec3;
use rayon::prelude::*;
use robust::{Coord, Coord3D, orient2d, orient3d};

use crate::mesh::{Mesh, bvh::Bvh};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Intersections {
    /// Pairs of triangles.
    pub n_pairs: usize,
    /// Triangles in some such pair.
    pub n_faces: usize,
    /// False when the search was cut short: then both are lower bounds.
    pub complete: bool,
}

/// Triangles that are searched between two looks at the budget.
const BLOCK: usize = 256;

/// Most triangles that are held against a single one.
const MAX_NEAR: u32 = 1 << 16;

/// `faces[i]` are the welded vertices of the mesh's triangle i. At most about
/// `max_tests` pairs with touching boxes are looked at, plus 17 million; the
/// result does not depend on the number of threads.
pub fn intersections(mesh: &Mesh, faces: &[[u32; 3]], max_tests: u64) -> Intersections {
    let tree = Bvh::with_flat_triangles(&mesh.positions, &mesh.triangles);
    let mut n_pairs = 0;
    let mut n_tests = 0;
    let mut complete = true;
    let hit: Vec<AtomicBool> = faces.iter().map(|_| AtomicBool::new(false)).collect();
    // A stride through the mesh: what is found before the budget is used up is a
    // sample of all of it. Blocks grow, for there is a wait after each.
    let mut start = 0;
    let mut block = BLOCK;
    let order = spread(faces.len());
    while start < order.len() {
        if n_tests >= max_tests {
            complete = false;
            break;
        }
        let end = (start + block).min(order.len());
        let found: Vec<Found> =
            order[start..end].par_iter().map(|&face| pairs_of(&tree, mesh, faces, face, &hit)).collect();
        for one in found {
            n_pairs += one.n_pairs;
            n_tests += u64::from(one.n_tests);
            complete &= one.complete;
        }
        start = end;
        // No block may cost much more than the first could.
        let mean = n_tests / start as u64 + 1;
        block = ((BLOCK as u64 * u64::from(MAX_NEAR) / 16 / mean) as usize).clamp(BLOCK, 1 << 15);
    }
    let n_faces = hit.iter().filter(|hit| hit.load(Ordering::Relaxed)).count();
    Intersections { n_pairs, n_faces, complete }
}

struct Found {
    n_pairs: usize,
    n_tests: u32,
    complete: bool,
}

/// All of 0..n, neighbours far apart.
fn spread(n: usize) -> Vec<u32> {
    const STRIDE: usize = 64;
    (0..STRIDE.min(n)).flat_map(|first| (first..n).step_by(STRIDE)).map(|i| i as u32).collect()
}

/// Pairs of a triangle with those that come after it in the mesh.
fn pairs_of(tree: &Bvh, mesh: &Mesh, faces: &[[u32; 3]], face: u32, hit: &[AtomicBool]) -> Found {
    let mut found = Found { n_pairs: 0, n_tests: 0, complete: true };
    let corners = |face: u32| mesh.corners(mesh.triangles[face as usize]);
    let (low, high) = bounds(corners(face));
    tree.for_each_near(low, high, |other| {
        if other <= face {
            return true;
        }
        let (other_low, other_high) = bounds(corners(other));
        if !(low.cmple(other_high) & other_low.cmple(high)).all() {
            return true;
        }
        found.n_tests += 1;
        if found.n_tests > MAX_NEAR {
            found.complete = false;
            return false;
        }
        if crosses(corners(face), faces[face as usize], corners(other), faces[other as usize]) {
            found.n_pairs += 1;
            hit[face as usize].store(true, Ordering::Relaxed);
            hit[other as usize].store(true, Ordering::Relaxed);
        }
        true
    });
    found
}

fn bounds([a, b, c]: [Vec3; 3]) -> (Vec3, Vec3) {
    (a.min(b).min(c), a.max(b).max(c))
}

/// Whether two triangles pass through each other, as the module says. Equal
/// numbers in `a_ids` and `b_ids` are the same point.
pub fn crosses(a: [Vec3; 3], a_ids: [u32; 3], b: [Vec3; 3], b_ids: [u32; 3]) -> bool {
    let distinct = |[i, j, k]: [u32; 3]| i != j && j != k && k != i;
    if !distinct(a_ids) || !distinct(b_ids) {
        return false;
    }
    let shared = |id: &u32| b_ids.contains(id);
    let n_shared = a_ids.iter().filter(|id| shared(id)).count();
    if n_shared == 3 {
        return false;
    }
    let b_sides = sides(a, a_ids, b, b_ids);
    if b_sides == [0, 0, 0] {
        return share_area(a, b);
    }
    // Along a common edge two planes meet; away from it the triangles are apart.
    if n_shared == 2 || !both(b_sides) {
        return false;
    }
    let a_sides = sides(b, b_ids, a, a_ids);
    if !both(a_sides) {
        return false;
    }
    let pierces = |from: [Vec3; 3], sides: [i8; 3], through: [Vec3; 3]| {
        (0..3).any(|k| {
            let next = (k + 1) % 3;
            sides[k] * sides[next] < 0 && passes(from[k], from[next], through)
        })
    };
    pierces(a, a_sides, b) || pierces(b, b_sides, a)
}

fn both(sides: [i8; 3]) -> bool {
    sides.contains(&1) && sides.contains(&-1)
}

/// On which side of the plane of `plane` each point is.
fn sides(plane: [Vec3; 3], plane_ids: [u32; 3], points: [Vec3; 3], ids: [u32; 3]) -> [i8; 3] {
    let mut sides = [0; 3];
    for ((side, point), id) in sides.iter_mut().zip(points).zip(ids) {
        if !plane_ids.contains(&id) {
            *side = side_of(plane, point);
        }
    }
    sides
}

/// Whether a segment that passes through the plane does so within the triangle or on its rim.
fn passes(from: Vec3, to: Vec3, [a, b, c]: [Vec3; 3]) -> bool {
    let turns = [(a, b), (b, c), (c, a)].map(|(p, q)| side_of([from, to, p], q));
    !both(turns)
}

fn side_of([a, b, c]: [Vec3; 3], p: Vec3) -> i8 {
    let coord = |v: Vec3| Coord3D { x: f64::from(v.x), y: f64::from(v.y), z: f64::from(v.z) };
    sign(orient3d(coord(a), coord(b), coord(c), coord(p)))
}

fn sign(value: f64) -> i8 {
    i8::from(value > 0.0) - i8::from(value < 0.0)
}

/// Whether two triangles of one plane have a common part with area: not when
/// a line along some side keeps them apart. Triangles without area have none.
fn share_area(a: [Vec3; 3], b: [Vec3; 3]) -> bool {
    let normal = (a[1] - a[0]).as_dvec3().cross((a[2] - a[0]).as_dvec3()).abs();
    let (u, v) = match normal.to_array() {
        [x, y, z] if x >= y && x >= z => (1, 2),
        [_, y, z] if y >= z => (2, 0),
        _ => (0, 1),
    };
    let flat = |t: [Vec3; 3]| t.map(|p| Coord { x: f64::from(p[u]), y: f64::from(p[v]) });
    let turn = |[p, q, r]: [Coord<f64>; 3]| sign(orient2d(p, q, r));
    let (a, b) = (flat(a), flat(b));
    let (a_turn, b_turn) = (turn(a), turn(b));
    let apart = |t: [Coord<f64>; 3], t_turn: i8, other: [Coord<f64>; 3]| {
        (0..3).any(|k| other.iter().all(|&p| turn([t[k], t[(k + 1) % 3], p]) * t_turn <= 0))
    };
    a_turn != 0 && b_turn != 0 && !apart(a, a_turn, b) && !apart(b, b_turn, a)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::{Mesh, shapes, test_shapes::cuboid, topology::weld_map};

    const A: [Vec3; 3] = [Vec3::ZERO, Vec3::new(2.0, 0.0, 0.0), Vec3::new(0.0, 2.0, 0.0)];

    fn at(corners: [[f32; 3]; 3]) -> [Vec3; 3] {
        corners.map(Vec3::from)
    }

    /// Both ways round and with all corners renamed: the answer must not change.
    fn cross(b: [Vec3; 3], b_ids: [u32; 3]) -> bool {
        let answers: Vec<bool> = (0..3)
            .flat_map(|k| {
                let turn = |t: [Vec3; 3]| [t[k], t[(k + 1) % 3], t[(k + 2) % 3]];
                let turn_ids = |t: [u32; 3]| [t[k], t[(k + 1) % 3], t[(k + 2) % 3]];
                let flipped = ([b[0], b[2], b[1]], [b_ids[0], b_ids[2], b_ids[1]]);
                [
                    crosses(A, [0, 1, 2], turn(b), turn_ids(b_ids)),
                    crosses(turn(b), turn_ids(b_ids), A, [0, 1, 2]),
                    crosses(turn(A), turn_ids([0, 1, 2]), flipped.0, flipped.1),
                ]
            })
            .collect();
        assert!(answers.iter().all(|&a| a == answers[0]), "{answers:?}");
        answers[0]
    }

    #[test]
    fn pairs_pass_through_touch_or_miss() {
        let through = at([[0.5, 0.5, -1.0], [0.5, 0.5, 1.0], [3.0, 3.0, 0.5]]);
        assert!(cross(through, [3, 4, 5]));
        let beside = through.map(|p| p + Vec3::new(0.0, 1.6, 0.0));
        assert!(!cross(beside, [3, 4, 5]));
        let standing_on_it = at([[0.5, 0.5, 0.0], [0.5, 0.5, 1.0], [0.7, 0.5, 1.0]]);
        assert!(!cross(standing_on_it, [3, 4, 5]), "contact in a point");
        let sunk_in = standing_on_it.map(|p| p - Vec3::Z * 1e-7);
        assert!(cross(sunk_in, [3, 4, 5]), "no tolerance");
        assert!(!cross(A.map(|p| p + Vec3::Z * 1e-7), [3, 4, 5]), "parallel");
    }

    #[test]
    fn pairs_in_one_plane_count_when_they_share_area() {
        assert!(cross(A.map(|p| p + Vec3::new(0.5, 0.5, 0.0)), [3, 4, 5]));
        assert!(cross(at([[0.1, 0.1, 0.0], [0.2, 0.1, 0.0], [0.1, 0.2, 0.0]]), [3, 4, 5]), "one within the other");
        assert!(!cross(A.map(|p| p + Vec3::new(2.0, 0.0, 0.0)), [3, 4, 5]), "touching in a corner");
        assert!(!cross(at([[2.0, 0.0, 0.0], [2.0, 2.0, 0.0], [0.0, 2.0, 0.0]]), [1, 4, 2]), "two halves of a square");
        assert!(cross(at([[2.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.0, 2.0, 0.0]]), [1, 4, 2]), "folded over");
        assert!(!cross(A, [0, 1, 2]), "the same triangle");
        assert!(cross(A, [3, 4, 5]), "the same place, other vertices");
        assert!(!cross([A[0], A[0], A[1]], [0, 0, 1]), "no area");
    }

    #[test]
    fn neighbours_in_a_corner_count_when_they_pass_through() {
        let away = at([[0.0, 0.0, 0.0], [-1.0, -1.0, 1.0], [-1.0, -1.0, -1.0]]);
        assert!(!cross(away, [0, 4, 5]));
        let through = at([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [1.0, 1.0, -1.0]]);
        assert!(cross(through, [0, 4, 5]));
        let along_an_edge = at([[0.0, 0.0, 0.0], [2.0, 0.0, 1.0], [2.0, 0.0, -1.0]]);
        assert!(!cross(along_an_edge, [0, 4, 5]), "contact along an edge");
        let folded = at([[0.0, 0.0, 0.0], [1.0, 0.2, 0.0], [0.2, 1.0, 0.0]]);
        assert!(cross(folded, [0, 4, 5]));
    }

    fn counted(mesh: &Mesh, max_tests: u64) -> Intersections {
        let weld = weld_map(&mesh.positions);
        let faces: Vec<_> = mesh.triangles.iter().map(|t| t.map(|v| weld[v as usize])).collect();
        intersections(mesh, &faces, max_tests)
    }

    #[test]
    fn sound_shapes_have_none_and_two_boxes_have_those_of_trying_all_pairs() {
        let none = Intersections { n_pairs: 0, n_faces: 0, complete: true };
        for mesh in [shapes::sphere(20), shapes::torus(16, 0.3), shapes::cube()] {
            assert_eq!(counted(&mesh, 1 << 30), none);
        }
        let mut boxes = cuboid(Vec3::ZERO, Vec3::ONE);
        let other = cuboid(Vec3::new(0.9, 0.8, 1.1), Vec3::new(0.3, 0.5, 0.7));
        boxes.triangles.extend(other.triangles.iter().map(|t| t.map(|v| v + 8)));
        boxes.positions.extend(other.positions);
        let n = boxes.triangles.len();
        let pairs: Vec<_> = (0..n)
            .flat_map(|i| (i + 1..n).map(move |j| (i, j)))
            .filter(|&(i, j)| {
                let (a, b) = (boxes.triangles[i], boxes.triangles[j]);
                crosses(boxes.corners(a), a, boxes.corners(b), b)
            })
            .collect();
        let mut faces: Vec<usize> = pairs.iter().flat_map(|&(i, j)| [i, j]).collect();
        faces.sort_unstable();
        faces.dedup();
        assert!(pairs.len() > 5);
        let found = counted(&boxes, 1 << 30);
        assert_eq!(found, Intersections { n_pairs: pairs.len(), n_faces: faces.len(), complete: true });
    }

    #[test]
    fn a_soup_is_cut_short_at_the_budget_alike_on_any_number_of_threads() {
        let mut random = fastrand::Rng::with_seed(7);
        let positions = (0..6000).map(|_| Vec3::new(random.f32(), random.f32(), random.f32())).collect();
        let triangles = (0..2000).map(|i| [3 * i, 3 * i + 1, 3 * i + 2]).collect();
        let soup = Mesh { positions, triangles, ..Mesh::default() };
        let on = |n| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap();
            pool.install(|| counted(&soup, 100_000))
        };
        let short = on(1);
        assert!(!short.complete && short.n_pairs > 1000, "{short:?}");
        assert_eq!(short, on(4));
        let all = counted(&soup, u64::MAX);
        assert!(all.complete && all.n_pairs > short.n_pairs, "{all:?}");
    }
}
