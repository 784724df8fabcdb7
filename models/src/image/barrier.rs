//! Barrier distance: how large a change of colour every way from the background
//! to a pixel has to climb over.
//!
//! Zhang et al., "Minimum barrier salient object detection at 80 FPS", 2015.
//! Blind to slow gradients and soft shadows, which is what makes it a good first
//! guess of where the object is.

use super::{oklab::Lab, plane::Plane};

const PASSES: usize = 4;

/// Sum over the channels of the barrier distance to the nearest seed; 0 at seeds.
/// All zero without seeds.
pub fn barrier_distance(lab: &Plane<Lab>, seeds: &Plane<bool>) -> Plane<f32> {
    let mut total = Plane::filled(lab.width, lab.height, 0.0f32);
    if !seeds.data.contains(&true) {
        return total;
    }
    for channel in 0..3 {
        let values: Vec<f32> = lab.data.iter().map(|c| c[channel]).collect();
        let distance = channel_distance(&values, seeds);
        for (total, distance) in total.data.iter_mut().zip(distance) {
            *total += distance;
        }
    }
    total
}

/// Raster scans from corner to corner and back, each pixel taking the better of
/// the ways through its two neighbours already seen.
fn channel_distance(values: &[f32], seeds: &Plane<bool>) -> Vec<f32> {
    let (width, height) = (seeds.width, seeds.height);
    let mut distance: Vec<f32> = seeds.data.iter().map(|seed| if *seed { 0.0 } else { f32::INFINITY }).collect();
    let mut highest = values.to_vec();
    let mut lowest = values.to_vec();
    let mut visit = |at: usize, from: usize| {
        let (high, low) = (highest[from].max(values[at]), lowest[from].min(values[at]));
        if distance[from].is_finite() && high - low < distance[at] {
            distance[at] = high - low;
            highest[at] = high;
            lowest[at] = low;
        }
    };
    for pass in 0..PASSES {
        for i in 0..width * height {
            let at = if pass % 2 == 0 { i } else { width * height - 1 - i };
            let (x, y) = (at % width, at / width);
            if pass % 2 == 0 {
                if x > 0 {
                    visit(at, at - 1);
                }
                if y > 0 {
                    visit(at, at - width);
                }
            } else {
                if x + 1 < width {
                    visit(at, at + 1);
                }
                if y + 1 < height {
                    visit(at, at + width);
                }
            }
        }
    }
    distance
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn climbs_over_a_wall_but_not_up_a_slope_twice() {
        // A slope from 0 to 0.5 with a box of 0.9 that has a dent of 0.2 inside.
        let lab = Plane::from_fn(40, 20, |x, y| {
            let slope = 0.5 * x as f32 / 39.0;
            let boxed = (10..30).contains(&x) && (5..15).contains(&y);
            let dent = (18..22).contains(&x) && (9..11).contains(&y);
            [
                if dent {
                    0.2
                } else if boxed {
                    0.9
                } else {
                    slope
                },
                0.0,
                0.0,
            ]
        });
        let seeds = Plane::from_fn(40, 20, |x, y| x == 0 || y == 0 || x == 39 || y == 19);
        let distance = barrier_distance(&lab, &seeds);
        assert_eq!(distance.at(0, 7), 0.0);
        assert!(distance.at(20, 2) < 0.02, "a straight way down from the border does not climb");
        assert!(distance.at(15, 10) > 0.4);
        assert!(distance.at(20, 10) > 0.4, "inside, behind the wall");
    }
}
