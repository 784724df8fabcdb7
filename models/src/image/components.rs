//! Connected parts of a mask.

use super::plane::Plane;

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Component {
    pub label: bool,
    /// Pixels in it.
    pub area: usize,
    /// Pixels of it on the picture's border.
    pub on_border: usize,
    /// Bounds, inclusive.
    pub left: usize,
    pub right: usize,
    pub top: usize,
    pub bottom: usize,
    /// Mean place, in pixels.
    pub centre: (f32, f32),
}

/// The component each pixel belongs to. Set parts connect through corners, unset
/// ones do not, so that a diagonal line separates.
pub fn components(mask: &Plane<bool>) -> (Plane<u32>, Vec<Component>) {
    let (width, height) = (mask.width, mask.height);
    let mut owner = Plane::filled(width, height, u32::MAX);
    let mut found = Vec::new();
    let mut stack = Vec::new();
    for start in 0..mask.data.len() {
        if owner.data[start] != u32::MAX {
            continue;
        }
        let label = mask.data[start];
        let id = found.len() as u32;
        let mut component = Component {
            label,
            area: 0,
            on_border: 0,
            left: width,
            right: 0,
            top: height,
            bottom: 0,
            centre: (0.0, 0.0),
        };
        let (mut sum_x, mut sum_y) = (0u64, 0u64);
        owner.data[start] = id;
        stack.push(start);
        while let Some(at) = stack.pop() {
            let (x, y) = (at % width, at / width);
            component.area += 1;
            component.on_border += usize::from(x == 0 || y == 0 || x + 1 == width || y + 1 == height);
            component.left = component.left.min(x);
            component.right = component.right.max(x);
            component.top = component.top.min(y);
            component.bottom = component.bottom.max(y);
            sum_x += x as u64;
            sum_y += y as u64;
            for row in y.saturating_sub(1)..(y + 2).min(height) {
                for column in x.saturating_sub(1)..(x + 2).min(width) {
                    let next = row * width + column;
                    let diagonal = row != y && column != x;
                    if mask.data[next] == label && owner.data[next] == u32::MAX && (label || !diagonal) {
                        owner.data[next] = id;
                        stack.push(next);
                    }
                }
            }
        }
        component.centre = (sum_x as f32 / component.area as f32, sum_y as f32 / component.area as f32);
        found.push(component);
    }
    (owner, found)
}

/// Keeps the main part, the largest and most central, and what belongs to it by
/// size and nearness; fills holes of fewer than `pinhole` of the main part's area.
pub fn keep_object(mask: &Plane<bool>, pinhole: f32) -> Plane<bool> {
    let (owner, found) = components(mask);
    let (width, height) = (mask.width as f32, mask.height as f32);
    let score = |c: &Component| {
        let (u, v) = (2.0 * c.centre.0 / width - 1.0, 2.0 * c.centre.1 / height - 1.0);
        c.area as f32 * (-(u * u + v * v)).exp()
    };
    let Some(main) = found.iter().filter(|c| c.label).max_by(|a, b| score(a).total_cmp(&score(b))) else {
        return mask.clone();
    };
    let main_area = main.area as f32;
    let near = 0.08 * (width + height);
    let kept: Vec<bool> = found
        .iter()
        .map(|c| {
            let share = c.area as f32 / main_area;
            if c.label {
                let gap = gap(c, main);
                share >= 1.0 || (share > 0.25 && gap < 2.0 * near) || (share > 0.01 && gap < near && c.on_border == 0)
            } else {
                c.on_border == 0 && share < pinhole
            }
        })
        .collect();
    Plane { width: mask.width, height: mask.height, data: owner.data.iter().map(|id| kept[*id as usize]).collect() }
}

/// Distance between the bounds of two components, in pixels; 0 when they overlap.
fn gap(a: &Component, b: &Component) -> f32 {
    let x = a.left.saturating_sub(b.right).max(b.left.saturating_sub(a.right));
    let y = a.top.saturating_sub(b.bottom).max(b.top.saturating_sub(a.bottom));
    ((x * x + y * y) as f32).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(rows: &[&str]) -> Plane<bool> {
        let data = rows.iter().flat_map(|row| row.bytes().map(|b| b == b'#')).collect();
        Plane { width: rows[0].len(), height: rows.len(), data }
    }

    #[test]
    fn corners_connect_the_object_but_not_the_background() {
        let (_, found) = components(&mask(&[
            "#...", //
            ".#..", //
            "..#.", //
            "...#",
        ]));
        let n_set = found.iter().filter(|c| c.label).count();
        assert_eq!((n_set, found.len()), (1, 3));
        assert_eq!(found[0].area, 4);
        assert_eq!(found[0].on_border, 2);
    }

    #[test]
    fn specks_go_and_pinholes_close_but_holes_stay() {
        let mut picture = Plane::from_fn(100, 100, |x, y| (20..80).contains(&x) && (20..80).contains(&y));
        for (x, y) in [(5, 5), (50, 95)] {
            picture.data[y * 100 + x] = true;
        }
        picture.data[30 * 100 + 30] = false;
        for y in 50..60 {
            picture.data[y * 100 + 50..y * 100 + 60].fill(false);
        }
        let kept = keep_object(&picture, 0.001);
        assert!(!kept.at(5, 5) && !kept.at(50, 95), "specks");
        assert!(kept.at(30, 30), "pinhole");
        assert!(!kept.at(55, 55), "hole");
    }
}
