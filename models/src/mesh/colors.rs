//! Colours of vertices: what new vertices get, and colours as differences are seen in them.

use glam::Vec3;

use crate::image::srgb;

/// Colours of the first vertices of a mesh, `None` where they are not known, completed for all
/// `n`: each vertex without one takes the mean of its neighbours that have one, once for each
/// triangle that they share, those nearest to known ones first. Where a whole piece has none it is white, as glTF has it.
pub(super) fn completed(known: Vec<Option<Vec3>>, n: usize, triangles: &[[u32; 3]]) -> Vec<Vec3> {
    let mut colors = known;
    colors.resize(n, None);
    let is_open = |colors: &[Option<Vec3>], t: &&[u32; 3]| t.iter().any(|&v| colors[v as usize].is_none());
    let mut open: Vec<[u32; 3]> = triangles.iter().filter(|t| is_open(&colors, t)).copied().collect();
    while !open.is_empty() {
        let mut sums: Vec<(u32, Vec3)> = Vec::new();
        for t in &open {
            for k in 0..3 {
                let ends = [t[(k + 1) % 3], t[(k + 2) % 3]].into_iter().filter_map(|v| colors[v as usize]);
                if colors[t[k] as usize].is_none() {
                    sums.extend(ends.map(|color| (t[k], color)));
                }
            }
        }
        if sums.is_empty() {
            break;
        }
        sums.sort_by_key(|(v, _)| *v);
        for of_one in sums.chunk_by(|a, b| a.0 == b.0) {
            let sum: Vec3 = of_one.iter().map(|(_, color)| *color).sum();
            colors[of_one[0].0 as usize] = Some(sum / of_one.len() as f32);
        }
        open.retain(|t| is_open(&colors, &t));
    }
    colors.into_iter().map(|color| color.unwrap_or(Vec3::ONE)).collect()
}

/// The mean colour of all vertices that `same` gives one number, at each vertex.
pub(super) fn joined(colors: &[Vec3], same: &[u32]) -> Vec<Vec3> {
    let mut sums = vec![(Vec3::ZERO, 0.0f32); colors.len()];
    for (color, &one) in colors.iter().zip(same) {
        let (sum, n) = &mut sums[one as usize];
        *sum += *color;
        *n += 1.0;
    }
    same.iter().map(|&one| sums[one as usize].0 / sums[one as usize].1).collect()
}

/// sRGB-encoded, in which equal steps look about equal.
pub(super) fn seen(color: Vec3) -> Vec3 {
    color.clamp(Vec3::ZERO, Vec3::ONE).map(|v| srgb::encoded(f64::from(v)) as f32)
}

/// Linear again.
pub(super) fn linear(color: Vec3) -> Vec3 {
    color.clamp(Vec3::ZERO, Vec3::ONE).map(srgb::to_linear)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vertices_without_a_colour_take_their_neighbours_and_lone_ones_are_white() {
        let known = vec![Some(Vec3::X), Some(Vec3::Y), None];
        let colors = completed(known, 8, &[[0, 1, 2], [1, 2, 3], [5, 6, 7]]);
        assert_eq!(colors[..2], [Vec3::X, Vec3::Y]);
        // One neighbour is in both of its triangles.
        assert!(colors[2].distance(Vec3::new(1.0, 2.0, 0.0) / 3.0) < 1e-6, "{}", colors[2]);
        // In the first round only its neighbour with a colour counts.
        assert_eq!(colors[3], Vec3::Y);
        assert_eq!(colors[4..], [Vec3::ONE; 4]);
    }

    #[test]
    fn joined_vertices_share_a_mean_and_seen_colours_come_back() {
        assert_eq!(
            joined(&[Vec3::X, Vec3::Y, Vec3::Z], &[0, 1, 0]),
            [Vec3::new(0.5, 0.0, 0.5), Vec3::Y, Vec3::new(0.5, 0.0, 0.5)]
        );
        for color in [Vec3::ZERO, Vec3::new(0.002, 0.2, 0.9), Vec3::ONE] {
            assert!(linear(seen(color)).distance(color) < 1e-5, "{color}");
        }
    }
}
