//! Where the picture is taken from.

use glam::{Mat4, Vec3, Vec4};

use crate::mesh::FrontView;

/// World to clip space. Depth after division by w is 1 at the near plane and
/// falls with distance: greater is nearer, which keeps f32 precise far away.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Camera {
    pub to_clip: Mat4,
}

impl Camera {
    /// Looks from `eye` to `target`, +Y up in the picture; they must differ, and
    /// not only in height. `fov_y` is the vertical field of view in radians,
    /// `aspect` width over height, `near` the distance of the near plane. There
    /// is no far plane.
    pub fn perspective(eye: Vec3, target: Vec3, fov_y: f32, aspect: f32, near: f32) -> Self {
        let [right, up, back] = axes(target - eye);
        let tan = (fov_y / 2.0).tan();
        let row = |axis: Vec3, scale: f32| (axis * scale).extend(-axis.dot(eye) * scale);
        Self::from_rows([row(right, 1.0 / (tan * aspect)), row(up, 1.0 / tan), Vec4::W * near, row(back, -1.0)])
    }

    /// Parallel rays along `forward`. The picture is a square of `2 * half` metres
    /// around `centre`; depth runs from 1 to 0 over the same length.
    pub fn parallel(forward: Vec3, centre: Vec3, half: f32) -> Self {
        let [right, up, back] = axes(forward);
        let row = |axis: Vec3, scale: f32, offset: f32| (axis * scale).extend(offset - axis.dot(centre) * scale);
        let scale = 1.0 / half;
        Self::from_rows([row(right, scale, 0.0), row(up, scale, 0.0), row(back, scale / 2.0, 0.5), Vec4::W])
    }

    /// The picture of `width` x `height` pixels that `view` describes. Depth runs
    /// from 1 at z = `z_near` to 0 at z = `z_far`; what is nearer is cut off.
    pub fn front(view: &FrontView, width: u32, height: u32, z_near: f32, z_far: f32) -> Self {
        let (w, h) = (width as f32, height as f32);
        let scale = 2.0 / view.metres_per_pixel;
        let depth = 1.0 / (z_near - z_far);
        Self::from_rows([
            Vec4::new(scale / w, 0.0, 0.0, 2.0 * view.origin.x / w - 1.0),
            Vec4::new(0.0, scale / h, 0.0, 1.0 - 2.0 * view.origin.y / h),
            Vec4::new(0.0, 0.0, depth, -z_far * depth),
            Vec4::W,
        ])
    }

    /// Texture coordinates as positions: (u, v, 0) is at that place of the texture.
    pub fn texture() -> Self {
        let row = |x: f32, y: f32, offset: f32| Vec4::new(x, y, 0.0, offset);
        Self::from_rows([row(2.0, 0.0, -1.0), row(0.0, -2.0, 1.0), row(0.0, 0.0, 0.5), Vec4::W])
    }

    fn from_rows([x, y, z, w]: [Vec4; 4]) -> Self {
        Self { to_clip: Mat4::from_cols(x, y, z, w).transpose() }
    }
}

/// Right, up and backward of somebody who looks along `forward`, unit length.
/// Looking straight up or down, -Z is up in the picture.
pub fn axes(forward: Vec3) -> [Vec3; 3] {
    let back = -forward.normalize();
    let right = Vec3::Y.cross(back).try_normalize().unwrap_or(Vec3::X);
    [right, back.cross(right), back]
}
