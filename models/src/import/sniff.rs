//! Is this a mesh, and which format? By content; the name of a file says nothing.

use serde::Deserialize;

use super::text::{lines, tokens};
use crate::image::sniff::{Kind, sniff as sniff_picture};

/// Mesh files that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MeshFormat {
    Glb,
    Gltf,
    Obj,
    Ply,
    Stl,
}

/// `bytes` is the whole file: an STL is told by its size, an OBJ by its lines.
/// `None` for everything else, pictures among it.
///
/// A JSON that ends too early counts as glTF when it has come as far as the
/// asset's version, so that the reader can say what is wrong with it.
pub fn sniff(bytes: &[u8]) -> Option<MeshFormat> {
    if bytes.starts_with(b"glTF") {
        return Some(MeshFormat::Glb);
    }
    if sniff_picture(&bytes[..bytes.len().min(64)]) != Kind::Unknown {
        return None;
    }
    if bytes.starts_with(b"ply\n") || bytes.starts_with(b"ply\r") {
        return Some(MeshFormat::Ply);
    }
    if is_gltf(bytes) {
        return Some(MeshFormat::Gltf);
    }
    if binary_stl_size(bytes).is_some_and(|size| size == bytes.len() as u64) || is_ascii_stl(bytes) {
        return Some(MeshFormat::Stl);
    }
    is_obj(bytes).then_some(MeshFormat::Obj)
}

/// Name of a known mesh format that is not read.
pub fn refused(bytes: &[u8]) -> Option<&'static str> {
    let head = &bytes[..bytes.len().min(4096)];
    let has = |word: &str| head.windows(word.len()).any(|window| window == word.as_bytes());
    let starts = |word: &str| head.starts_with(word.as_bytes());
    match head {
        [b'P', b'K', 3, 4, ..] if has("3D/") || has(".model") || has("[Content_Types].xml") => Some("a 3MF file"),
        [b'P', b'K', 3, 4, ..] => Some("a ZIP archive"),
        _ if starts("Kaydara FBX Binary") || starts("; FBX") => Some("an FBX file"),
        _ if has("<COLLADA") => Some("a COLLADA file"),
        _ if starts("PXR-USDC") || starts("#usda") => Some("a USD file"),
        _ if starts("BLENDER") || head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) => Some("a Blender file"),
        _ if starts("$MeshFormat") => Some("a Gmsh file"),
        _ if starts("#VRML") => Some("a VRML file"),
        _ if has("<X3D") => Some("an X3D file"),
        _ if starts("# vtk") => Some("a VTK file"),
        _ if starts("ISO-10303-21") => Some("a STEP file"),
        _ if starts("OFF") || starts("COFF") => Some("an OFF file"),
        _ => None,
    }
}

/// Bytes that a binary STL takes by the count in its header, if there is one.
pub(super) fn binary_stl_size(bytes: &[u8]) -> Option<u64> {
    let n = bytes.get(80..84)?.first_chunk().map(|word| u32::from_le_bytes(*word))?;
    Some(84 + 50 * u64::from(n))
}

#[derive(Deserialize)]
struct Head {
    asset: Asset,
}

#[derive(Deserialize)]
struct Asset {
    #[serde(rename = "version")]
    _version: String,
}

fn is_gltf(bytes: &[u8]) -> bool {
    let text = without_mark(bytes).trim_ascii_start();
    if !text.starts_with(b"{") {
        return false;
    }
    match serde_json::from_slice::<Head>(text) {
        Ok(Head { asset: Asset { .. } }) => true,
        Err(error) => {
            let has = |word: &[u8]| text.windows(word.len()).any(|window| window == word);
            error.is_eof() && has(b"\"asset\"") && has(b"\"version\"")
        }
    }
}

/// The text without the mark that some editors put before UTF-8.
pub(super) fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

fn is_ascii_stl(bytes: &[u8]) -> bool {
    let mut words = tokens(bytes).take(300);
    let follows = |word: &[u8]| word == b"facet" || word == b"endsolid";
    words.next().is_some_and(|word| word.eq_ignore_ascii_case(b"solid"))
        && words.any(|word| follows(&word.to_ascii_lowercase()))
}

const OBJ_WORDS: &[&[u8]] = &[
    b"v",
    b"vt",
    b"vn",
    b"vp",
    b"f",
    b"fo",
    b"l",
    b"p",
    b"o",
    b"g",
    b"s",
    b"mg",
    b"usemtl",
    b"mtllib",
    b"usemap",
    b"maplib",
    b"cstype",
    b"deg",
    b"curv",
    b"curv2",
    b"surf",
    b"parm",
    b"trim",
    b"hole",
    b"end",
    b"bmat",
    b"step",
    b"con",
    b"lod",
    b"shadow_obj",
    b"trace_obj",
    b"bevel",
    b"c_interp",
    b"d_interp",
];

/// Lines up to the first vertex, material or face must all be OBJ's.
fn is_obj(bytes: &[u8]) -> bool {
    for line in lines(without_mark(bytes)) {
        let mut words = tokens(line);
        let Some(word) = words.next() else { continue };
        let is_number = |word: &[u8]| std::str::from_utf8(word).is_ok_and(|word| word.parse::<f32>().is_ok());
        let is_index = |word: &[u8]| word.iter().all(|c| c.is_ascii_digit() || matches!(c, b'-' | b'/'));
        match word {
            _ if word.starts_with(b"#") => {
                if word.contains(&0) {
                    return false;
                }
            }
            b"v" => return words.clone().count() >= 3 && words.take(3).all(is_number),
            b"f" => return words.clone().count() >= 1 && words.all(is_index),
            b"mtllib" | b"usemtl" => return true,
            _ if OBJ_WORDS.contains(&word) => {}
            _ => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_decides() {
        assert_eq!(sniff(b"glTF\x02\0\0\0"), Some(MeshFormat::Glb));
        assert_eq!(sniff(b"\xef\xbb\xbf {\"asset\": {\"version\": \"2.0\"}}"), Some(MeshFormat::Gltf));
        assert_eq!(sniff(b"{\"asset\": {\"version\": \"2.0\"}, \"nodes\": [{"), Some(MeshFormat::Gltf), "cut");
        assert_eq!(sniff(b"{\"asset\": {}}"), None);
        assert_eq!(sniff(b"{\"version\": 1}"), None);
        assert_eq!(sniff(b"ply\r\nformat ascii 1.0\r\n"), Some(MeshFormat::Ply));
        assert_eq!(sniff(b"plywood"), None);
        assert_eq!(sniff(b"solid a\n facet normal 0 0 1\n"), Some(MeshFormat::Stl));
        assert_eq!(sniff(b"solid advice is hard to come by"), None);
        assert_eq!(sniff(b"# comment\n\no thing\nv 1 2 3\n"), Some(MeshFormat::Obj));
        assert_eq!(sniff(b"mtllib a.mtl\r\n"), Some(MeshFormat::Obj));
        assert_eq!(sniff(b"v for vendetta"), None);
        assert_eq!(sniff(b"# A heading\n\nSome text\n"), None);
        assert_eq!(sniff(b"newmtl a\nKd 1 1 1\n"), None, "materials are no mesh");
        assert_eq!(sniff(b""), None);
    }

    #[test]
    fn a_binary_stl_is_told_by_its_size_whatever_its_header_says() {
        let mut stl = vec![b' '; 80];
        stl[..5].copy_from_slice(b"solid");
        stl.extend(2u32.to_le_bytes());
        stl.extend([0; 100]);
        assert_eq!(sniff(&stl), Some(MeshFormat::Stl));
        stl.pop();
        assert_eq!(sniff(&stl), None);
    }

    #[test]
    fn pictures_and_meshes_are_never_taken_for_each_other() {
        // A PNG whose length is that of a binary STL by the word at byte 80.
        let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
        png.resize(84 + 50, 0);
        png[80] = 1;
        assert_eq!(sniff(&png), None);
        for mesh in
            [&b"ply\nformat ascii 1.0"[..], b"solid a\nfacet", b"v 1 2 3", b"{\"asset\": {\"version\": \"2.0\"}}"]
        {
            assert_eq!(sniff_picture(mesh), Kind::Unknown);
        }
    }
}
