//! Meshes that are exactly their own mirror image in the plane z = 0.

use std::collections::{BTreeMap, HashMap};

use glam::Vec3;

use super::Mesh;

/// The +Z half of a mesh that is exactly its own mirror image in z = 0.
pub struct FrontHalf {
    /// With vertices of its own; its border lies in the plane.
    pub mesh: Mesh,
    /// Positions off the mirror plane, by x.
    raised: Vec<Vec3>,
}

impl FrontHalf {
    /// `None` for any mesh that is not mirrored, crosses the plane other than at
    /// vertices, or has texture coordinates or colours. Bit-equal positions must be welded.
    pub fn of(mesh: &Mesh) -> Option<FrontHalf> {
        let front = front_triangles(&mesh.positions, &mesh.triangles)
            .filter(|_| mesh.uvs.is_empty() && mesh.colors.is_empty())?;
        let mut half = Mesh { triangles: front, front: mesh.front, ..Mesh::default() };
        let mut index = vec![u32::MAX; mesh.positions.len()];
        for v in half.triangles.iter_mut().flatten() {
            let i = &mut index[*v as usize];
            if *i == u32::MAX {
                *i = half.positions.len() as u32;
                half.positions.push(mesh.positions[*v as usize]);
                half.normals.extend(mesh.normals.get(*v as usize));
            }
            *v = *i;
        }
        let mut raised: Vec<Vec3> = half.positions.iter().copied().filter(|p| p.z != 0.0).collect();
        raised.sort_by(|a, b| a.x.total_cmp(&b.x));
        Some(FrontHalf { mesh: half, raised })
    }

    /// Where an inner vertex, an inner edge or a whole triangle lies in the
    /// mirror plane, front and back would coincide: it is raised to the original's
    /// height, an edge or triangle by a vertex in its middle.
    pub fn lift_flat_spots(&self, mut positions: Vec<Vec3>, triangles: Vec<[u32; 3]>) -> (Vec<Vec3>, Vec<[u32; 3]>) {
        let edges = |[a, b, c]: [u32; 3]| [(a, b), (b, c), (c, a)].map(|(u, v)| (u.min(v), u.max(v)));
        let mut n_users: BTreeMap<(u32, u32), u32> = BTreeMap::new();
        for (u, v) in triangles.iter().flat_map(|&t| edges(t)) {
            if positions[u as usize].z == 0.0 && positions[v as usize].z == 0.0 {
                *n_users.entry((u, v)).or_default() += 1;
            }
        }
        // A vertex in the plane that is not on the border was part of a hole that has closed.
        let mut on_border = vec![false; positions.len()];
        for (&(u, v), _) in n_users.iter().filter(|&(_, &n)| n == 1) {
            (on_border[u as usize], on_border[v as usize]) = (true, true);
        }
        for &v in triangles.iter().flatten() {
            let p = &mut positions[v as usize];
            if p.z == 0.0 && !on_border[v as usize] {
                *p = self.lifted(*p);
            }
        }
        let in_plane = |v: u32| on_border.get(v as usize) == Some(&true);

        let mut middles: BTreeMap<(u32, u32), u32> = BTreeMap::new();
        for ((u, v), _) in n_users.into_iter().filter(|&((u, v), n)| n > 1 && in_plane(u) && in_plane(v)) {
            middles.insert((u, v), positions.len() as u32);
            positions.push(self.lifted((positions[u as usize] + positions[v as usize]) / 2.0));
        }

        let mut lifted = Vec::with_capacity(triangles.len() + 4 * middles.len());
        for triangle in triangles {
            let middle = edges(triangle).map(|edge| middles.get(&edge).copied());
            // Turned so that a lone split edge comes first, a lone whole edge last.
            let turned = |first: usize| [0, 1, 2].map(|i| triangle[(first + i) % 3]);
            match middle {
                [None, None, None] if triangle.iter().all(|&v| in_plane(v)) => {
                    let [a, b, c] = triangle;
                    let centre = positions.len() as u32;
                    let sum: Vec3 = triangle.iter().map(|&v| positions[v as usize]).sum();
                    positions.push(self.lifted(sum / 3.0));
                    lifted.extend([[a, b, centre], [b, c, centre], [c, a, centre]]);
                }
                [None, None, None] => lifted.push(triangle),
                [Some(ab), Some(bc), Some(ca)] => {
                    let [a, b, c] = triangle;
                    lifted.extend([[a, ab, ca], [ab, b, bc], [ca, bc, c], [ab, bc, ca]]);
                }
                _ => {
                    let n_split = middle.iter().flatten().count();
                    let first = (0..3).find(|&i| match n_split {
                        1 => middle[i].is_some(),
                        _ => middle[(i + 2) % 3].is_none(),
                    });
                    let first = first.unwrap_or(0);
                    let [a, b, c] = turned(first);
                    let Some(ab) = middle[first] else { continue };
                    match middle[(first + 1) % 3] {
                        None => lifted.extend([[a, ab, c], [ab, b, c]]),
                        Some(bc) => lifted.extend([[ab, b, bc], [a, ab, bc], [a, bc, c]]),
                    }
                }
            }
        }
        (positions, lifted)
    }

    /// The point in the mirror plane, raised to the original surface about there.
    fn lifted(&self, point: Vec3) -> Vec3 {
        let start = self.raised.partition_point(|p| p.x < point.x);
        let (mut best, mut z) = (f32::INFINITY, 0.0);
        let mut look = |p: &Vec3| {
            let distance = p.truncate().distance_squared(point.truncate());
            if distance < best {
                (best, z) = (distance, p.z);
            }
            (p.x - point.x).powi(2) <= best
        };
        // Outwards in both directions until x alone is further than the nearest so far.
        let _ = self.raised[start..].iter().all(&mut look);
        let _ = self.raised[..start].iter().rev().all(&mut look);
        point.with_z(z)
    }
}

/// Adds the mirror image of every triangle. Vertices at z = 0 are shared.
pub fn with_mirror_image(positions: &[Vec3], triangles: &[[u32; 3]]) -> (Vec<Vec3>, Vec<[u32; 3]>) {
    let mut all = positions.to_vec();
    let behind: Vec<u32> = (0..positions.len() as u32)
        .map(|i| {
            let p = positions[i as usize];
            if p.z == 0.0 {
                return i;
            }
            all.push(mirrored(p));
            (all.len() - 1) as u32
        })
        .collect();
    let back = triangles.iter().map(|&[a, b, c]| [a, c, b].map(|v| behind[v as usize]));
    (all, triangles.iter().copied().chain(back).collect())
}

fn front_triangles(positions: &[Vec3], triangles: &[[u32; 3]]) -> Option<Vec<[u32; 3]>> {
    let key = |p: Vec3| (p + Vec3::ZERO).to_array().map(f32::to_bits);
    let mut index = HashMap::with_capacity(positions.len());
    for (i, &p) in positions.iter().enumerate() {
        index.insert(key(p), i as u32);
    }
    let twin: Vec<u32> = positions.iter().map(|&p| index.get(&key(mirrored(p))).copied()).collect::<Option<_>>()?;

    let z = |v: u32| positions[v as usize].z;
    let mut front = Vec::with_capacity(triangles.len() / 2);
    let mut back = Vec::with_capacity(triangles.len() / 2);
    for &triangle in triangles {
        let (low, high) = triangle.iter().fold((0.0f32, 0.0f32), |(l, h), &v| (l.min(z(v)), h.max(z(v))));
        match (low < 0.0, high > 0.0) {
            (false, true) => front.push(triangle),
            (true, false) => back.push(triangle),
            _ => return None,
        }
    }
    let behind = |[a, b, c]: [u32; 3]| smallest_first([a, c, b].map(|v| twin[v as usize]));
    let mut expected: Vec<[u32; 3]> = front.iter().map(|&t| behind(t)).collect();
    let mut found: Vec<[u32; 3]> = back.into_iter().map(smallest_first).collect();
    expected.sort_unstable();
    found.sort_unstable();
    (expected == found).then_some(front)
}

fn mirrored(p: Vec3) -> Vec3 {
    Vec3::new(p.x, p.y, -p.z)
}

fn smallest_first([a, b, c]: [u32; 3]) -> [u32; 3] {
    if a <= b && a <= c {
        [a, b, c]
    } else if b <= c {
        [b, c, a]
    } else {
        [c, a, b]
    }
}
