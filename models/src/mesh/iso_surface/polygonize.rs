//! Triangles from the values in bricks: marching cubes with the asymptotic
//! decider on faces (Nielson and Hamann, 1991) and tunnels within cells.
//!
//! In: bricks in which every cell that the surface crosses has all its corners.
//! Out: a closed manifold. It is one because each crossed edge has one vertex,
//! a face's crossing depends on that face's four values alone (exactly: products
//! of f32 are exact in f64), and no triangle edge within a cell joins two
//! vertices of one of its faces unless the surface crosses the face there.
//! Vertices stay 1/1024 of a cell away from the lattice's points, so that no two coincide.

use glam::{DVec3, Vec3};
use rayon::prelude::*;

use super::{
    bricks::{BLOCK_SIDE, Bricks, N_BLOCK_POINTS, N_BRICK_POINTS, NONE, SIDE},
    cube::{CASES, CENTRE, Case, edge_start, face_ring},
    lattice::{Index, Lattice},
    tunnel::{self, Tunnel},
};
use crate::{
    error::{StageError, StageErrorKind},
    mesh::Mesh,
};

/// Nearest that a vertex comes to a lattice point, in cells.
const NEAREST: f64 = 1.0 / 1024.0;

pub struct Polygonized {
    pub mesh: Mesh,
    /// Where the first vertices of the mesh lie; the others are within cells.
    pub on_edges: Vec<EdgeVertex>,
    /// Cells that the surface crosses.
    pub n_cells: u64,
}

/// A vertex on an edge of the lattice.
#[derive(Debug, Clone, Copy)]
pub struct EdgeVertex {
    /// Lower end of the edge.
    pub low: Index,
    pub axis: u8,
    /// Values at both ends, positive inside.
    pub ends: [f32; 2],
}

impl EdgeVertex {
    /// How far along the edge linear interpolation puts the vertex, 0..1.
    fn share(&self) -> f64 {
        share_of(self.ends[0], self.ends[1])
    }

    /// A place on the edge, kept off its ends.
    pub fn position(&self, lattice: &Lattice, share: f64) -> Vec3 {
        let mut index = self.low.map(f64::from);
        index[self.axis as usize] += share.clamp(NEAREST, 1.0 - NEAREST);
        lattice.at(index).as_vec3()
    }
}

fn share_of(a: f32, b: f32) -> f64 {
    (a as f64 / (a as f64 - b as f64)).clamp(NEAREST, 1.0 - NEAREST)
}

/// Vertices on edges in order of their bricks, points and axes, then those within cells.
pub fn polygonize(bricks: &Bricks) -> Result<Polygonized, StageError> {
    let places = bricks.places_in_order();
    let mut crossings: Vec<(Crossings, Vec<EdgeVertex>)> =
        places.par_iter().map(|&place| Crossings::of(place, &bricks.block(place))).collect();
    let mut slot_of = vec![NONE; places.len()];
    let mut n_on_edges = 0u64;
    for (slot, (place, (found, points))) in places.iter().zip(&mut crossings).enumerate() {
        slot_of[bricks.find(*place) as usize] = slot as u32;
        found.first = n_on_edges as u32;
        n_on_edges += points.len() as u64;
    }
    check_count(n_on_edges)?;

    let pieces: Vec<Piece> = places
        .par_iter()
        .map(|&place| {
            let owners = std::array::from_fn(|corner| {
                let brick = bricks.find(std::array::from_fn(|a| place[a] + (corner as u16 >> a & 1)));
                slot_of.get(brick as usize).map(|&slot| &crossings[slot as usize].0)
            });
            let mut piece = Piece { n_on_edges: n_on_edges as u32, ..Piece::default() };
            piece.fill(&bricks.lattice, place, &bricks.block(place), &owners);
            piece
        })
        .collect();
    check_count(n_on_edges + pieces.iter().map(|piece| piece.inner.len() as u64).sum::<u64>())?;

    let mut mesh = Mesh::default();
    mesh.positions.reserve_exact(n_on_edges as usize + pieces.iter().map(|piece| piece.inner.len()).sum::<usize>());
    mesh.triangles.reserve_exact(pieces.iter().map(|piece| piece.triangles.len()).sum());
    let on_edges: Vec<EdgeVertex> = crossings.into_iter().flat_map(|(_, points)| points).collect();
    mesh.positions.extend(on_edges.iter().map(|vertex| vertex.position(&bricks.lattice, vertex.share())));
    let mut n_cells = 0;
    for piece in &pieces {
        let shift = mesh.positions.len() as u32 - n_on_edges as u32;
        let place = |v: u32| if v < n_on_edges as u32 { v } else { v + shift };
        mesh.triangles.extend(piece.triangles.iter().map(|t| t.map(place)));
        mesh.positions.extend_from_slice(&piece.inner);
        n_cells += piece.n_cells;
    }
    Ok(Polygonized { mesh, on_edges, n_cells })
}

fn check_count(n_vertices: u64) -> Result<(), StageError> {
    if n_vertices < NONE as u64 {
        return Ok(());
    }
    Err(StageError::new(
        StageErrorKind::TooLarge,
        format!("surface of {n_vertices} vertices is over the limit of {NONE}"),
        "lower the resolution",
    ))
}

/// Which of a brick's edges the surface crosses. An edge belongs to its lower point.
struct Crossings {
    /// One bit a point, for each axis in turn.
    bits: [u64; 3 * N_BRICK_POINTS / 64],
    /// Set bits before each word.
    before: [u16; 3 * N_BRICK_POINTS / 64],
    /// Number of the brick's first vertex.
    first: u32,
}

impl Crossings {
    fn of(place: [u16; 3], block: &[f32; N_BLOCK_POINTS]) -> (Crossings, Vec<EdgeVertex>) {
        let mut found = Crossings { bits: [0; 24], before: [0; 24], first: 0 };
        let mut points = Vec::new();
        for axis in 0..3 {
            let step = [1, BLOCK_SIDE, BLOCK_SIDE * BLOCK_SIDE][axis];
            for point in 0..N_BRICK_POINTS {
                let within = [point % SIDE, point / SIDE % SIDE, point / SIDE / SIDE];
                let at = (within[2] * BLOCK_SIDE + within[1]) * BLOCK_SIDE + within[0];
                let (a, b) = (block[at], block[at + step]);
                if a.is_nan() || b.is_nan() || (a > 0.0) == (b > 0.0) {
                    continue;
                }
                let bit = axis * N_BRICK_POINTS + point;
                found.bits[bit / 64] |= 1 << (bit % 64);
                let low = std::array::from_fn(|i| place[i] * SIDE as u16 + within[i] as u16);
                points.push(EdgeVertex { low, axis: axis as u8, ends: [a, b] });
            }
        }
        for word in 1..24 {
            found.before[word] = found.before[word - 1] + found.bits[word - 1].count_ones() as u16;
        }
        (found, points)
    }

    /// Number of the vertex on an edge that is crossed.
    fn vertex(&self, axis: usize, point: usize) -> u32 {
        let bit = axis * N_BRICK_POINTS + point;
        let below = self.bits[bit / 64] & ((1 << (bit % 64)) - 1);
        self.first + self.before[bit / 64] as u32 + below.count_ones()
    }
}

/// What the cells of one brick make.
#[derive(Default)]
struct Piece {
    triangles: Vec<[u32; 3]>,
    /// Vertices within cells, numbered from `n_on_edges`.
    inner: Vec<Vec3>,
    n_on_edges: u32,
    n_cells: u64,
}

impl Piece {
    fn fill(
        &mut self,
        lattice: &Lattice,
        place: [u16; 3],
        block: &[f32; N_BLOCK_POINTS],
        owners: &[Option<&Crossings>; 8],
    ) {
        // One row of points in each word.
        let row = |test: fn(f32) -> bool| -> [u16; BLOCK_SIDE * BLOCK_SIDE] {
            std::array::from_fn(|r| {
                (0..BLOCK_SIDE).fold(0, |bits, x| bits | (test(block[r * BLOCK_SIDE + x]) as u16) << x)
            })
        };
        let inside = row(|d| d > 0.0);
        let known = row(|d| !d.is_nan());
        for z in 0..SIDE {
            for y in 0..SIDE {
                let r = z * BLOCK_SIDE + y;
                let rows = [r, r + 1, r + BLOCK_SIDE, r + BLOCK_SIDE + 1];
                let any = rows.iter().fold(0, |bits, &r| bits | inside[r]);
                let all = rows.iter().fold(u16::MAX, |bits, &r| bits & inside[r]);
                let known = rows.iter().fold(u16::MAX, |bits, &r| bits & known[r]);
                let mut crossed = (any | any >> 1) & !(all & all >> 1) & known & known >> 1 & 0xff;
                while crossed != 0 {
                    let x = crossed.trailing_zeros() as usize;
                    crossed &= crossed - 1;
                    let corner =
                        |c: usize| block[((z + (c >> 2)) * BLOCK_SIDE + y + (c >> 1 & 1)) * BLOCK_SIDE + x + (c & 1)];
                    let cell = Cell { within: [x, y, z], values: std::array::from_fn(corner), lattice, place };
                    self.n_cells += 1;
                    self.add(&cell, owners);
                }
            }
        }
    }

    fn add(&mut self, cell: &Cell, owners: &[Option<&Crossings>; 8]) {
        let case = case_of(&cell.values);
        let vertex = |edge: u8| cell.vertex(edge, owners);
        let tunnel = tunnel_of(case, &cell.values);
        if let Some((tunnel, pair)) = &tunnel {
            self.add_tunnel(cell, tunnel, pair.map(|i| case.loops[i].edges.as_slice()), &vertex);
        }
        for (i, patch) in case.loops.iter().enumerate() {
            if tunnel.as_ref().is_some_and(|(_, pair)| pair.contains(&i)) {
                continue;
            }
            let has_centre = patch.triangles[0].contains(&CENTRE);
            let centre = self.n_on_edges + self.inner.len() as u32;
            if has_centre {
                let sum: DVec3 = patch.edges.iter().map(|&edge| cell.crossing(edge)).sum();
                self.inner.push(cell.position(sum / patch.edges.len() as f64));
            }
            let number = |v: u8| if v == CENTRE { centre } else { vertex(v) };
            self.triangles.extend(patch.triangles.iter().map(|t| t.map(number)));
        }
    }

    /// A band from each of two loops to the ring between them.
    fn add_tunnel(&mut self, cell: &Cell, tunnel: &Tunnel, loops: [&[u8]; 2], vertex: &dyn Fn(u8) -> u32) {
        let first = self.n_on_edges + self.inner.len() as u32;
        self.inner.extend(tunnel.ring.map(|p| cell.position(p)));
        let mut ring: Vec<(u32, DVec3)> = (first..).zip(tunnel.ring).collect();
        let curves = loops.map(|edges| -> Vec<(u32, DVec3)> {
            edges.iter().map(|&edge| (vertex(edge), cell.crossing(edge))).collect()
        });
        if winding(&ring, tunnel.axis) * winding(&curves[0], tunnel.axis) < 0.0 {
            ring.reverse();
        }
        self.add_band(&curves[0], &ring);
        ring.reverse();
        self.add_band(&curves[1], &ring);
    }

    /// Triangles between two closed curves that run the same way around, the surface to the left of `curve`.
    fn add_band(&mut self, curve: &[(u32, DVec3)], ring: &[(u32, DVec3)]) {
        let (n, m) = (curve.len(), ring.len());
        let nearest = (0..m)
            .min_by(|&a, &b| ring[a].1.distance_squared(curve[0].1).total_cmp(&ring[b].1.distance_squared(curve[0].1)))
            .unwrap_or(0);
        let on_ring = |j: usize| ring[(nearest + j) % m];
        let (mut i, mut j) = (0, 0);
        while i < n || j < m {
            // The shorter way on, but neither curve gets as far as half a turn ahead:
            // else an edge between them could be drawn twice.
            let (here, there) = (curve[i % n], on_ring(j));
            let (here_next, there_next) = (curve[(i + 1) % n], on_ring(j + 1));
            let lead = (i * m) as isize - (j * n) as isize;
            let limit = (n * m / 2) as isize;
            let along_curve = if i == n || lead + m as isize >= limit {
                false
            } else if j == m || lead - (n as isize) <= -limit {
                true
            } else {
                here_next.1.distance_squared(there.1) <= here.1.distance_squared(there_next.1)
            };
            if along_curve {
                self.triangles.push([here.0, here_next.0, there.0]);
                i += 1;
            } else {
                self.triangles.push([here.0, there_next.0, there.0]);
                j += 1;
            }
        }
    }
}

/// Twice the signed area of a closed curve seen along an axis.
fn winding(curve: &[(u32, DVec3)], axis: DVec3) -> f64 {
    let n = curve.len();
    (0..n).map(|i| curve[i].1.cross(curve[(i + 1) % n].1)).sum::<DVec3>().dot(axis)
}

/// Corners that are inside, a bit each.
fn inside_of(values: &[f32; 8]) -> u8 {
    (0..8).fold(0, |bits, c| bits | ((values[c] > 0.0) as u8) << c)
}

/// The loops in which the surface crosses the boundary of a cell with these corners.
pub fn case_of(values: &[f32; 8]) -> &'static Case {
    let inside = inside_of(values);
    let ambiguous = CASES.ambiguous(inside);
    let joins = |face: &u8| {
        let ring = face_ring(*face).map(|c| values[c as usize] as f64);
        let (even, odd) = (ring[0] * ring[2], ring[1] * ring[3]);
        // The saddle of the face has the sign of the pair with the larger product.
        if ring[0] > 0.0 { even > odd } else { odd > even }
    };
    let joined = (0..6).filter(|face| ambiguous >> face & 1 == 1 && joins(face)).fold(0, |mask, f| mask | 1 << f);
    CASES.get(inside, joined)
}

/// A tunnel in a cell and the two loops that it joins. Of two loops both. Three
/// loops around a tunnel are one in the middle and one around each of two opposite
/// corners; the tunnel leads to the corner on its own side of the surface.
pub fn tunnel_of(case: &Case, values: &[f32; 8]) -> Option<(Tunnel, [usize; 2])> {
    let n_loops = case.loops.len();
    if !(2..=3).contains(&n_loops) {
        return None;
    }
    let tunnel = tunnel::find(*values)?;
    if n_loops == 2 {
        return Some((tunnel, [0, 1]));
    }
    let inside = inside_of(values);
    let middle = case.loops.iter().position(|l| l.edges.len() == 6)?;
    let end = case.loops.iter().position(|l| {
        l.edges.len() == 3 && corner_within(&l.edges).is_some_and(|c| (inside >> c & 1 == 1) == tunnel.is_inside)
    })?;
    Some((tunnel, [middle, end]))
}

/// The corner that three edges share.
fn corner_within(edges: &[u8]) -> Option<u8> {
    let ends = |edge: u8| {
        let (axis, start) = edge_start(edge);
        [start, start | 1 << axis]
    };
    (0..8).find(|c| edges.iter().all(|&edge| ends(edge).contains(c)))
}

struct Cell<'a> {
    /// In its brick.
    within: [usize; 3],
    values: [f32; 8],
    lattice: &'a Lattice,
    place: [u16; 3],
}

impl Cell<'_> {
    fn vertex(&self, edge: u8, owners: &[Option<&Crossings>; 8]) -> u32 {
        let (axis, start) = edge_start(edge);
        let at: [usize; 3] = std::array::from_fn(|a| self.within[a] + (start >> a & 1) as usize);
        let owner = (0..3).fold(0, |owner, a| owner | (at[a] / SIDE) << a);
        let point = (at[2] % SIDE * SIDE + at[1] % SIDE) * SIDE + at[0] % SIDE;
        // A cell with all corners known has the bricks of all its corners.
        owners[owner].map_or(NONE, |crossings| crossings.vertex(axis as usize, point))
    }

    /// Where the surface crosses an edge, in cell coordinates.
    fn crossing(&self, edge: u8) -> DVec3 {
        let (axis, start) = edge_start(edge);
        let mut at = DVec3::new((start & 1) as f64, (start >> 1 & 1) as f64, (start >> 2 & 1) as f64);
        at[axis as usize] = share_of(self.values[start as usize], self.values[(start | 1 << axis) as usize]);
        at
    }

    fn position(&self, at: DVec3) -> Vec3 {
        self.lattice
            .at(std::array::from_fn(|a| self.place[a] as f64 * SIDE as f64 + self.within[a] as f64 + at[a]))
            .as_vec3()
    }
}
