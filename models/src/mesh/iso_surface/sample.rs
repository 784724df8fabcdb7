//! Asks the field, in batches, and counts.

use glam::Vec3;
use rayon::prelude::*;

use super::{
    Field, Inside, IsoOptions, Step,
    lattice::{Index, LARGEST, Lattice},
};
use crate::error::StageError;

/// Batches between two looks at whether the job was cancelled.
const BATCHES_PER_CHECK: usize = 16;
const INDICES_AT_ONCE: usize = 1 << 20;

pub struct Sampler<'a> {
    pub field: &'a Field<'a>,
    pub options: &'a IsoOptions,
    pub step: &'a Step<'a>,
    pub n_points: u64,
}

impl Sampler<'_> {
    /// Values at lattice points, positive inside, at most `LARGEST` in size.
    pub fn at_indices(&mut self, lattice: &Lattice, indices: &[Index]) -> Result<Vec<f32>, StageError> {
        let mut values = Vec::with_capacity(indices.len());
        for group in indices.chunks(INDICES_AT_ONCE) {
            let points: Vec<Vec3> = group.iter().map(|&index| lattice.position(index)).collect();
            values.append(&mut self.at_points(&points)?);
        }
        Ok(values)
    }

    /// Values at points in metres, positive inside.
    pub fn at_points(&mut self, points: &[Vec3]) -> Result<Vec<f32>, StageError> {
        let mut values = Vec::with_capacity(points.len());
        let batch = self.options.batch_points.max(1);
        for group in points.chunks(batch * BATCHES_PER_CHECK) {
            self.step.check()?;
            let found: Vec<Result<Vec<f32>, StageError>> = group
                .par_chunks(batch)
                .map(|part| ask(self.field, part, self.options.level, self.options.inside))
                .collect();
            for part in found {
                values.extend(part?);
            }
        }
        self.n_points += points.len() as u64;
        Ok(values)
    }
}

fn ask(field: &Field, points: &[Vec3], level: f32, inside: Inside) -> Result<Vec<f32>, StageError> {
    let mut values = field(points)?;
    if values.len() != points.len() {
        return Err(StageError::internal(format!("field gave {} values for {} points", values.len(), points.len())));
    }
    if let Some(i) = to_depths(&mut values, level, inside) {
        return Err(not_finite(values[i], format!("{} m", points[i])));
    }
    Ok(values)
}

/// How far values are on the inner side of the level. Where one is not finite
/// nothing changes, and the first such index is returned.
pub fn to_depths(values: &mut [f32], level: f32, inside: Inside) -> Option<usize> {
    // In parts without a branch inside, which is much faster.
    let is_bad = |part: &[f32]| part.iter().fold(false, |any, value| any | !value.is_finite());
    if let Some(part) = values.chunks(64).position(is_bad) {
        return (64 * part..values.len()).find(|&i| !values[i].is_finite());
    }
    let sign = match inside {
        Inside::Above => 1.0,
        Inside::Below => -1.0,
    };
    values.iter_mut().for_each(|value| *value = ((*value - level) * sign).clamp(-LARGEST, LARGEST));
    None
}

pub fn not_finite(value: f32, place: String) -> StageError {
    StageError::invalid(
        format!("field is {value} at {place}, finite values are needed"),
        "choose other bounds, or clamp the field before it is handed over",
    )
}
