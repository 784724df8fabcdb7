//! Places charts on the texture.

use glam::DVec2;

use super::{Chart, bounds};

/// Scales and moves the charts into 0..1, all at the same scale, `padding` apart
/// and away from the border. Shelves, tallest chart first: two large charts come
/// to lie side by side, or one above the other when they are wide.
pub fn pack(charts: &mut [Chart], padding: f64) {
    let boxes: Vec<(DVec2, DVec2)> = charts
        .iter()
        .map(|chart| {
            let all: Vec<DVec2> = chart.corners.iter().flatten().copied().collect();
            let (low, high) = bounds(&all);
            (low, high - low)
        })
        .collect();
    let mut order: Vec<usize> = (0..charts.len()).collect();
    order.sort_by(|&a, &b| boxes[b].1.y.total_cmp(&boxes[a].1.y));
    let sizes: Vec<DVec2> = order.iter().map(|&i| boxes[i].1).collect();

    let mut padding = padding.clamp(0.0, 1.0 / 16.0);
    let (scale, places) = loop {
        match best_shelves(&sizes, padding) {
            Some(best) => break best,
            None if padding > 1e-9 => padding /= 2.0,
            None => return,
        }
    };
    for (&chart, place) in order.iter().zip(places) {
        for corner in charts[chart].corners.iter_mut().flatten() {
            *corner =
                ((*corner - boxes[chart].0) * scale + place).clamp(DVec2::splat(padding), DVec2::splat(1.0 - padding));
        }
    }
}

/// Largest scale at which the boxes fit, by bisection, and their corners.
fn best_shelves(sizes: &[DVec2], padding: f64) -> Option<(f64, Vec<DVec2>)> {
    let largest = sizes.iter().map(|s| s.max_element()).fold(f64::MIN_POSITIVE, f64::max);
    let (mut fits, mut too_large) = (0.0, 1.0 / largest);
    for _ in 0..50 {
        let scale = (fits + too_large) / 2.0;
        if shelves(sizes, scale, padding).is_some() {
            fits = scale;
        } else {
            too_large = scale;
        }
    }
    (fits > 0.0).then_some((fits, shelves(sizes, fits, padding)?))
}

/// Places boxes left to right, and below one another when a row is full.
fn shelves(sizes: &[DVec2], scale: f64, padding: f64) -> Option<Vec<DVec2>> {
    let mut places = Vec::with_capacity(sizes.len());
    let mut at = DVec2::splat(padding);
    let mut shelf_height: f64 = 0.0;
    for size in sizes.iter().map(|s| *s * scale) {
        if at.x + size.x + padding > 1.0 && at.x > padding {
            at = DVec2::new(padding, at.y + shelf_height + padding);
            shelf_height = 0.0;
        }
        if at.x + size.x + padding > 1.0 || at.y + size.y + padding > 1.0 {
            return None;
        }
        places.push(at);
        at.x += size.x + padding;
        shelf_height = shelf_height.max(size.y);
    }
    Some(places)
}
