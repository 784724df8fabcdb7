//! glTF features, each in the smallest file that has it.

use glam::{Vec2, Vec3, Vec4};
use serde_json::{Value as Json, json};

use super::super::{Bundle, Imported, Limits, read};
use crate::{
    error::{StageError, StageErrorKind},
    export::glb,
    image::png_io,
    mesh::{
        Maps, shapes,
        textured::{AlphaMode, TextureUse, Wrap},
    },
};

/// A glTF of one triangle (0, 0, 0), (1, 0, 0), (0, 1, 0), more data after it.
#[derive(Default)]
struct File {
    bin: Vec<u8>,
    views: Vec<Json>,
    accessors: Vec<Json>,
}

impl File {
    fn new() -> File {
        let mut file = File::default();
        file.floats("VEC3", &[0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
        file
    }

    fn view(&mut self, bytes: &[u8]) -> usize {
        self.bin.resize(self.bin.len().next_multiple_of(4), 0);
        self.views.push(json!({ "buffer": 0, "byteOffset": self.bin.len(), "byteLength": bytes.len() }));
        self.bin.extend(bytes);
        self.views.len() - 1
    }

    fn accessor(&mut self, kind: &str, component: u32, count: usize, bytes: &[u8]) -> usize {
        let view = self.view(bytes);
        self.accessors.push(json!({ "bufferView": view, "componentType": component, "count": count, "type": kind }));
        self.accessors.len() - 1
    }

    fn floats(&mut self, kind: &str, values: &[f32]) -> usize {
        let n = match kind {
            "SCALAR" => 1,
            "VEC2" => 2,
            "VEC3" => 3,
            "VEC4" => 4,
            _ => 16,
        };
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.accessor(kind, 5126, values.len() / n, &bytes)
    }

    fn indices(&mut self, values: &[u16]) -> usize {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.accessor("SCALAR", 5123, values.len(), &bytes)
    }

    /// `more` is laid over the document: whole keys replace.
    fn bytes(&self, more: Json) -> Vec<u8> {
        let mut document = json!({
            "asset": { "version": "2.0" },
            "buffers": [{ "byteLength": self.bin.len() }],
            "bufferViews": self.views,
            "accessors": self.accessors,
            "nodes": [{ "mesh": 0 }],
            "meshes": [{ "primitives": [{ "attributes": { "POSITION": 0 } }] }],
        });
        for (key, value) in more.as_object().unwrap() {
            document[key] = value.clone();
        }
        let mut json = document.to_string().into_bytes();
        json.resize(json.len().next_multiple_of(4), b' ');
        let mut bin = self.bin.clone();
        bin.resize(bin.len().next_multiple_of(4), 0);
        let word = |n: usize| (n as u32).to_le_bytes();
        let length = 28 + json.len() + bin.len();
        [b"glTF", &word(2)[..], &word(length), &word(json.len()), b"JSON", &json, &word(bin.len()), b"BIN\0", &bin]
            .concat()
    }

    fn read(&self, more: Json) -> Result<Imported, StageError> {
        read(&Bundle::single("", self.bytes(more)), &Limits::default())
    }

    fn primitive(&self, primitive: Json) -> Imported {
        self.read(json!({ "meshes": [{ "primitives": [primitive] }] })).unwrap()
    }
}

fn positions(imported: &Imported) -> &[Vec3] {
    &imported.textured.mesh.positions
}

const CORNERS: [Vec3; 3] = [Vec3::ZERO, Vec3::X, Vec3::Y];

#[test]
fn what_meshkiln_writes_it_reads() {
    let mesh = shapes::torus(20, 0.3);
    let maps = Maps { roughness: 0.25, metallic: 0.5, ..shapes::grey() };
    let bytes = glb::write(&mesh, &maps, "ring", &json!({ "name": "ring" })).unwrap();
    let imported = read(&Bundle::single("", bytes), &Limits::default()).unwrap();
    assert_eq!(imported.textured.mesh, mesh);
    let material = &imported.textured.materials[0];
    assert_eq!((material.roughness, material.metallic), (0.25, 0.5));
    assert_eq!(*imported.textured.textures[0], maps.base_color);
    assert!(imported.notes.is_empty(), "{:?}", imported.notes);
}

#[test]
fn strips_fans_and_bare_vertices_are_triangles() {
    let mut file = File::new();
    let strip = file.indices(&[0, 1, 2, 2, 1, 0]);
    let bytes = file.accessor("SCALAR", 5121, 3, &[2, 0, 1]);
    let triangles = |primitive: Json| file.primitive(primitive).textured.mesh.triangles;
    let attributes = json!({ "POSITION": 0 });
    assert_eq!(triangles(json!({ "attributes": attributes })), [[0, 1, 2]]);
    assert_eq!(triangles(json!({ "attributes": attributes, "indices": bytes })), [[2, 0, 1]]);
    // The second, third and fourth of the strip are joints without area or turned around.
    assert_eq!(triangles(json!({ "attributes": attributes, "indices": strip, "mode": 5 })), [[0, 1, 2], [1, 2, 0]]);
    assert_eq!(triangles(json!({ "attributes": attributes, "indices": strip, "mode": 6 })), [[0, 1, 2], [0, 2, 1]]);
    let lines = json!({ "attributes": attributes, "mode": 1 });
    let both = file.read(json!({ "meshes": [{ "primitives": [lines, { "attributes": attributes }] }] })).unwrap();
    assert_eq!(
        (both.textured.mesh.triangles.len(), both.notes),
        (1, vec!["points and lines were passed over".to_owned()])
    );
}

#[test]
fn quantized_strided_and_normalized_data_is_read() {
    let mut file = File::default();
    // Positions as i16 shares, a colour as u8 shares after each; stride 12.
    let corner = |x: i16, y: i16, g: u8| {
        let [x, y, z] = [x, y, -32768i16].map(i16::to_le_bytes);
        [&x[..], &y, &z, &[0, 0], &[255, g, 0, 51]].concat()
    };
    let view = file.view(&[corner(0, 0, 0), corner(32767, 0, 51), corner(0, 32767, 255)].concat());
    file.views[view]["byteStride"] = json!(12);
    let accessor = |kind: &str, component: u32, offset: usize| {
        json!({ "bufferView": view, "byteOffset": offset, "componentType": component, "normalized": true,
                "count": 3, "type": kind })
    };
    file.accessors = vec![accessor("VEC3", 5122, 0), accessor("VEC4", 5121, 8)];
    let primitive = json!({ "attributes": { "POSITION": 0, "COLOR_0": 1 } });
    let needed = json!({ "meshes": [{ "primitives": [primitive] }], "extensionsRequired": ["KHR_mesh_quantization"] });
    let imported = file.read(needed).unwrap();
    assert_eq!(positions(&imported), CORNERS.map(|p| p - Vec3::Z), "-32768 is -1, too");
    assert_eq!(imported.textured.colors[1], Vec4::new(1.0, 0.2, 0.0, 0.2));
    assert_eq!(imported.textured.colors[2], Vec4::new(1.0, 1.0, 0.0, 0.2));
}

#[test]
fn sparse_elements_replace_others_and_stand_for_those_that_are_absent() {
    let mut file = File::new();
    let indices = file.view(&[1]);
    let values = file.view(&[7f32, 8.0, 9.0].iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>());
    let sparse = json!({ "count": 1, "indices": { "bufferView": indices, "componentType": 5121 },
                         "values": { "bufferView": values } });
    let base = file.accessors[0].clone();
    file.accessors[0]["sparse"] = sparse.clone();
    assert_eq!(positions(&file.primitive(json!({ "attributes": { "POSITION": 0 } })))[1], Vec3::new(7.0, 8.0, 9.0));
    file.accessors[0].as_object_mut().unwrap().remove("bufferView");
    let alone = file.primitive(json!({ "attributes": { "POSITION": 0 } }));
    assert_eq!(positions(&alone), [Vec3::ZERO, Vec3::new(7.0, 8.0, 9.0), Vec3::ZERO]);
    file.accessors[0] = base;
    file.accessors[0]["sparse"] = sparse;
    file.accessors[0]["sparse"]["count"] = json!(2);
    assert_eq!(file.read(json!({})).unwrap_err().kind, StageErrorKind::InvalidInput);
}

#[test]
fn nodes_place_meshes_and_mirrors_turn_the_winding() {
    let file = File::new();
    let nodes = json!([
        { "children": [1, 2], "translation": [10.0, 0.0, 0.0], "scale": [2.0, 2.0, 2.0] },
        { "mesh": 0, "rotation": [0.0, 0.0, 0.70710677, 0.70710677] },
        { "mesh": 0, "matrix": [-1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 3, 1] },
        { "mesh": 0 },
    ]);
    let imported = file.read(json!({ "nodes": nodes, "scenes": [{}, { "nodes": [0] }], "scene": 1 })).unwrap();
    let expected = [(10, 0, 0), (10, 2, 0), (8, 0, 0), (10, 0, 6), (8, 0, 6), (10, 2, 6)];
    for (p, (x, y, z)) in positions(&imported).iter().zip(expected) {
        assert!(p.distance(Vec3::new(x as f32, y as f32, z as f32)) < 1e-5, "{p}");
    }
    assert_eq!(imported.textured.mesh.triangles, [[0, 1, 2], [3, 5, 4]]);
    let all = file.read(json!({ "nodes": nodes })).unwrap();
    assert_eq!(all.textured.mesh.triangles.len(), 3, "without scenes all roots are shown");
}

#[test]
fn normals_and_tangents_go_with_uneven_and_mirrored_scales() {
    let mut file = File::new();
    let slant = Vec3::new(1.0, 1.0, 0.0).normalize();
    let normals = file.floats("VEC3", &[slant.x, slant.y, 0.0].repeat(3));
    let tangents = file.floats("VEC4", &[slant.x, -slant.y, 0.0, 1.0].repeat(3));
    let primitive = json!({ "attributes": { "POSITION": 0, "NORMAL": normals, "TANGENT": tangents } });
    let nodes = json!([{ "mesh": 0, "scale": [-3.0, 1.0, 1.0] }]);
    let imported = file.read(json!({ "meshes": [{ "primitives": [primitive] }], "nodes": nodes })).unwrap();
    let (normal, tangent) = (imported.textured.mesh.normals[0], imported.textured.tangents[0]);
    // The plane through (0, 1) and (1, 0) now runs through (0, 1) and (-3, 0).
    assert!(normal.distance(Vec3::new(-1.0, 3.0, 0.0).normalize()) < 1e-6, "{normal}");
    assert!(
        tangent.truncate().distance(Vec3::new(-3.0, -1.0, 0.0).normalize()) < 1e-6 && tangent.w == -1.0,
        "{tangent}"
    );
}

#[test]
fn a_skin_moves_vertices_with_their_joints() {
    let mut file = File::new();
    let joints = file.accessor("VEC4", 5121, 3, &[0, 1, 0, 0].repeat(3));
    let weights = file.floats("VEC4", &[1.0, 0.0, 0.0, 0.0, 0.5, 0.5, 0.0, 0.0, 0.0, 2.0, 0.0, 0.0]);
    let moved = |x: f32| [1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, x, 0.0, 0.0, 1.0];
    let inverse = file.floats("MAT4", &[moved(0.0), moved(-5.0)].concat());
    let more = json!({
        "meshes": [{ "primitives": [{ "attributes": { "POSITION": 0, "JOINTS_0": joints, "WEIGHTS_0": weights } }] }],
        "nodes": [{ "mesh": 0, "skin": 0, "translation": [100.0, 0.0, 0.0] }, { "children": [2], "translation": [0.0, 0.0, 1.0] },
                  { "translation": [5.0, 0.0, 2.0] }],
        "skins": [{ "joints": [1, 2], "inverseBindMatrices": inverse }],
    });
    let imported = file.read(more.clone()).unwrap();
    assert_eq!(positions(&imported), [Vec3::Z, Vec3::new(1.0, 0.0, 2.0), Vec3::new(0.0, 1.0, 3.0)]);
    assert_eq!(imported.notes, ["the skinned mesh is in its rest pose"]);
    let mut wrong = more;
    wrong["skins"][0]["joints"] = json!([1]);
    assert_eq!(file.read(wrong).unwrap_err().message, "the glTF names joint 1 of skin 0, which has 1");
}

#[test]
fn packed_views_are_unpacked() {
    let mut file = File::default();
    let corners: Vec<[f32; 3]> = CORNERS.iter().map(|p| p.to_array()).collect();
    let pack = |file: &mut File, bytes: Vec<u8>, stride: usize, count: usize, mode: &str, filter: &str| {
        let view = file.view(&bytes);
        let packed = json!({ "buffer": 0, "byteOffset": file.views[view]["byteOffset"], "byteLength": bytes.len(),
                             "byteStride": stride, "count": count, "mode": mode, "filter": filter });
        file.views[view] =
            json!({ "buffer": 1, "byteLength": stride * count, "extensions": { "EXT_meshopt_compression": packed } });
        view
    };
    pack(&mut file, meshopt::encode_vertex_buffer(&corners).unwrap(), 12, 3, "ATTRIBUTES", "NONE");
    pack(&mut file, meshopt::encode_index_buffer(&[2, 0, 1], 3).unwrap(), 2, 3, "TRIANGLES", "NONE");
    let normals = meshopt::encode_filter_oct::<i8>(&[[0.6, 0.0, 0.8, 0.0]; 3], 8);
    pack(&mut file, meshopt::encode_vertex_buffer(&normals).unwrap(), 4, 3, "ATTRIBUTES", "OCTAHEDRAL");
    file.views[2]["byteStride"] = json!(4);
    let uvs: Vec<u32> = meshopt::encode_filter_exp::<2>(&[[0.25f32, 0.5]; 3], 15, meshopt::EncodeExpMode::Separate)
        .into_iter()
        .flatten()
        .collect();
    pack(&mut file, meshopt::encode_vertex_buffer(uvs.as_chunks::<2>().0).unwrap(), 8, 3, "ATTRIBUTES", "EXPONENTIAL");
    file.accessors = vec![
        json!({ "bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3" }),
        json!({ "bufferView": 1, "componentType": 5123, "count": 3, "type": "SCALAR" }),
        json!({ "bufferView": 2, "componentType": 5120, "normalized": true, "count": 3, "type": "VEC3" }),
        json!({ "bufferView": 3, "componentType": 5126, "count": 3, "type": "VEC2" }),
    ];
    let more = |buffers: Json| {
        json!({
            "buffers": buffers,
            "extensionsRequired": ["EXT_meshopt_compression", "KHR_mesh_quantization"],
            "meshes": [{ "primitives": [{ "attributes": { "POSITION": 0, "NORMAL": 2, "TEXCOORD_0": 3 }, "indices": 1 }] }],
        })
    };
    // The second buffer is the fallback, which need not be there.
    let buffers = json!([{ "byteLength": file.bin.len() }, { "byteLength": 200 }]);
    let imported = file.read(more(buffers.clone())).unwrap();
    assert_eq!(positions(&imported), CORNERS);
    let [a, b, c] = imported.textured.mesh.triangles[0];
    assert!([[a, b, c], [b, c, a], [c, a, b]].contains(&[0, 1, 2]), "{:?}", imported.textured.mesh.triangles);
    let normal = imported.textured.mesh.normals[0];
    assert!(normal.distance(Vec3::new(0.6, 0.0, 0.8)) < 0.02, "8 bits: {normal}");
    assert!(imported.textured.mesh.uvs[0].distance(Vec2::new(0.25, 0.5)) < 1e-4);

    file.views[0]["extensions"]["EXT_meshopt_compression"]["count"] = json!(1_000_000_000);
    let error = file.read(more(buffers.clone())).unwrap_err();
    assert_eq!(error.kind, StageErrorKind::TooLarge, "{error}");
    file.views[0]["extensions"]["EXT_meshopt_compression"]["count"] = json!(4000);
    assert_eq!(file.read(more(buffers)).unwrap_err().kind, StageErrorKind::InvalidInput);
}

#[test]
fn materials_and_their_textures() {
    let mut file = File::new();
    let uvs = file.floats("VEC2", &[0.0, 0.0, 1.0, 0.0, 0.0, 1.0]);
    let other = file.floats("VEC2", &[0.5; 6]);
    let png = png_io::encode_rgba(&image::RgbaImage::from_pixel(2, 2, [9, 8, 7, 255].into())).unwrap();
    let view = file.view(&png);
    let transform = json!({ "KHR_texture_transform": { "offset": [0.25, 0.5], "rotation": 0.75, "scale": [2.0, 3.0], "texCoord": 1 } });
    let more = json!({
        "meshes": [{ "primitives": [
            { "attributes": { "POSITION": 0, "TEXCOORD_0": uvs, "TEXCOORD_1": other }, "material": 1 },
            { "attributes": { "POSITION": 0 } },
            { "attributes": { "POSITION": 0 }, "material": 0 },
        ] }],
        "materials": [
            { "extensions": { "KHR_materials_unlit": {}, "KHR_materials_pbrSpecularGlossiness":
                { "diffuseFactor": [0.5, 0.25, 0.125, 1.0], "glossinessFactor": 0.75 } } },
            { "name": "all", "alphaMode": "MASK", "alphaCutoff": 0.25, "doubleSided": true, "emissiveFactor": [1.0, 0.5, 0.0],
              "extensions": { "KHR_materials_emissive_strength": { "emissiveStrength": 4.0 } },
              "pbrMetallicRoughness": { "baseColorFactor": [1.0, 0.5, 0.25, 0.75], "baseColorTexture": { "index": 0, "extensions": transform },
                                        "metallicFactor": 0.5, "metallicRoughnessTexture": { "index": 0 } },
              "normalTexture": { "index": 0, "scale": 0.5, "extensions": transform },
              "occlusionTexture": { "index": 1, "texCoord": 1, "strength": 0.25 } },
        ],
        "textures": [{ "source": 0, "sampler": 0 }, { "extensions": { "EXT_texture_webp": { "source": 0 } } }],
        "samplers": [{ "wrapS": 33071, "wrapT": 33648 }],
        "images": [{ "bufferView": view }],
        "extensionsRequired": ["KHR_texture_transform", "EXT_texture_webp"],
    });
    let Imported { textured, notes, .. } = file.read(more).unwrap();
    assert_eq!(textured.face_materials, [0, 1, 2]);
    assert_eq!(textured.mesh.uvs[..4], [Vec2::splat(0.5), Vec2::splat(0.5), Vec2::splat(0.5), Vec2::ZERO]);
    assert_eq!((textured.textures.len(), textured.textures[0].get_pixel(1, 1).0), (1, [9, 8, 7, 255]));
    let material = &textured.materials[0];
    let placed = TextureUse {
        wrap: [Wrap::Clamp, Wrap::Mirror],
        offset: Vec2::new(0.25, 0.5),
        rotation: 0.75,
        scale: Vec2::new(2.0, 3.0),
        ..TextureUse::of(0)
    };
    assert_eq!((material.base_color_texture, material.normal_texture), (Some(placed), Some(placed)));
    assert_eq!(material.occlusion_texture, Some(TextureUse::of(0)));
    assert_eq!(material.metallic_roughness_texture, None, "it lies on the other UVs");
    assert_eq!(
        (material.metallic, material.roughness, material.normal_scale, material.occlusion_strength),
        (0.5, 1.0, 0.5, 0.25)
    );
    assert_eq!(
        (material.emissive, material.alpha, material.double_sided),
        ([4.0, 2.0, 0.0], AlphaMode::Mask(0.25), true)
    );
    assert_eq!(textured.materials[1], Default::default());
    assert_eq!(
        (textured.materials[2].base_color, textured.materials[2].roughness),
        (Vec4::new(0.5, 0.25, 0.125, 1.0), 1.0)
    );
    assert_eq!(
        notes,
        [
            "textures on a second set of texture coordinates were passed over",
            "specular-glossiness materials were read as materials that are not metallic",
            "unlit materials were read as lit ones",
        ]
    );
}

#[test]
fn what_is_wrong_is_said() {
    let file = File::new();
    let error = |more: Json| {
        let error = file.read(more).unwrap_err();
        format!("{:?}: {}", error.kind, error.message)
    };
    assert_eq!(
        error(json!({ "extensionsRequired": ["KHR_draco_mesh_compression"] })),
        "Unsupported: the glTF needs the extension `KHR_draco_mesh_compression`"
    );
    assert_eq!(error(json!({ "asset": { "version": "1.0" } })), "Unsupported: glTF version `1.0` is not read");
    assert_eq!(
        error(json!({ "nodes": [{ "mesh": 0, "children": [1] }, { "children": [0] }], "scenes": [{ "nodes": [0] }] })),
        "InvalidInput: node 0 of the glTF is in the scene twice"
    );
    assert_eq!(error(json!({ "nodes": [{ "mesh": 7 }] })), "InvalidInput: the glTF has no mesh 7");
    assert_eq!(error(json!({ "scenes": [{ "nodes": [3] }] })), "InvalidInput: the glTF has no node 3");
    assert_eq!(error(json!({ "scenes": [{ "nodes": [] }] })), "InvalidInput: the mesh file has no triangles");
    assert_eq!(
        error(json!({ "nodes": [{ "mesh": 0, "scale": [1e30, 1, 1] }] })),
        "InvalidInput: the mesh file has vertex 1 at [1000000000000000000000000000000, 0, 0]"
    );
    assert_eq!(
        error(json!({ "buffers": [{ "byteLength": 99 }] })),
        "Truncated: buffer 0 of the glTF has 36 of 99 bytes"
    );
    assert_eq!(
        error(json!({ "buffers": [{ "byteLength": 36, "uri": "a.bin" }] })),
        "InvalidInput: the buffer file `a.bin` of the glTF is missing"
    );
    assert_eq!(
        error(json!({ "buffers": [{ "byteLength": 36, "uri": "file:///etc/passwd" }] })),
        "InvalidInput: the reference `file:///etc/passwd` has a scheme, a drive or a stream"
    );
    let accessor = |key: &str, value: Json| {
        let mut accessor = file.accessors[0].clone();
        accessor[key] = value;
        error(json!({ "accessors": [accessor] }))
    };
    assert_eq!(
        accessor("count", json!(4)),
        "InvalidInput: accessor 0 of the glTF wants 4 elements, 12 bytes apart, of 36 bytes"
    );
    assert!(accessor("count", json!(u64::MAX)).starts_with("TooLarge"));
    assert!(accessor("byteOffset", json!(u64::MAX)).starts_with("InvalidInput: accessor 0 of the glTF wants 3"));
    assert!(accessor("type", json!("VEC2")).starts_with("InvalidInput"));
    assert!(accessor("bufferView", json!(9)).starts_with("InvalidInput: the glTF has no buffer view 9"));

    let bytes = file.bytes(json!({}));
    let kind = |bytes: &[u8]| read(&Bundle::single("", bytes.to_vec()), &Limits::default()).unwrap_err().kind;
    assert!((4..bytes.len()).all(|n| kind(&bytes[..n]) == StageErrorKind::Truncated), "every cut is noticed");
    let embedded = br#"{"asset":{"version":"2.0"},"buffers":[{"byteLength":3,"uri":"data:;base64,AAAA"}]}"#;
    assert_eq!(kind(&embedded[..embedded.len() - 3]), StageErrorKind::Truncated);
    assert_eq!(kind(embedded), StageErrorKind::InvalidInput);
}
