//! Make the textures: from the picture, from the detailed mesh, or from both.

use std::sync::Arc;

use glam::Vec3;

use crate::{
    cx::StageCx,
    error::StageError,
    image::srgb,
    mesh::{
        Maps, Mesh,
        bake::{BakeOptions, BakeSource, ColorSource, Extra, Occlusion, bake},
        project::project,
    },
    slot::{Asset, Slot, Value},
    stage::{Engine, Param, ParamKind, Stage},
    stages::quality,
};

pub const STAGE: Stage = Stage {
    id: "bake",
    version: 4,
    doc: "Make the textures: colours, and the details of the high mesh where there is one.",
    reads: &[Slot::Mesh],
    may_read: &[Slot::Cutout, Slot::High, Slot::Field],
    writes: &[Slot::Maps],
    may_write: &[],
    engines: &[
        Engine {
            id: "auto-source",
            doc: "Asks the field where there is one, projects where there is a cutout and the mesh knows its front, else transfers.",
            net: None,
            params: &[],
        },
        Engine {
            id: "project",
            doc: "Colours from the cutout along the view axis: front from the picture, back mirrored.",
            net: None,
            params: &[],
        },
        Engine {
            id: "field",
            doc: "Colours of the field at each texel; the rest from the high mesh.",
            net: None,
            params: &[],
        },
        Engine {
            id: "transfer",
            doc: "Colours and materials from the high mesh onto the texture coordinates of the mesh.",
            net: None,
            params: &[],
        },
    ],
    params: &[
        quality::texture_param(
            "Width and height of the maps, a power of two suits every engine; \
             0 for what `reconstruct.quality` says, 1024 without a field.",
        ),
        Param {
            id: "roughness",
            doc: "How dull a surface without material is: 0 mirrors, 1 is chalk.",
            unit: "",
            kind: ParamKind::Float { default: 0.8, min: 0.0, max: 1.0 },
        },
        Param {
            id: "supersample",
            doc: "Samples of the high mesh in a texel, each way.",
            unit: "",
            kind: ParamKind::Int { default: 2, min: 1, max: 4 },
        },
        Param {
            id: "cage",
            doc: "How far from the mesh the high mesh is looked for, relative to the diagonal.",
            unit: "",
            kind: ParamKind::Float { default: 0.02, min: 0.0001, max: 1.0 },
        },
        flag("normal", "Bakes a normal map, where there is a high mesh.", true),
        flag("occlusion", "Bakes ambient occlusion, where there is a high mesh.", true),
        Param {
            id: "samples",
            doc: "Rays from each texel for occlusion and thickness; the 16 texels around share theirs.",
            unit: "",
            kind: ParamKind::Int { default: 4, min: 1, max: 64 },
        },
        Param {
            id: "occlusion-distance",
            doc: "How far things are that darken each other, relative to the diagonal.",
            unit: "",
            kind: ParamKind::Float { default: 0.25, min: 0.001, max: 10.0 },
        },
        flag("curvature", "Also bakes where the high mesh bulges and where it is hollow.", false),
        flag("height", "Also bakes how far the high mesh is above the mesh.", false),
        flag("thickness", "Also bakes how thick the body is.", false),
        flag("position", "Also bakes where each texel lies in the bounding box.", false),
        flag("object-normal", "Also bakes normals in the space of the mesh.", false),
        flag("material-id", "Also bakes a colour for each material of the high mesh.", false),
    ],
    run,
};

const fn flag(id: &'static str, doc: &'static str, default: bool) -> Param {
    Param { id, doc, unit: "", kind: ParamKind::Flag { default } }
}

fn run(cx: &StageCx, asset: &mut Asset) -> Result<(), StageError> {
    let mesh = asset.mesh()?;
    if mesh.uvs.len() != mesh.positions.len() || mesh.triangles.is_empty() {
        return Err(StageError::invalid(
            format!("{} texture coordinates for {} vertices", mesh.uvs.len(), mesh.positions.len()),
            "put stage unwrap before bake",
        ));
    }
    let size = quality::texture_size(cx, asset)?;
    let has_picture = mesh.front.is_some() && asset.get(Slot::Cutout).is_some();
    let maps = match cx.engine {
        "project" => painted(cx, asset, &mesh, size)?,
        "field" => asked(cx, asset, &mesh, size)?,
        "auto-source" if asset.field().is_some() => asked(cx, asset, &mesh, size)?,
        "auto-source" if has_picture => painted(cx, asset, &mesh, size)?,
        "transfer" | "auto-source" => transferred(cx, asset, &mesh, size)?,
        other => return Err(StageError::internal(format!("unknown engine `{other}`"))),
    };
    asset.set(Slot::Maps, Value::Maps(Arc::new(maps)));
    Ok(())
}

/// Colours from the cutout; details of the surface from the high mesh, if any.
fn painted(cx: &StageCx, asset: &Asset, mesh: &Mesh, size: u32) -> Result<Maps, StageError> {
    let cutout = asset.image(Slot::Cutout)?;
    let front = mesh.front.ok_or_else(|| {
        StageError::invalid(
            "the mesh does not know where the cutout lies on it",
            "bake a mesh that was reconstructed from this cutout, or set engine to transfer",
        )
    })?;
    let options = options(cx, size);
    let wants_high = options.normal || options.occlusion.is_some() || !options.extras.is_empty();
    if let Ok(high) = asset.high()
        && wants_high
    {
        let source = BakeSource { high: Some(&high), color: ColorSource::Picture { cutout: &cutout, front } };
        return bake(mesh, &source, &options, &|done, total| cx.step(done, total));
    }
    cx.step(0, 1)?;
    let base_color = project(&cutout, mesh, &front, options.size);
    cx.step(1, 1)?;
    Ok(Maps { base_color, roughness: options.roughness, metallic: 0.0, ..Maps::default() })
}

/// Colours from the field; details of the surface from the high mesh, if any.
fn asked(cx: &StageCx, asset: &Asset, mesh: &Mesh, size: u32) -> Result<Maps, StageError> {
    let field = asset
        .field()
        .ok_or_else(|| StageError::invalid("there is no field to take colours from", "set engine to auto-source"))?;
    let colors = |points: &[Vec3], _normals: &[Vec3]| {
        let linear = |[r, g, b]: [f32; 3]| [srgb::to_linear(r), srgb::to_linear(g), srgb::to_linear(b), 1.0];
        field.colors(points).into_iter().map(linear).collect()
    };
    let high = asset.high().ok();
    let source = BakeSource { high: high.as_deref(), color: ColorSource::Points(&colors) };
    bake(mesh, &source, &options(cx, size), &|done, total| cx.step(done, total))
}

/// Everything from the high mesh.
fn transferred(cx: &StageCx, asset: &Asset, mesh: &Mesh, size: u32) -> Result<Maps, StageError> {
    let high = asset.high().map_err(|_| {
        StageError::invalid(
            "there is neither a high mesh nor a picture to take colours from",
            "put a stage before bake that keeps the high mesh",
        )
    })?;
    let source = BakeSource { high: Some(&high), color: ColorSource::High };
    bake(mesh, &source, &options(cx, size), &|done, total| cx.step(done, total))
}

fn options(cx: &StageCx, size: u32) -> BakeOptions {
    let occlusion = Occlusion { samples: cx.int("samples") as u32, distance: cx.float("occlusion-distance") as f32 };
    BakeOptions {
        size,
        supersample: cx.int("supersample") as u32,
        cage: cx.float("cage") as f32,
        normal: cx.flag("normal"),
        occlusion: cx.flag("occlusion").then_some(occlusion),
        thickness_samples: occlusion.samples,
        extras: Extra::ALL.iter().copied().filter(|extra| cx.flag(extra.id())).collect(),
        roughness: cx.float("roughness") as f32,
    }
}

#[cfg(test)]
mod tests {
    use glam::Vec2;
    use image::{Rgba, RgbaImage};
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::{
        cx::CancelToken,
        error::StageErrorKind,
        field::{self, Placement},
        mesh::{
            FrontView,
            textured::{Material, TexturedMesh},
        },
        stage::Settings,
    };

    struct Given {
        mesh: Mesh,
        has_cutout: bool,
        has_high: bool,
    }

    /// On a cutout of one colour and a red high mesh.
    fn run_on(given: Given, engine: &str, set: &[(&str, Json)]) -> Result<Arc<Maps>, StageError> {
        let mut asset = Asset::default();
        if given.has_high {
            let red = Material { base_color: glam::Vec4::new(1.0, 0.0, 0.0, 1.0), ..Material::default() };
            let high = TexturedMesh { materials: vec![red], ..TexturedMesh::from(given.mesh.clone()) };
            asset.set(Slot::High, Value::High(Arc::new(high)));
        }
        if given.has_cutout {
            asset.set_image(Slot::Cutout, RgbaImage::from_pixel(8, 8, Rgba([1, 2, 3, 255])));
        }
        asset.set_mesh(given.mesh);
        run_with(asset, engine, set)
    }

    fn run_with(mut asset: Asset, engine: &str, set: &[(&str, Json)]) -> Result<Arc<Maps>, StageError> {
        let mut settings: Settings = STAGE.params.iter().map(|p| (p.id.to_owned(), p.default())).collect();
        settings.insert("size".to_owned(), json!(64));
        settings.extend(set.iter().map(|(id, value)| ((*id).to_owned(), value.clone())));
        let cx = StageCx {
            engine,
            settings: &settings,
            cancel: CancelToken::default(),
            progress: &|_| {},
            nets: &crate::nets::NoNets,
        };
        run(&cx, &mut asset)?;
        asset.maps()
    }

    fn triangle() -> Mesh {
        let corners = [Vec2::ZERO, Vec2::X, Vec2::ONE];
        Mesh {
            positions: corners.map(|c| c.extend(0.0)).to_vec(),
            uvs: corners.to_vec(),
            triangles: vec![[0, 1, 2]],
            front: Some(FrontView { metres_per_pixel: 0.125, origin: Vec2::new(0.0, 8.0) }),
            ..Mesh::default()
        }
    }

    fn is_all(maps: &Maps, color: [u8; 4]) -> bool {
        maps.base_color.dimensions() == (64, 64) && maps.base_color.pixels().all(|p| p.0 == color)
    }

    const PICTURE: [u8; 4] = [1, 2, 3, 255];
    const RED: [u8; 4] = [255, 0, 0, 255];

    #[test]
    fn without_a_high_mesh_there_are_only_colours() {
        for engine in ["auto-source", "project"] {
            let given = Given { mesh: triangle(), has_cutout: true, has_high: false };
            let maps = run_on(given, engine, &[("roughness", json!(0.7)), ("height", json!(true))]).unwrap();
            assert!(is_all(&maps, PICTURE) && (maps.roughness, maps.metallic) == (0.7, 0.0));
            assert!(maps.normal.is_none() && maps.orm.is_none() && maps.extra.is_empty());
        }
    }

    #[test]
    fn the_picture_paints_and_the_high_mesh_gives_the_rest() {
        let given = || Given { mesh: triangle(), has_cutout: true, has_high: true };
        let maps = run_on(given(), "auto-source", &[("height", json!(true)), ("material-id", json!(true))]).unwrap();
        assert!(is_all(&maps, PICTURE));
        assert!(maps.normal.as_ref().unwrap().pixels().all(|p| p.0 == [128, 128, 255]));
        assert!(maps.orm.as_ref().unwrap().pixels().all(|p| p.0 == [255; 3]));
        assert_eq!(maps.extra.keys().collect::<Vec<_>>(), ["height", "material-id"]);

        let off = [("normal", json!(false)), ("occlusion", json!(false))];
        let maps = run_on(given(), "project", &off).unwrap();
        assert!(is_all(&maps, PICTURE) && maps.normal.is_none() && maps.orm.is_none() && maps.extra.is_empty());
    }

    #[test]
    fn what_was_not_seen_from_the_front_takes_the_high_meshs_colours() {
        let no_front = Mesh { front: None, ..triangle() };
        for (mesh, has_cutout, engine) in [
            (no_front.clone(), true, "auto-source"),
            (triangle(), false, "auto-source"),
            (triangle(), true, "transfer"),
            (no_front, false, "transfer"),
        ] {
            let maps = run_on(Given { mesh, has_cutout, has_high: true }, engine, &[]).unwrap();
            assert!(is_all(&maps, RED) && maps.roughness == 1.0, "{engine} with cutout {has_cutout}");
        }
    }

    #[test]
    fn a_field_gives_the_colours_where_the_asset_stands_in_it() {
        let mut field = field::tests::ball(0.5);
        field.placement = Placement { scale: 3.0, origin: Vec3::ONE };
        let bytes = field.colors(&[Vec3::ZERO])[0].map(|v| (v * 255.0).round() as u8);
        let mut asset = Asset::default();
        asset.set(Slot::Field, Value::Field(Arc::new(field)));
        asset.set_image(Slot::Cutout, RgbaImage::from_pixel(8, 8, Rgba([1, 2, 3, 255])));
        asset.set_mesh(triangle());
        for engine in ["auto-source", "field"] {
            let maps = run_with(asset.clone(), engine, &[]).unwrap();
            assert!(
                is_all(&maps, [bytes[0], bytes[1], bytes[2], 255]),
                "{engine}: {:?}",
                maps.base_color.get_pixel(9, 9)
            );
            assert!(maps.normal.is_none() && maps.orm.is_some());
        }
        let no_field = Given { mesh: triangle(), has_cutout: true, has_high: true };
        assert_eq!(run_on(no_field, "field", &[]).unwrap_err().kind, StageErrorKind::InvalidInput);
    }

    #[test]
    fn meshes_without_layout_or_anything_to_take_colours_from_are_refused() {
        let no_layout = Mesh { uvs: Vec::new(), ..triangle() };
        let no_front = Mesh { front: None, ..triangle() };
        for (mesh, has_cutout, has_high, engine) in [
            (no_layout, true, true, "auto-source"),
            (Mesh::default(), true, true, "auto-source"),
            (no_front.clone(), true, true, "project"),
            (no_front, true, false, "auto-source"),
            (triangle(), true, false, "transfer"),
            (triangle(), false, false, "auto-source"),
        ] {
            let error = run_on(Given { mesh, has_cutout, has_high }, engine, &[]).unwrap_err();
            assert_eq!(error.kind, StageErrorKind::InvalidInput, "{error}");
        }
    }
}
