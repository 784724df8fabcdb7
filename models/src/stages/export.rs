//! Write the GLB: in mesh, maps and provenance, out the finished file.
//!
//! Whatever the stages before did, the file stands on y = 0, is centred in x and
//! z, and holds no vertex that no triangle uses.

use glam::{Vec2, Vec3};

use crate::{
    cx::StageCx,
    error::StageError,
    export::glb,
    mesh::Mesh,
    slot::{Asset, Slot, Value},
    stage::{Engine, Stage},
};

pub const STAGE: Stage = Stage {
    id: "export",
    version: 1,
    doc: "Write the GLB.",
    reads: &[Slot::Mesh, Slot::Maps, Slot::Provenance],
    may_read: &[],
    writes: &[Slot::Asset],
    engines: &[Engine { id: "glb", doc: "glTF 2.0 binary.", net: None, params: &[] }],
    params: &[],
    run,
};

fn run(cx: &StageCx, asset: &mut Asset) -> Result<(), StageError> {
    let (mesh, maps) = (asset.mesh()?, asset.maps()?);
    let provenance = asset.json(Slot::Provenance)?;
    if mesh.triangles.is_empty() {
        return Err(StageError::invalid("the mesh has no triangles", "give a picture with a larger object"));
    }
    let name = provenance["name"].as_str().ok_or_else(|| StageError::internal("provenance has no name"))?;
    let mesh = grounded(ordered(&mesh));
    cx.step(1, 2)?;
    let bytes = glb::write(&mesh, &maps, name, &provenance)?;
    asset.set(Slot::Asset, Value::Bytes(bytes.into()));
    cx.step(2, 2)
}

/// The same surface: triangles in the order that suits a vertex cache, vertices
/// in the order of their first use, unused ones left out.
/// Source: meshoptimizer, `meshopt_optimizeVertexCache`.
fn ordered(mesh: &Mesh) -> Mesh {
    let n = mesh.positions.len();
    let mut indices = meshopt::optimize_vertex_cache(mesh.triangles.as_flattened(), n);
    let mut new_index = vec![u32::MAX; n];
    let mut old_index = Vec::with_capacity(n);
    for index in &mut indices {
        let old = *index as usize;
        if new_index[old] == u32::MAX {
            new_index[old] = old_index.len() as u32;
            old_index.push(old);
        }
        *index = new_index[old];
    }
    let pick3 = |of: &[Vec3]| old_index.iter().filter_map(|&old| of.get(old).copied()).collect();
    Mesh {
        positions: pick3(&mesh.positions),
        normals: pick3(&mesh.normals),
        uvs: old_index.iter().filter_map(|&old| mesh.uvs.get(old).copied()).collect(),
        triangles: indices.as_chunks::<3>().0.to_vec(),
        front: mesh.front,
    }
}

/// Moves the mesh onto the ground and the Y axis; the front view follows, so
/// that pixels stay where they are.
fn grounded(mut mesh: Mesh) -> Mesh {
    let Some((low, high)) = mesh.bounds() else { return mesh };
    let foot = Vec3::new((low.x + high.x) / 2.0, low.y, (low.z + high.z) / 2.0);
    for position in &mut mesh.positions {
        *position -= foot;
    }
    if let Some(front) = &mut mesh.front {
        front.origin += Vec2::new(foot.x, -foot.y) / front.metres_per_pixel;
    }
    mesh
}

#[cfg(test)]
mod tests {
    use image::RgbaImage;
    use serde_json::json;

    use super::*;
    use crate::{
        error::StageErrorKind,
        export::{glb::GlbContent, ownership},
        mesh::{FrontView, Maps, shapes, topology::topology},
        stages::testing,
    };

    fn asset(mesh: Mesh) -> Asset {
        let mut asset = Asset::default();
        asset.set_mesh(mesh);
        let maps = Maps {
            base_color: RgbaImage::from_pixel(4, 4, image::Rgba([9, 8, 7, 255])),
            roughness: 1.0,
            metallic: 0.0,
            ..Maps::default()
        };
        asset.set(Slot::Maps, Value::Maps(maps.into()));
        asset.set(Slot::Provenance, Value::Json(json!({ "name": "lantern" }).into()));
        asset
    }

    fn exported(mesh: Mesh) -> GlbContent {
        let mut asset = asset(mesh);
        testing::run(&STAGE, &[], &mut asset).unwrap();
        let bytes = asset.bytes(Slot::Asset).unwrap();
        assert!(ownership::is_ours(&bytes));
        glb::read(&bytes).unwrap()
    }

    #[test]
    fn the_asset_stands_on_the_ground_and_its_pixels_stay() {
        let mut mesh = shapes::torus(16, 0.3);
        for p in &mut mesh.positions {
            *p = *p * 0.37 + Vec3::new(0.123, 4.567, -8.9);
        }
        mesh.front = Some(FrontView { metres_per_pixel: 0.004, origin: Vec2::new(100.0, 700.0) });
        let top = *mesh.positions.iter().max_by(|a, b| a.x.total_cmp(&b.x)).unwrap();
        let pixel = mesh.front.unwrap().to_pixel(top);

        let content = exported(mesh);
        let (low, high) = content.mesh.bounds().unwrap();
        assert_eq!(low.y, 0.0);
        assert!((low.x + high.x).abs() < 1e-6 && (low.z + high.z).abs() < 1e-6, "{low} {high}");
        let top = *content.mesh.positions.iter().max_by(|a, b| a.x.total_cmp(&b.x)).unwrap();
        let moved = content.mesh.front.unwrap().to_pixel(top);
        assert!((moved - pixel).length() < 1e-3, "{moved} {pixel}");
        assert_eq!(content.name, "lantern");
    }

    #[test]
    fn order_changes_but_neither_the_surface_nor_its_texture() {
        let mut mesh = shapes::sphere(12);
        let before = topology(&mesh.positions, &mesh.triangles);
        mesh.positions.insert(0, Vec3::splat(-99.0));
        mesh.normals.insert(0, Vec3::Y);
        mesh.uvs.insert(0, Vec2::ZERO);
        for triangle in &mut mesh.triangles {
            *triangle = triangle.map(|v| v + 1);
        }
        let corners = |mesh: &Mesh| {
            let mut corners: Vec<String> = mesh
                .triangles
                .iter()
                .map(|t| {
                    let mut corners = t.map(|v| format!("{:?} {:?}", mesh.uvs[v as usize], mesh.normals[v as usize]));
                    corners.sort();
                    corners.concat()
                })
                .collect();
            corners.sort();
            corners
        };
        let expected = corners(&mesh);
        let content = exported(mesh);
        assert_eq!(topology(&content.mesh.positions, &content.mesh.triangles), before);
        assert_eq!(corners(&content.mesh), expected);
        assert!((content.mesh.bounds().unwrap().1.y - 2.0).abs() < 1e-6, "the unused vertex is gone");
    }

    #[test]
    fn an_empty_mesh_is_refused() {
        let error = testing::run(&STAGE, &[], &mut asset(Mesh::default())).expect_err("empty");
        assert_eq!(error.kind, StageErrorKind::InvalidInput);
    }
}
