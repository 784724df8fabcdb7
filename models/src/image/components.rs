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

/// A horizontal stretch of equal pixels.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    pub y: usize,
    /// Columns `left..right`.
    pub left: usize,
    pub right: usize,
    pub component: usize,
}

/// All runs of a mask, row by row from the left, and the components they make up,
/// in the order of their first pixel. Set parts connect through corners, unset
/// ones do not, so that a diagonal line separates.
pub fn components(mask: &Plane<bool>) -> (Vec<Run>, Vec<Component>) {
    let (width, height) = (mask.width, mask.height);
    let mut runs: Vec<Run> = Vec::new();
    let mut parents: Vec<usize> = Vec::new();
    let mut above = 0..0;
    for y in 0..height {
        let row = mask.row(y);
        let first = runs.len();
        let mut over = above.start;
        let mut left = 0;
        while left < width {
            let label = row[left];
            let right = left + row[left..].iter().take_while(|v| **v == label).count();
            let run = runs.len();
            runs.push(Run { y, left, right, component: run });
            parents.push(run);
            // Set runs look one pixel further to both sides.
            let reach = usize::from(label);
            while over < above.end && runs[over].right + reach <= left {
                over += 1;
            }
            let mut other = over;
            while other < above.end && runs[other].left < right + reach {
                if mask.at(runs[other].left, y - 1) == label {
                    join(&mut parents, run, other);
                }
                other += 1;
            }
            left = right;
        }
        above = first..runs.len();
    }

    let mut ids = vec![usize::MAX; runs.len()];
    let mut found: Vec<Component> = Vec::new();
    let mut sums: Vec<(f64, f64)> = Vec::new();
    for (i, run) in runs.iter_mut().enumerate() {
        let root = root(&mut parents, i);
        let Run { y, left, right, .. } = *run;
        if ids[root] == usize::MAX {
            ids[root] = found.len();
            let (label, centre) = (mask.at(left, y), (0.0, 0.0));
            found.push(Component { label, area: 0, on_border: 0, left, right: 0, top: y, bottom: y, centre });
            sums.push((0.0, 0.0));
        }
        let id = ids[root];
        run.component = id;
        let (component, n) = (&mut found[id], right - left);
        component.area += n;
        component.on_border += match y {
            _ if y == 0 || y + 1 == height => n,
            _ => (usize::from(left == 0) + usize::from(right == width)).min(n),
        };
        component.left = component.left.min(left);
        component.right = component.right.max(right - 1);
        component.bottom = y;
        sums[id].0 += (left + right - 1) as f64 * n as f64 / 2.0;
        sums[id].1 += (y * n) as f64;
    }
    for (component, (x, y)) in found.iter_mut().zip(sums) {
        let n = component.area as f64;
        component.centre = ((x / n) as f32, (y / n) as f32);
    }
    (runs, found)
}

/// A mask that is set where `keep` says so of the component.
pub fn select(width: usize, height: usize, runs: &[Run], keep: impl Fn(usize) -> bool) -> Plane<bool> {
    let mut out = Plane::filled(width, height, false);
    for run in runs.iter().filter(|run| keep(run.component)) {
        out.data[run.y * width + run.left..run.y * width + run.right].fill(true);
    }
    out
}

fn root(parents: &mut [usize], mut at: usize) -> usize {
    while parents[at] != at {
        parents[at] = parents[parents[at]];
        at = parents[at];
    }
    at
}

/// The earlier run becomes the root.
fn join(parents: &mut [usize], a: usize, b: usize) {
    let (a, b) = (root(parents, a), root(parents, b));
    parents[a.max(b)] = a.min(b);
}

pub struct Keep {
    /// Parts near the main one are kept from this share of its area on.
    pub smallest_part: f32,
    /// Holes below this share of the main part's area are filled.
    pub pinhole: f32,
}

/// Keeps the main part, the largest and most central, and what belongs to it by
/// size and nearness; fills pinholes.
pub fn keep_object(mask: &Plane<bool>, keep: &Keep) -> Plane<bool> {
    let (runs, found) = components(mask);
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
                share >= 1.0
                    || (share > 0.25 && gap < 2.0 * near)
                    || (share > keep.smallest_part && gap < near && c.on_border == 0)
            } else {
                c.on_border == 0 && share < keep.pinhole
            }
        })
        .collect();
    select(mask.width, mask.height, &runs, |component| kept[component])
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
    fn agrees_with_a_flood_fill() {
        let mut rng = fastrand::Rng::with_seed(9);
        for round in 0..60 {
            let (width, height) = (rng.usize(1..24), rng.usize(1..24));
            let share = 0.2 + 0.1 * (round % 6) as f32;
            let mask = Plane { width, height, data: (0..width * height).map(|_| rng.f32() < share).collect() };
            let mut areas = Vec::new();
            let mut seen = vec![false; width * height];
            for start in 0..seen.len() {
                let (mut stack, mut area) = (vec![start], 0);
                while let Some(at) = stack.pop() {
                    if std::mem::replace(&mut seen[at], true) {
                        continue;
                    }
                    area += 1;
                    for (next, seen) in seen.iter().enumerate() {
                        let (dx, dy) = ((next % width).abs_diff(at % width), (next / width).abs_diff(at / width));
                        let near = if mask.data[at] { dx.max(dy) == 1 } else { dx + dy == 1 };
                        if near && !seen && mask.data[next] == mask.data[at] {
                            stack.push(next);
                        }
                    }
                }
                if area > 0 {
                    areas.push((mask.data[start], area));
                }
            }
            let found: Vec<(bool, usize)> = components(&mask).1.iter().map(|c| (c.label, c.area)).collect();
            assert_eq!(found, areas, "{width}x{height}");
        }
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
        let kept = keep_object(&picture, &Keep { smallest_part: 0.01, pinhole: 0.001 });
        assert!(!kept.at(5, 5) && !kept.at(50, 95), "specks");
        assert!(kept.at(30, 30), "pinhole");
        assert!(!kept.at(55, 55), "hole");
    }
}
