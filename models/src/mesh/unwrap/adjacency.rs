//! Which faces share an edge.

/// No face.
pub const NONE: u32 = u32::MAX;

/// For each face the face across its edges 0-1, 1-2 and 2-0; `NONE` where the
/// surface ends, or where more than two faces meet in the edge.
pub fn neighbours(faces: &[[u32; 3]]) -> Vec<[u32; 3]> {
    let mut sides: Vec<(u64, u32)> = Vec::with_capacity(faces.len() * 3);
    for (f, &[a, b, c]) in faces.iter().enumerate() {
        for (k, (from, to)) in [(a, b), (b, c), (c, a)].into_iter().enumerate() {
            sides.push((u64::from(from.min(to)) << 32 | u64::from(from.max(to)), (f * 3 + k) as u32));
        }
    }
    sides.sort_unstable();
    let mut neighbours = vec![[NONE; 3]; faces.len()];
    for edge in sides.chunk_by(|a, b| a.0 == b.0) {
        if let [(_, a), (_, b)] = edge {
            neighbours[(a / 3) as usize][(a % 3) as usize] = b / 3;
            neighbours[(b / 3) as usize][(b % 3) as usize] = a / 3;
        }
    }
    neighbours
}
