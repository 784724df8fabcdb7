//! Pictures of a mesh file to texels, each decoded once, within one budget.

use std::{collections::BTreeMap, sync::Arc};

use ::image::RgbaImage;

use super::{Bundle, Limits, assembly::Notes, damaged, path::resolve_path, too_large};
use crate::{
    error::{StageError, StageErrorKind},
    image::decode,
    mesh::textured::Material,
};

pub(super) struct Textures<'a> {
    bundle: &'a Bundle,
    limits: &'a Limits,
    /// Index in `images`, or `None` for a picture that could not be had.
    known: BTreeMap<String, Option<usize>>,
    images: Vec<Arc<RgbaImage>>,
    n_pixels: u64,
    n_unread: usize,
}

/// Most pictures of a file that cannot be read: each may take a while to fail.
const MAX_UNREAD: usize = 32;

impl<'a> Textures<'a> {
    pub fn new(bundle: &'a Bundle, limits: &'a Limits) -> Textures<'a> {
        Textures { bundle, limits, known: BTreeMap::new(), images: Vec::new(), n_pixels: 0, n_unread: 0 }
    }

    /// The picture that a file calls `path`, with a note where that is not followed.
    pub fn of_path(&mut self, path: &str, notes: &mut Notes) -> Result<Option<usize>, StageError> {
        match resolve_path(path) {
            Ok(path) => self.of_file(&path, notes),
            Err(refused) => {
                notes.add(format!("the texture is left out: {}", refused.message));
                Ok(None)
            }
        }
    }

    /// The picture in the bundle at `path`, with a note where there is none.
    pub fn of_file(&mut self, path: &str, notes: &mut Notes) -> Result<Option<usize>, StageError> {
        match self.bundle.file(path) {
            Some(bytes) => self.of_bytes(&format!("`{path}`"), bytes, notes),
            None => {
                notes.add(format!("the texture `{path}` is missing"));
                Ok(None)
            }
        }
    }

    /// The picture in `bytes`; `name` tells it from others and stands in notes.
    /// `TooLarge` over the limits; any other trouble is a note.
    pub fn of_bytes(&mut self, name: &str, bytes: &[u8], notes: &mut Notes) -> Result<Option<usize>, StageError> {
        if let Some(known) = self.known.get(name) {
            return Ok(*known);
        }
        let index = match decode::decode_texels(bytes) {
            Ok(image) => Some(self.push(image)?),
            Err(error) if error.kind == StageErrorKind::TooLarge => return Err(error),
            Err(error) => {
                self.n_unread += 1;
                if self.n_unread > MAX_UNREAD {
                    return Err(damaged(format!("more than {MAX_UNREAD} textures of the mesh cannot be read")));
                }
                notes.add(format!("the texture {name} cannot be read: {}", error.message));
                None
            }
        };
        self.known.insert(name.to_owned(), index);
        Ok(index)
    }

    /// A picture that was made of others.
    pub fn push(&mut self, image: RgbaImage) -> Result<usize, StageError> {
        self.n_pixels += u64::from(image.width()) * u64::from(image.height());
        if self.n_pixels > self.limits.texture_pixels {
            return Err(too_large("pixels of texture", self.n_pixels, self.limits.texture_pixels));
        }
        self.images.push(Arc::new(image));
        Ok(self.images.len() - 1)
    }

    pub fn image(&self, index: usize) -> &Arc<RgbaImage> {
        &self.images[index]
    }

    /// The pictures that `materials` use, which are made to name them by their new
    /// places.
    pub fn finish(self, materials: &mut [Material]) -> Vec<Arc<RgbaImage>> {
        let mut places = vec![None; self.images.len()];
        let mut images = Vec::new();
        for used in materials.iter_mut().flat_map(Material::textures_mut) {
            used.texture = *places[used.texture].get_or_insert_with(|| {
                images.push(self.images[used.texture].clone());
                images.len() - 1
            });
        }
        images
    }
}
