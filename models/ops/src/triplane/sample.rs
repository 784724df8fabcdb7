//! Looking points up in three planes.

use glam::Vec3;

use super::{
    super::{
        simd::{LANES, Simd, per_isa},
        tile::SHORT_DEPTH,
    },
    TriplaneDecoder,
};

impl TriplaneDecoder {
    /// Writes `3 * channels` numbers for each point, rows `stride` apart.
    ///
    /// # Panics
    /// If rows do not fit.
    pub(super) fn look_up(&self, points: &[Vec3], features: &mut [f32], stride: usize) {
        assert!(
            stride >= SHORT_DEPTH + LANES && features.len() >= points.len() * stride,
            "rows of {stride} of {} points do not fit in {}",
            points.len(),
            features.len()
        );
        // SAFETY: every row has room for 128 numbers and a vector.
        unsafe { look_up_all(self.isa, self, points, features.as_mut_ptr(), stride) }
    }

    /// The four texels around (u, v) of a plane and their weights; zero for those outside.
    #[inline(always)]
    fn corners(&self, plane: usize, u: f32, v: f32) -> [(usize, f32); 4] {
        let at = |t: f32, n: usize| (t + 1.0) * 0.5 * n as f32 - 0.5;
        let (x, y) = (at(u, self.width), at(v, self.height));
        let (left, top) = (x.floor(), y.floor());
        let (right, below) = (x - left, y - top);
        let corner = |i: f32, j: f32, weight: f32| {
            let (column, row) = (left + i, top + j);
            let inside = column >= 0.0 && column < self.width as f32 && row >= 0.0 && row < self.height as f32;
            if inside {
                (((plane * self.height + row as usize) * self.width + column as usize) * self.texel, weight)
            } else {
                (0, 0.0)
            }
        };
        [
            corner(0.0, 0.0, (1.0 - right) * (1.0 - below)),
            corner(1.0, 0.0, right * (1.0 - below)),
            corner(0.0, 1.0, (1.0 - right) * below),
            corner(1.0, 1.0, right * below),
        ]
    }
}

per_isa! {
    fn look_up_all(decoder: &TriplaneDecoder, points: &[Vec3], features: *mut f32, stride: usize) = look_up;
}

/// A plane's last vector may reach beyond its channels: into the next plane's place, written
/// later, or with zeros into what is kept free behind the last.
#[inline(always)]
unsafe fn look_up<S: Simd>(decoder: &TriplaneDecoder, points: &[Vec3], features: *mut f32, stride: usize) {
    for (i, &point) in points.iter().enumerate() {
        let p = point / decoder.radius;
        for (plane, (u, v)) in [(p.x, p.y), (p.x, p.z), (p.y, p.z)].into_iter().enumerate() {
            let corners = decoder.corners(plane, u, v);
            // SAFETY: corners are texels of the planes, each `texel` numbers, a multiple of 16;
            // the caller promises room for the row.
            unsafe {
                let to = features.add(i * stride + plane * decoder.channels);
                for c in (0..decoder.texel).step_by(LANES) {
                    let mut sum = S::splat(0.0);
                    for (first, weight) in corners {
                        let texel = S::load(decoder.planes.as_ptr().add(first + c));
                        sum = S::fma(texel, S::splat(weight), sum);
                    }
                    S::store(to.add(c), sum);
                }
            }
        }
    }
}
