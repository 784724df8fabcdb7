//! Joins open edges that nearly meet.
//!
//! Only vertices on open edges are looked at: what is closed has no gap to
//! close, however near its vertices are to each other.

use std::collections::HashMap;

use glam::{DVec3, Vec3};

use super::{
    super::topology::{DisjointSets, EdgeTable},
    faces::Soup,
};

/// Passes over edges that vertices lie on; one side of a face is split in each.
const MAX_PASSES: usize = 8;
/// Cells that an average edge may cross while its surroundings are searched.
const MAX_CELLS: f64 = 20.0;

/// Vertices on open edges that are at most `reach` apart become one, that with
/// the lowest index; `weld`, which names the vertex that stands for each, is kept
/// up. Faces that lose a corner go. Returns how many vertices went.
pub(super) fn join_open_vertices(positions: &[Vec3], soup: &mut Soup, weld: &mut [u32], reach: f32) -> usize {
    let open = open_edges(positions.len(), soup);
    if open.is_empty() {
        return 0;
    }
    let vertices = open_vertices(soup, &open);
    let cell = 2.0 * reach as f64;
    let low = vertices.iter().fold(Vec3::INFINITY, |low, &v| low.min(positions[v as usize])).as_dvec3();
    let place = |v: u32| (positions[v as usize].as_dvec3() - low) / cell;
    let mut cells: HashMap<[i64; 3], Vec<u32>> = HashMap::with_capacity(vertices.len());
    let mut same = DisjointSets::new(positions.len());
    for &v in &vertices {
        let at = place(v);
        let here = at.floor().as_i64vec3();
        // Whatever is within reach lies in this cell or on the near side's neighbours.
        let side = (at.fract() - 0.5).signum().as_i64vec3();
        for corner in 0..8 {
            let step = [side.x * (corner & 1), side.y * (corner >> 1 & 1), side.z * (corner >> 2)];
            for &other in cells.get(&[here.x + step[0], here.y + step[1], here.z + step[2]]).into_iter().flatten() {
                if positions[v as usize].distance_squared(positions[other as usize]) <= reach * reach {
                    same.join(v, other);
                }
            }
        }
        cells.entry(here.to_array()).or_default().push(v);
    }
    let n_joined = vertices.iter().filter(|&&v| same.find(v) != v).count();
    if n_joined > 0 {
        weld.iter_mut().for_each(|v| *v = same.find(*v));
        for v in soup.faces.iter_mut().flatten() {
            *v = same.find(*v);
        }
        let kept: Vec<bool> = soup.faces.iter().map(|&[a, b, c]| a != b && b != c && c != a).collect();
        *soup = std::mem::replace(soup, Soup { faces: Vec::new(), origin: Vec::new() }).kept(&kept);
    }
    n_joined
}

/// Where vertices on open edges lie within `reach` of another open edge, the
/// face of that edge is split there, so that the edges can meet. Returns how
/// many times a face was split.
pub(super) fn split_at_open_vertices(positions: &[Vec3], soup: &mut Soup, reach: f32) -> usize {
    let mut n_split = 0;
    // After the first pass only faces that were split are of interest.
    let mut active = vec![true; soup.faces.len()];
    for _ in 0..MAX_PASSES {
        let open = open_edges(positions.len(), soup);
        if open.is_empty() {
            break;
        }
        let grid = Grid::of(positions, soup, &open, reach);
        let mut splits: Vec<(usize, usize, Vec<u32>)> = Vec::new();
        let mut taken = vec![false; soup.faces.len()];
        for &(f, side) in &open {
            if taken[f] || !active[f] {
                continue;
            }
            let face = soup.faces[f];
            let [from, to] = [side, (side + 1) % 3].map(|i| positions[face[i] as usize].as_dvec3());
            let along = to - from;
            let mut on_edge: Vec<(f64, u32)> = Vec::new();
            grid.near(from, to, |v| {
                let p = positions[v as usize].as_dvec3() - from;
                let t = p.dot(along) / along.length_squared();
                let from_ends = (t * along.length()).min((1.0 - t) * along.length());
                let near = (p - along * t).length() <= reach as f64 && from_ends > reach as f64;
                if near && !face.contains(&v) {
                    on_edge.push((t, v));
                }
            });
            if !on_edge.is_empty() {
                on_edge.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
                on_edge.dedup_by_key(|&mut (_, v)| v);
                taken[f] = true;
                splits.push((f, side, on_edge.into_iter().map(|(_, v)| v).collect()));
            }
        }
        if splits.is_empty() {
            break;
        }
        active = taken;
        for (f, side, middles) in splits {
            n_split += middles.len();
            let [u, v, apex] = [0, 1, 2].map(|i| soup.faces[f][(side + i) % 3]);
            let chain: Vec<u32> = [u].into_iter().chain(middles).chain([v]).collect();
            soup.faces[f] = [chain[0], chain[1], apex];
            for pair in chain[1..].windows(2) {
                soup.faces.push([pair[0], pair[1], apex]);
                soup.origin.push(soup.origin[f]);
                active.push(true);
            }
        }
    }
    n_split
}

/// Face and side of each edge that one face alone has.
fn open_edges(n_vertices: usize, soup: &Soup) -> Vec<(usize, usize)> {
    let edges = EdgeTable::new(n_vertices, &soup.faces);
    edges
        .iter()
        .filter_map(|users| if let [one] = users { Some((one.face() as usize, one.side())) } else { None })
        .collect()
}

fn open_vertices(soup: &Soup, open: &[(usize, usize)]) -> Vec<u32> {
    let ends = |&(f, side): &(usize, usize)| [soup.faces[f][side], soup.faces[f][(side + 1) % 3]];
    let mut vertices: Vec<u32> = open.iter().flat_map(ends).collect();
    vertices.sort_unstable();
    vertices.dedup();
    vertices
}

/// Vertices on open edges by place.
struct Grid {
    low: DVec3,
    cell: f64,
    cells: HashMap<[i32; 3], Vec<u32>>,
}

impl Grid {
    /// Each vertex is in all cells within `reach` of it. Cells are small enough
    /// to hold few vertices of a surface and large enough that edges cross few.
    fn of(positions: &[Vec3], soup: &Soup, open: &[(usize, usize)], reach: f32) -> Grid {
        let vertices = open_vertices(soup, open);
        let at = |v: u32| positions[v as usize].as_dvec3();
        let low = vertices.iter().fold(DVec3::INFINITY, |low, &v| low.min(at(v)));
        let high = vertices.iter().fold(DVec3::NEG_INFINITY, |high, &v| high.max(at(v)));
        let length = |&(f, side): &(usize, usize)| at(soup.faces[f][side]).distance(at(soup.faces[f][(side + 1) % 3]));
        let mean = open.iter().map(length).sum::<f64>() / open.len() as f64;
        let even = low.distance(high) / (vertices.len() as f64).sqrt();
        // At most 2^20 cells along an axis.
        let cell = even.max(mean / MAX_CELLS).max(4.0 * reach as f64).max(low.distance(high) / 1048576.0);
        let low = low - reach as f64;
        let mut cells: HashMap<[i32; 3], Vec<u32>> = HashMap::with_capacity(vertices.len());
        for v in vertices {
            let [first, last] = [-1.0, 1.0].map(|side| ((at(v) + side * reach as f64 - low) / cell).floor().as_ivec3());
            for x in first.x..=last.x {
                for y in first.y..=last.y {
                    for z in first.z..=last.z {
                        cells.entry([x, y, z]).or_default().push(v);
                    }
                }
            }
        }
        Grid { low, cell, cells }
    }

    /// Calls `look` with the vertices of all cells that the segment crosses, some
    /// perhaps more than once.
    fn near(&self, from: DVec3, to: DVec3, mut look: impl FnMut(u32)) {
        let [from, to] = [from, to].map(|p| (p - self.low) / self.cell);
        let (mut at, last) = (from.floor().as_ivec3(), to.floor().as_ivec3());
        let along = to - from;
        let n_cells = (last - at).abs().element_sum();
        // The cell boundary that comes next along each axis, as a share of the way
        // (Amanatides and Woo 1987).
        for step in 0..=n_cells {
            for &v in self.cells.get(&at.to_array()).into_iter().flatten() {
                look(v);
            }
            if step == n_cells {
                break;
            }
            let way = |axis: usize| {
                if at[axis] == last[axis] {
                    return f64::INFINITY;
                }
                let next = at[axis] as f64 + if along[axis] > 0.0 { 1.0 } else { 0.0 };
                (next - from[axis]) / along[axis]
            };
            let ways = [way(0), way(1), way(2)];
            let axis = (0..3).min_by(|&i, &j| ways[i].total_cmp(&ways[j])).unwrap_or(0);
            at[axis] += (last[axis] - at[axis]).signum();
        }
    }
}
