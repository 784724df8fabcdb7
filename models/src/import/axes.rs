//! Which way is up in a file, and the turn to ours.

use glam::{Vec3, Vec4};

use super::MeshFormat;
use crate::mesh::textured::TexturedMesh;

/// Right-handed axes of a mesh file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Axes {
    /// +Y up, front to +Z: glTF's and ours.
    YUp,
    /// +Z up, front to -Y: Blender's, CAD's and 3D printing's.
    ZUp,
}

impl Axes {
    /// What is assumed of a format. glTF defines +Y up. The others define nothing;
    /// these are the defaults of Blender's importers, which exporters aim at:
    /// OBJ has +Y up, PLY and STL have +Z up.
    pub fn assumed(format: MeshFormat) -> Axes {
        match format {
            MeshFormat::Glb | MeshFormat::Gltf | MeshFormat::Obj => Axes::YUp,
            MeshFormat::Ply | MeshFormat::Stl => Axes::ZUp,
        }
    }

    /// Turns a mesh in these axes to +Y up, front to +Z: a quarter turn about X
    /// for `ZUp`, nothing for `YUp`. Exact: coordinates change places and sign.
    pub fn turn_y_up(self, textured: &mut TexturedMesh) {
        if self == Axes::YUp {
            return;
        }
        let turned = |v: Vec3| Vec3::new(v.x, v.z, -v.y);
        textured.mesh.positions.iter_mut().for_each(|p| *p = turned(*p));
        textured.mesh.normals.iter_mut().for_each(|n| *n = turned(*n));
        textured.tangents.iter_mut().for_each(|t| *t = Vec4::from((turned(t.truncate()), t.w)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::Mesh;

    #[test]
    fn z_up_becomes_y_up_and_its_front_stays_the_front() {
        let mesh =
            Mesh { positions: vec![Vec3::Z, Vec3::NEG_Y, Vec3::X], normals: vec![Vec3::Z; 3], ..Mesh::default() };
        let mut textured = TexturedMesh { tangents: vec![Vec4::new(0.0, 0.0, 1.0, -1.0); 3], ..mesh.clone().into() };
        Axes::YUp.turn_y_up(&mut textured);
        assert_eq!(textured.mesh, mesh);
        Axes::ZUp.turn_y_up(&mut textured);
        assert_eq!(textured.mesh.positions, [Vec3::Y, Vec3::Z, Vec3::X]);
        assert_eq!(textured.mesh.normals, [Vec3::Y; 3]);
        assert_eq!(textured.tangents[0], Vec4::new(0.0, 1.0, 0.0, -1.0));
    }
}
