//! Pictures that clients click on: looked at once, then each click is answered from what was seen.
//!
//! What was seen stays as long as the net that saw it, up to a number of pictures: 14 MB each.

use base64::{Engine, prelude::BASE64_STANDARD};
use meshkiln_models::{
    StageError,
    image::{decode, plane::fit, png_io},
    nets::{
        Watch,
        sam::{self, Embedding, Point, Sam, Wanted},
    },
    slot::Slot,
};
use meshkiln_protocol::cutout::{CutoutFrame, CutoutMask, CutoutPoint};

use super::{
    execute::{failure, read_input},
    frames::{Failure, Looked, Prompt},
};
use crate::store::blobs::{BlobStore, Digest};

/// Pictures that are remembered.
const MOST: usize = 6;
/// Longest side of a mask that is sent, in pixels.
const MASK_SIDE: usize = 1024;

/// Net, and the source.
type Key = (String, Digest);

/// A picture as the user has it.
pub struct Picture<'a> {
    pub blobs: &'a BlobStore,
    pub digest: Digest,
}

#[derive(Default)]
pub struct Looks {
    /// Last used last.
    seen: Vec<(Key, Embedding)>,
}

impl Looks {
    /// What `prompt` means on the picture. `step` hears counted work.
    ///
    /// Errors: it is lost, or no picture; places outside of it; what `step` says.
    pub fn ask(
        &mut self,
        (id, net): (&str, &Sam),
        picture: &Picture,
        prompt: Option<&Prompt>,
        step: &dyn Fn(u32, u32) -> Result<(), StageError>,
    ) -> Result<Looked, Failure> {
        let key = (id.to_owned(), picture.digest);
        let known = self.seen.iter().position(|(seen, _)| *seen == key).map(|at| self.seen.remove(at).1);
        let embedded = known.is_none();
        let embedding = match known {
            Some(embedding) => embedding,
            None => {
                let bytes = read_input(picture.blobs, Slot::Source, picture.digest)?;
                let decoded = decode::decode(&bytes).map_err(failure)?;
                net.embed(&sam::picture::colours(&decoded.image), &Watch { step, tap: None }).map_err(failure)?
            }
        };
        self.seen.push((key, embedding.clone()));
        if self.seen.len() > MOST {
            self.seen.remove(0);
        }
        looked(net, &embedding, embedded, prompt).map_err(failure)
    }

    /// The net goes, and what it saw with it.
    pub fn forget(&mut self, net: &str) {
        self.seen.retain(|((id, _), _)| id != net);
    }
}

fn looked(net: &Sam, embedding: &Embedding, embedded: bool, prompt: Option<&Prompt>) -> Result<Looked, StageError> {
    let fit_of = embedding.fit;
    let (mask_width, mask_height) = fit(fit_of.width, fit_of.height, MASK_SIDE);
    let mut answer = Looked {
        width: fit_of.width as u32,
        height: fit_of.height as u32,
        embedded,
        mask_width: mask_width as u32,
        mask_height: mask_height as u32,
        masks: Vec::new(),
    };
    let Some(prompt) = prompt else { return Ok(answer) };
    let prompt = in_picture(prompt, fit_of.width as f32, fit_of.height as f32)?;
    let masks = net.masks(embedding, &prompt, Wanted::of(&prompt), &Watch::nobody())?;
    let mut order: Vec<usize> = (0..masks.iou.len()).collect();
    order.sort_by(|a, b| masks.iou[*b].total_cmp(&masks.iou[*a]));
    for i in order {
        let mask = fit_of.enlarged(&masks.logits[i], masks.side, mask_width, mask_height).map(|logit| logit > 0.0);
        let n_set = mask.data.iter().filter(|set| **set).count();
        answer.masks.push(CutoutMask {
            png_base64: BASE64_STANDARD.encode(png_io::encode_mask(&mask)?),
            iou: masks.iou[i],
            share: n_set as f32 / mask.data.len() as f32,
        });
    }
    Ok(answer)
}

/// Errors: a place outside of a picture of this size.
fn in_picture(prompt: &Prompt, width: f32, height: f32) -> Result<sam::Prompt, StageError> {
    let outside = |what: String| {
        let message = format!("{what} is outside the picture of {width}x{height} pixels");
        StageError::invalid(message, "give places in pixels from the picture's top left corner")
    };
    let point = |point: &CutoutPoint| match point.x <= width && point.y <= height {
        true => Ok(Point { x: point.x, y: point.y, is_object: point.object }),
        false => Err(outside(format!("point {},{}", point.x, point.y))),
    };
    let frame = |CutoutFrame { left, top, right, bottom }| match left < width && top < height {
        true => Ok(sam::Frame { left, top, right: f32::min(right, width), bottom: f32::min(bottom, height) }),
        false => Err(outside(format!("frame {left},{top},{right},{bottom}"))),
    };
    Ok(sam::Prompt {
        points: prompt.points.iter().map(point).collect::<Result<_, _>>()?,
        frame: prompt.frame.map(frame).transpose()?,
        mask: None,
    })
}
