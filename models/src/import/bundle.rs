//! A mesh file with the files it refers to, as one value and one blob.
//!
//! `gather` follows the references through a function that the caller gives, so
//! nothing here opens files. The blob of several files is a safetensors of bytes,
//! `main/NAME` and `file/PATH`; a single file is its own blob.

use std::{borrow::Cow, collections::BTreeMap, io};

use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use super::{Limits, MeshFormat, format_of, gltf, material_references, path::resolve_path, references, too_large};
use crate::error::StageError;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    name: String,
    main: Vec<u8>,
    /// By path relative to the main file's folder.
    files: BTreeMap<String, Vec<u8>>,
}

impl Bundle {
    /// A file that stands alone. `name` may be empty.
    pub fn single(name: impl Into<String>, bytes: Vec<u8>) -> Bundle {
        Bundle { name: name.into(), main: bytes, files: BTreeMap::new() }
    }

    /// The main file and everything it refers to. `fetch` is given a path relative
    /// to the main file's folder, with `/` between its parts and never `..`, and how
    /// many bytes there is still room for; `None` says that there is no such file.
    ///
    /// Textures and material files that are absent are left out, `read` notes
    /// them; an absent glTF buffer is `InvalidInput`, as is a file that cannot be
    /// read and a reference that is refused. `TooLarge` over `limits`.
    pub fn gather(
        name: impl Into<String>,
        main: Vec<u8>,
        limits: &Limits,
        mut fetch: impl FnMut(&str, u64) -> io::Result<Option<Vec<u8>>>,
    ) -> Result<Bundle, StageError> {
        let mut bundle = Bundle::single(name, main);
        bundle.check_size(limits)?;
        let format = format_of(&bundle.name, &bundle.main)?;
        let mut wanted = references(&bundle.main, format)?;
        let mut next = 0;
        while let Some(path) = wanted.get(next).cloned() {
            next += 1;
            if wanted.len() >= limits.files {
                return Err(too_large("references to other files", wanted.len(), limits.files));
            }
            let room = limits.bytes - bundle.size().min(limits.bytes);
            let found = match fetch(&path, room) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => {
                    let message = format!("the file `{path}` that the mesh refers to cannot be read: {error}");
                    return Err(StageError::invalid(message, "make the file readable, or export a GLB"));
                }
                Ok(found) => found,
            };
            let Some(bytes) = found else { continue };
            if format == MeshFormat::Obj && is_material_file(&path) {
                let more = material_references(&bytes);
                if more.len() > limits.files {
                    return Err(too_large("references to other files", more.len(), limits.files));
                }
                let new: Vec<String> = more.into_iter().filter(|path| !wanted.contains(path)).collect();
                wanted.extend(new);
            }
            bundle.files.insert(path, bytes);
            bundle.check_size(limits)?;
        }
        if let Some(path) = gltf::buffers(&bundle.main, format)?.iter().find(|path| !bundle.files.contains_key(*path)) {
            return Err(missing_buffer(path));
        }
        Ok(bundle)
    }

    /// The main file's name, empty where it is not known.
    pub fn main_name(&self) -> &str {
        &self.name
    }

    pub fn main(&self) -> &[u8] {
        &self.main
    }

    /// The file at `path`, as `path::resolve_uri` or `resolve_path` gave it.
    pub fn file(&self, path: &str) -> Option<&[u8]> {
        self.files.get(path).map(Vec::as_slice)
    }

    /// Paths of the files besides the main one, sorted.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// Bytes of all files.
    pub fn size(&self) -> u64 {
        self.main.len() as u64 + self.files.values().map(|bytes| bytes.len() as u64).sum::<u64>()
    }

    pub(super) fn check_size(&self, limits: &Limits) -> Result<(), StageError> {
        if self.size() > limits.bytes {
            return Err(too_large("bytes", self.size(), limits.bytes));
        }
        Ok(())
    }

    /// One blob. Equal bundles give equal bytes. The name of a single file is not kept.
    pub fn to_bytes(&self) -> Result<Cow<'_, [u8]>, StageError> {
        if self.files.is_empty() {
            return Ok(Cow::Borrowed(&self.main));
        }
        let internal = |e: safetensors::SafeTensorError| StageError::internal(e.to_string());
        let main = [(format!("{MAIN}{}", self.name), &self.main)];
        let files = self.files.iter().map(|(path, bytes)| (format!("{FILE}{path}"), bytes));
        let mut views = Vec::with_capacity(1 + self.files.len());
        for (name, bytes) in main.into_iter().chain(files) {
            views.push((name, TensorView::new(Dtype::U8, vec![bytes.len()], bytes).map_err(internal)?));
        }
        safetensors::serialize(views, None).map(Cow::Owned).map_err(internal)
    }

    /// What `to_bytes` gave; anything else is a bundle of that one file.
    pub fn from_bytes(bytes: &[u8]) -> Bundle {
        unpacked(bytes).unwrap_or_else(|| Bundle::single("", bytes.to_vec()))
    }
}

const MAIN: &str = "main/";
const FILE: &str = "file/";

fn unpacked(bytes: &[u8]) -> Option<Bundle> {
    // Most files are not even close: spare them the parser.
    if bytes.get(8) != Some(&b'{') {
        return None;
    }
    let tensors = SafeTensors::deserialize(bytes).ok()?;
    let mut main = None;
    let mut files = BTreeMap::new();
    for (name, tensor) in tensors.iter() {
        match (name.strip_prefix(MAIN), name.strip_prefix(FILE)) {
            (Some(name), _) if main.is_none() => main = Some((name, tensor.data())),
            // Only paths that could have been gathered: a blob is a stranger's, too.
            (_, Some(path)) if resolve_path(path).is_ok_and(|resolved| resolved == path) => {
                files.insert(path.to_owned(), tensor.data().to_vec());
            }
            _ => return None,
        }
    }
    let (name, main) = main?;
    Some(Bundle { name: name.to_owned(), main: main.to_vec(), files })
}

pub(super) fn is_material_file(path: &str) -> bool {
    path.to_ascii_lowercase().ends_with(".mtl")
}

pub(super) fn missing_buffer(path: &str) -> StageError {
    StageError::invalid(
        format!("the buffer file `{path}` of the glTF is missing"),
        "put it beside the .gltf, or export a GLB, which holds everything",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::StageErrorKind;

    const OBJ: &[u8] = b"mtllib a.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nusemtl m\nf 1 2 3\n";

    fn folder(path: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(match path {
            "a.mtl" => Some(b"newmtl m\nmap_Kd tex/a b.png\nmap_Ke gone.png\n".to_vec()),
            "tex/a b.png" => Some(b"pixels".to_vec()),
            _ => None,
        })
    }

    #[test]
    fn materials_and_then_their_textures_are_gathered() {
        let mut asked = Vec::new();
        let bundle = Bundle::gather("a.obj", OBJ.to_vec(), &Limits::default(), |path, _| {
            asked.push(path.to_owned());
            folder(path)
        })
        .unwrap();
        assert_eq!(asked, ["a.mtl", "tex/a b.png", "gone.png"]);
        assert_eq!(bundle.paths().collect::<Vec<_>>(), ["a.mtl", "tex/a b.png"]);
        let blob = bundle.to_bytes().unwrap().into_owned();
        assert_eq!(Bundle::from_bytes(&blob), bundle);
        assert_eq!(*bundle.to_bytes().unwrap(), *blob);
        let error = Bundle::gather("a.obj", OBJ.to_vec(), &Limits { bytes: 90, ..Limits::default() }, |p, _| folder(p));
        assert_eq!(error.unwrap_err().kind, StageErrorKind::TooLarge);
        let error = Bundle::gather("a.obj", OBJ.to_vec(), &Limits { files: 2, ..Limits::default() }, |p, _| folder(p));
        assert_eq!(error.unwrap_err().kind, StageErrorKind::TooLarge);
    }

    #[test]
    fn a_single_file_is_its_own_blob() {
        let bundle = Bundle::single("a.obj", OBJ.to_vec());
        assert_eq!(*bundle.to_bytes().unwrap(), *OBJ);
        assert_eq!(Bundle::from_bytes(OBJ).main(), OBJ);
        for bytes in [&b""[..], b"12345678{", b"\x02\0\0\0\0\0\0\0{}"] {
            assert_eq!(Bundle::from_bytes(bytes), Bundle::single("", bytes.to_vec()));
        }
    }

    #[test]
    fn a_blob_with_paths_that_leave_the_folder_is_no_bundle() {
        let mut bundle = Bundle::single("a", b"x".to_vec());
        bundle.files.insert("../b".to_owned(), Vec::new());
        let blob = bundle.to_bytes().unwrap();
        assert_eq!(Bundle::from_bytes(&blob).main(), &*blob);
    }

    #[test]
    fn a_missing_buffer_is_an_error_and_a_missing_picture_is_not() {
        let gltf =
            br#"{"asset":{"version":"2.0"},"buffers":[{"uri":"a%20b.bin","byteLength":4}],"images":[{"uri":"c.png"}]}"#;
        let gather = |bin: Option<Vec<u8>>| {
            Bundle::gather("a.gltf", gltf.to_vec(), &Limits::default(), |path, _| {
                Ok(if path == "a b.bin" { bin.clone() } else { None })
            })
        };
        let error = gather(None).unwrap_err();
        assert!(error.kind == StageErrorKind::InvalidInput && error.message.contains("`a b.bin`"), "{error}");
        assert_eq!(gather(Some(vec![0; 4])).unwrap().paths().collect::<Vec<_>>(), ["a b.bin"]);
        let denied = |_: &str, _| Err(io::Error::from(io::ErrorKind::PermissionDenied));
        let error = Bundle::gather("a.gltf", gltf.to_vec(), &Limits::default(), denied).unwrap_err();
        assert_eq!(error.kind, StageErrorKind::InvalidInput);
    }
}
