//! What a TorchScript module takes and makes: slots of its stage, as tensors.
//!
//! ```toml
//! kind = "torchscript"
//! stage = "cutout"
//! weights = "model.pt"          # as `torch.jit.save` writes it; this name unless given
//!
//! [[input]]                     # in the order of the arguments of `forward`
//! slot = "image"
//! shape = [1, 3, 320, 320]      # batch, channels, rows, columns: the picture is resized
//! range = [0, 1]                # of values before mean and std; 0 to 1 unless given
//! mean = [0.485, 0.456, 0.406]  # taken off, channel by channel; 0 unless given
//! std = [0.229, 0.224, 0.225]   # divided by; 1 unless given
//!
//! [[output]]                    # a tensor, or in the order of a tuple
//! slot = "cutout"               # one channel: how opaque the picture is
//! shape = [1, 1, 320, 320]
//! range = [0, 1]                # transparent, opaque
//! ```

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::manifest::{Place, check_keys, numbers, required};
use crate::{
    recipe::{RecipeError, expected, table_of, text_of, unknown},
    slot::Slot,
    stage::{STAGES, Stage},
};

/// Id of the engines that run modules.
pub const ENGINE: &str = "torchscript";
/// Longest side of a picture that a module is given, in pixels.
const LONGEST_SIDE: f64 = 8192.0;

#[derive(Debug, Clone, PartialEq)]
pub struct Signature {
    pub stage: &'static str,
    pub inputs: Vec<Port>,
    pub outputs: Vec<Port>,
}

/// A slot as a tensor [1, channels, height, width].
#[derive(Debug, Clone, PartialEq)]
pub struct Port {
    /// In the manifest: `input[0]`.
    pub name: String,
    pub slot: Slot,
    pub channels: usize,
    pub height: usize,
    pub width: usize,
    /// Values of black and white, or of transparent and opaque, before mean and deviation.
    pub range: [f32; 2],
    /// By channel.
    pub mean: Vec<f32>,
    /// By channel; none is 0.
    pub std: Vec<f32>,
}

impl Port {
    pub fn shape(&self) -> [i64; 4] {
        [1, self.channels as i64, self.height as i64, self.width as i64]
    }

    pub fn len(&self) -> usize {
        self.channels * self.height * self.width
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

pub(super) fn parse(table: &DeTable, place: Place) -> Result<Signature, RecipeError> {
    let value = required(table, "stage", "name the stage that it does: stage = \"cutout\"")?;
    let stage = stage_of(value).map_err(|e| e.or_at(place(value.span().start)))?;
    let ports = |key: &str, slots: Vec<Slot>, channels: &[usize]| -> Result<Vec<Port>, RecipeError> {
        let value = required(table, key, &format!("say what it is: [[{key}]] with slot and shape"))?;
        let list = value.get_ref().as_array().filter(|list| !list.is_empty());
        let list = list.ok_or_else(|| expected("a list of tables", value).or_at(place(value.span().start)))?;
        let of = |(i, entry): (usize, &Spanned<DeValue>)| {
            port(&format!("{key}[{i}]"), entry, &slots, channels, place).map_err(|e| e.or_at(place(entry.span().start)))
        };
        list.iter().enumerate().map(of).collect()
    };
    Ok(Signature {
        stage: stage.id,
        inputs: ports("input", stage.sees().filter(is_picture).collect(), &[3, 4])?,
        outputs: ports("output", stage.writes.iter().copied().filter(is_picture).collect(), &[1])?,
    })
}

/// One of those that have an engine for modules.
fn stage_of(value: &Spanned<DeValue>) -> Result<&'static Stage, RecipeError> {
    let given = text_of(value)?;
    let valid = || STAGES.iter().filter(|stage| stage.engine(ENGINE).is_some());
    let found = valid().find(|stage| stage.id == given);
    found.ok_or_else(|| unknown("stage that runs modules", given, valid().map(|stage| stage.id)))
}

fn is_picture(slot: &Slot) -> bool {
    matches!(slot, Slot::Image | Slot::Cutout)
}

fn port(
    name: &str,
    entry: &Spanned<DeValue>,
    slots: &[Slot],
    channels: &[usize],
    place: Place,
) -> Result<Port, RecipeError> {
    let table = table_of(entry)?;
    check_keys(table, &["slot", "shape", "range", "mean", "std"], place)?;
    let wrong = |key: &str, what: String, hint: String| {
        let at = table.get(key).and_then(|value| place(value.span().start));
        RecipeError { message: format!("`{name}.{key}` {what}"), hint, at }
    };
    let list = |key: &str| match table.get(key) {
        Some(value) => numbers(value).map(Some).map_err(|e| e.or_at(place(value.span().start))),
        None => Ok(None),
    };

    let value = required(table, "slot", "name what the tensor stands for: slot = \"image\"")?;
    let given = text_of(value).map_err(|e| e.or_at(place(value.span().start)))?;
    let slot = slots.iter().find(|slot| slot.id() == given).ok_or_else(|| {
        unknown(&format!("slot for `{name}`"), given, slots.iter().map(|slot| slot.id()))
            .or_at(place(value.span().start))
    })?;

    required(table, "shape", "say batch, channels, rows and columns: shape = [1, 3, 320, 320]")?;
    let shape = list("shape")?.unwrap_or_default();
    let is_size = |n: &f64| n.fract() == 0.0 && (1.0..=LONGEST_SIDE).contains(n);
    let many: Vec<String> = channels.iter().map(usize::to_string).collect();
    let many = many.join(" or ");
    let [1.0, n_channels, height, width] = shape[..] else {
        let hint = format!("write shape = [1, {}, ROWS, COLUMNS]", channels[0]);
        return Err(wrong("shape", format!("is [{}], not batch 1, channels, rows, columns", listed(&shape)), hint));
    };
    if !channels.iter().any(|n| *n as f64 == n_channels) {
        return Err(wrong(
            "shape",
            format!("has {n_channels} channels, not {many}"),
            format!("make the second number {many}"),
        ));
    }
    if !(is_size(&height) && is_size(&width)) {
        let what = format!("is {height} x {width} pixels, not whole numbers from 1 to {LONGEST_SIDE}");
        return Err(wrong("shape", what, "write rows and columns in pixels".to_owned()));
    }
    let n = n_channels as usize;
    let by_channel = |key: &str, default: f32| -> Result<Vec<f32>, RecipeError> {
        let Some(values) = list(key)? else { return Ok(vec![default; n]) };
        if values.len() != n {
            let what = format!("has {} of {n} numbers", values.len());
            return Err(wrong(key, what, "write one number for each channel".to_owned()));
        }
        Ok(values.into_iter().map(|value| value as f32).collect())
    };
    let range = match list("range")?.unwrap_or(vec![0.0, 1.0])[..] {
        [low, high] if low != high => [low as f32, high as f32],
        ref other => {
            let what = format!("is [{}], not two different numbers", listed(other));
            return Err(wrong("range", what, "write range = [0, 1]".to_owned()));
        }
    };
    let std = by_channel("std", 1.0)?;
    if std.contains(&0.0) {
        return Err(wrong(
            "std",
            "is 0".to_owned(),
            "values are divided by it: leave it out, or write another".to_owned(),
        ));
    }
    Ok(Port {
        name: name.to_owned(),
        slot: *slot,
        channels: n,
        height: height as usize,
        width: width as usize,
        range,
        mean: by_channel("mean", 0.0)?,
        std,
    })
}

fn listed(numbers: &[f64]) -> String {
    numbers.iter().map(f64::to_string).collect::<Vec<_>>().join(", ")
}
