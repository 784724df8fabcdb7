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
    for (value, point) in values.iter_mut().zip(points) {
        *value = inside_depth(*value, level, inside).ok_or_else(|| not_finite(*value, format!("{point} m")))?;
    }
    Ok(values)
}

/// How far a value is on the inner side of the level; `None` where it is not finite.
pub fn inside_depth(value: f32, level: f32, inside: Inside) -> Option<f32> {
    let depth = match inside {
        Inside::Above => value - level,
        Inside::Below => level - value,
    };
    value.is_finite().then(|| depth.clamp(-LARGEST, LARGEST))
}

pub fn not_finite(value: f32, place: String) -> StageError {
    StageError::invalid(
        format!("field is {value} at {place}, finite values are needed"),
        "choose other bounds, or clamp the field before it is handed over",
    )
}
