//! Puts a mesh where assets stand: given height, on the ground, centred.

use glam::{Vec2, Vec3};

use super::Mesh;
use crate::error::StageError;

/// Scales the mesh to `height` (metres), moves its lowest point to y = 0 and
/// the centre of its bounding box to x = z = 0.
///
/// In: any unit, +Y up, front to +Z. `front`, where set, keeps showing the mesh
/// as before. Fails when the mesh has no vertices or no height.
pub fn place(mesh: &mut Mesh, height: f32) -> Result<(), StageError> {
    let flat = || StageError::invalid("the mesh has no height", "give a picture that shows more of the object");
    let (low, high) = mesh.bounds().ok_or_else(flat)?;
    let scale = height / (high.y - low.y);
    if !scale.is_finite() {
        return Err(flat());
    }
    let foot = Vec3::new((low.x + high.x) / 2.0, low.y, (low.z + high.z) / 2.0);
    for position in &mut mesh.positions {
        *position = (*position - foot) * scale;
    }
    if let Some(front) = &mut mesh.front {
        front.origin += Vec2::new(foot.x, -foot.y) / front.metres_per_pixel;
        front.metres_per_pixel *= scale;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::FrontView;

    #[test]
    fn stands_on_the_ground_with_its_height_and_shows_the_same_pixels() {
        let mut mesh = Mesh {
            positions: vec![Vec3::new(10.0, -30.0, -2.0), Vec3::new(14.0, -20.0, 2.0), Vec3::new(11.0, -22.0, 0.0)],
            triangles: vec![[0, 1, 2]],
            front: Some(FrontView { metres_per_pixel: 1.0, origin: Vec2::ZERO }),
            ..Mesh::default()
        };
        let before: Vec<Vec2> = mesh.positions.iter().map(|&p| mesh.front.unwrap().to_pixel(p)).collect();
        place(&mut mesh, 2.0).unwrap();
        let (low, high) = mesh.bounds().unwrap();
        assert_eq!((low, high), (Vec3::new(-0.4, 0.0, -0.4), Vec3::new(0.4, 2.0, 0.4)));
        for (&p, pixel) in mesh.positions.iter().zip(before) {
            assert!(mesh.front.unwrap().to_pixel(p).distance(pixel) < 1e-4);
        }
    }

    #[test]
    fn a_flat_or_empty_mesh_is_refused() {
        assert!(place(&mut Mesh::default(), 1.0).is_err());
        let mut flat = Mesh { positions: vec![Vec3::X, Vec3::Z], ..Mesh::default() };
        assert!(place(&mut flat, 1.0).is_err());
    }
}
