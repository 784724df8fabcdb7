//! Meshes that are exactly their own mirror image in the plane z = 0.

use std::collections::HashMap;

use glam::Vec3;

/// The triangles on the +Z side of a mesh that is exactly mirrored about z = 0
/// and crosses that plane nowhere, `None` for any other mesh. Bit-equal
/// positions must be welded.
pub fn front_half(positions: &[Vec3], triangles: &[[u32; 3]]) -> Option<Vec<[u32; 3]>> {
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
