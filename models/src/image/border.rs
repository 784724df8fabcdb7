//! What the border of a picture says about its background.

use super::{
    oklab::Lab,
    plane::Plane,
    surface::{Place, Surface, distance},
};

/// Width of the ring of pixels looked at, in pixels.
const RING: usize = 3;
/// A background is plain when its colours scatter no more than this around a
/// smooth surface (OKLab distance) ...
const PLAIN_SIGMA: f32 = 0.03;
/// ... and at least this share of the ring belongs to it, or a smaller one when
/// the rest is in one place: an object may touch the border.
const PLAIN_SHARE: f32 = 0.85;
const TOUCHED_SHARE: f32 = 0.6;
/// How far from the surface what belongs to it may be.
const PLAIN_REACH: f32 = 0.035;
/// Colours closer than this belong to one cluster.
const CLUSTER_RADIUS: f32 = 0.09;
const MAX_CLUSTERS: usize = 12;

/// Columns `left..right`, rows `top..bottom`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    pub left: usize,
    pub top: usize,
    pub right: usize,
    pub bottom: usize,
}

#[derive(Debug, Clone)]
pub struct Border {
    /// The picture without bars of one colour around it.
    pub frame: Frame,
    /// Pixels of the ring just inside the frame that are background.
    pub seeds: Plane<bool>,
    /// The background as a whole, when it is plain.
    pub surface: Option<Surface>,
}

impl Frame {
    pub fn contains(&self, x: usize, y: usize) -> bool {
        (self.left..self.right).contains(&x) && (self.top..self.bottom).contains(&y)
    }

    /// Pixels within `depth` of the frame's inner edge, clockwise from the top left
    /// one line after the other.
    fn ring(&self, depth: usize) -> Vec<(usize, usize)> {
        let mut ring = Vec::new();
        for k in 0..depth {
            let (left, top) = (self.left + k, self.top + k);
            let (Some(right), Some(bottom)) = (self.right.checked_sub(k + 1), self.bottom.checked_sub(k + 1)) else {
                break;
            };
            if left >= right || top >= bottom {
                break;
            }
            ring.extend((left..right).map(|x| (x, top)));
            ring.extend((top..bottom).map(|y| (right, y)));
            ring.extend((left + 1..=right).rev().map(|x| (x, bottom)));
            ring.extend((top + 1..=bottom).rev().map(|y| (left, y)));
        }
        ring
    }
}

impl Frame {
    /// The same frame in a picture of half the size, rounded up.
    pub fn halved(&self) -> Frame {
        Frame { left: self.left / 2, top: self.top / 2, right: self.right.div_ceil(2), bottom: self.bottom.div_ceil(2) }
    }

    /// Where in the ring, whose outermost line comes first, the corners are.
    fn corners(&self) -> [usize; 4] {
        let (width, height) = (self.right - self.left, self.bottom - self.top);
        [0, width - 1, width + height - 2, 2 * width + height - 3]
    }
}

pub fn place(x: usize, y: usize, width: usize, height: usize) -> Place {
    let scale = |v: usize, size: usize| (2.0 * v as f32 + 1.0) / size as f32 - 1.0;
    (scale(x, width), scale(y, height))
}

/// Looks at a picture of a few hundred pixels a side.
pub fn examine(lab: &Plane<Lab>) -> Border {
    let frame = content_frame(lab);
    let ring = frame.ring(RING);
    let samples: Vec<(Place, Lab)> =
        ring.iter().map(|(x, y)| (place(*x, *y, lab.width, lab.height), lab.at(*x, *y))).collect();
    let surface = Surface::fit(&samples).filter(|surface| is_plain(surface, &samples, &frame));
    let mut seeds = Plane::filled(lab.width, lab.height, false);
    let mut mark = |(x, y): (usize, usize)| seeds.data[y * lab.width + x] = true;
    match &surface {
        Some(surface) => {
            let reach = surface.reach();
            for (pixel, (place, colour)) in ring.iter().zip(&samples) {
                if distance(colour, &surface.at(*place)) < reach {
                    mark(*pixel);
                }
            }
        }
        None => {
            let colours: Vec<Lab> = samples.iter().map(|s| s.1).collect();
            for (pixel, is_background) in ring.iter().zip(background_colours(&colours, &frame)) {
                if is_background {
                    mark(*pixel);
                }
            }
        }
    }
    Border { frame, seeds, surface }
}

fn is_plain(surface: &Surface, samples: &[(Place, Lab)], frame: &Frame) -> bool {
    let reach = surface.reach().max(PLAIN_REACH);
    let belongs: Vec<usize> =
        samples.iter().map(|(place, c)| usize::from(distance(c, &surface.at(*place)) < reach)).collect();
    let share = belongs.iter().sum::<usize>() as f32 / belongs.len().max(1) as f32;
    let outer = &belongs[..frame.ring(1).len()];
    let touched = touch(outer, 0, frame);
    surface.sigma < PLAIN_SIGMA && share > if touched { TOUCHED_SHARE } else { PLAIN_SHARE }
}

/// Whether the pixels of `cluster` lie in one place along the ring, away from its
/// corners: something touches the border there.
fn touch(outer: &[usize], cluster: usize, frame: &Frame) -> bool {
    let n = outer.iter().filter(|o| **o == cluster).count();
    let (members, first, length) = longest_run(outer, cluster);
    let covers = |corner: usize| (0..2).any(|lap| (first..first + length).contains(&(corner + lap * outer.len())));
    n > 0 && members as f32 > 0.85 * n as f32 && !frame.corners().into_iter().any(covers)
}

/// The part of the picture inside bars of one colour along its sides
/// (letterboxes and drawn frames), or all of it.
fn content_frame(lab: &Plane<Lab>) -> Frame {
    let mut frame = Frame { left: 0, top: 0, right: lab.width, bottom: lab.height };
    let column = |f: &Frame, x: usize| (f.top..f.bottom).map(|y| lab.at(x, y)).collect::<Vec<_>>();
    let row = |f: &Frame, y: usize| (f.left..f.right).map(|x| lab.at(x, y)).collect::<Vec<_>>();
    let (width, height) = (lab.width, lab.height);
    let (top, bottom) = bars(height, |k| row(&frame, k));
    frame.top += top;
    frame.bottom -= bottom;
    let (left, right) = bars(width, |k| column(&frame, k));
    frame.left += left;
    frame.right -= right;
    if frame.left + 16 > frame.right || frame.top + 16 > frame.bottom {
        return Frame { left: 0, top: 0, right: width, bottom: height };
    }
    frame
}

/// How many lines at the start and at the end are of one colour and end at a
/// straight edge that runs all the way. Of two bars of one width one may end less
/// clearly.
fn bars(n_lines: usize, line: impl Fn(usize) -> Vec<Lab>) -> (usize, usize) {
    let start = bar(n_lines, &line);
    let end = bar(n_lines, |k| line(n_lines - 1 - k));
    let alike = start.n_lines.abs_diff(end.n_lines) <= 2 + start.n_lines / 10;
    let certain = start.edge.max(end.edge) > 0.5;
    let limit = if alike && certain { 0.2 } else { 0.5 };
    let accept = |bar: &Bar| if bar.n_lines > 0 && bar.edge > limit { bar.n_lines + 1 } else { 0 };
    (accept(&start), accept(&end))
}

struct Bar {
    n_lines: usize,
    /// Share of the line beyond it that is of another colour: of the whole line or
    /// of one of its ends, whichever is least. An object before a plain background
    /// does not reach the ends.
    edge: f32,
}

fn bar(n_lines: usize, line: impl Fn(usize) -> Vec<Lab>) -> Bar {
    let first = line(0);
    let colour = first[first.len() / 2];
    let share_unlike = |line: &[Lab], limit: f32| {
        line.iter().filter(|c| distance(c, &colour) > limit).count() as f32 / line.len() as f32
    };
    let of_one_colour = (0..n_lines * 2 / 5).find(|k| share_unlike(&line(*k), 0.03) > 0.002).unwrap_or(0);
    // Scaling mixes the line at the edge.
    let beyond = line((of_one_colour + 2).min(n_lines - 1));
    let end = (beyond.len() / 10).max(1);
    let parts = [&beyond[..], &beyond[..end], &beyond[beyond.len() - end..]];
    Bar { n_lines: of_one_colour, edge: parts.map(|part| share_unlike(part, 0.06)).into_iter().fold(1.0, f32::min) }
}

/// For each pixel of the frame's ring whether its colour is one of the background's: found in more than one
/// place along the ring, in corners, or along much of it. What is left is where an
/// object may touch the border.
fn background_colours(ring: &[Lab], frame: &Frame) -> Vec<bool> {
    let n_outer = frame.ring(1).len();
    let (owner, n_clusters) = cluster(ring);
    let mut is_background = vec![false; n_clusters];
    for (cluster, is_background) in is_background.iter_mut().enumerate() {
        let outer = &owner[..n_outer];
        let n = outer.iter().filter(|o| **o == cluster).count();
        let share = n as f32 / n_outer.max(1) as f32;
        *is_background = !(touch(outer, cluster, frame) && (0.01..0.22).contains(&share));
    }
    let share = owner.iter().filter(|o| is_background[**o]).count() as f32 / owner.len().max(1) as f32;
    if share < 0.5 {
        is_background.fill(true);
    }
    owner.iter().map(|o| is_background[*o]).collect()
}

/// Longest stretch, around the ring, of pixels of `cluster` with gaps of less than
/// 3 % of the ring: members in it,
/// where it starts, and how long it is.
fn longest_run(owner: &[usize], cluster: usize) -> (usize, usize, usize) {
    let n = owner.len();
    let gap = n / 32 + 1;
    let (mut best, mut run, mut start, mut last) = ((0, 0, 0), 0, 0, None::<usize>);
    for i in 0..2 * n {
        if owner[i % n] != cluster {
            continue;
        }
        if last.is_none_or(|last| i - last > gap) {
            (run, start) = (0, i);
        }
        run += 1;
        last = Some(i);
        if run > best.0 && i - start < n {
            best = (run, start, i - start + 1);
        }
    }
    best
}

/// Greedy clusters of colours: which one each belongs to, and how many there are.
fn cluster(colours: &[Lab]) -> (Vec<usize>, usize) {
    let mut centres: Vec<(Lab, f32)> = Vec::new();
    for round in 0..3 {
        let mut sums: Vec<([f32; 3], f32)> = vec![([0.0; 3], 0.0); centres.len()];
        for colour in colours {
            let nearest = nearest(&centres, colour);
            match nearest {
                Some((i, d)) if d < CLUSTER_RADIUS || centres.len() >= MAX_CLUSTERS || round > 0 => {
                    (0..3).for_each(|c| sums[i].0[c] += colour[c]);
                    sums[i].1 += 1.0;
                }
                _ => {
                    centres.push((*colour, 1.0));
                    sums.push((*colour, 1.0));
                }
            }
        }
        centres = sums.iter().filter(|s| s.1 > 0.0).map(|(sum, n)| (sum.map(|v| v / n), *n)).collect();
    }
    (colours.iter().map(|c| nearest(&centres, c).map_or(0, |(i, _)| i)).collect(), centres.len().max(1))
}

fn nearest(centres: &[(Lab, f32)], colour: &Lab) -> Option<(usize, f32)> {
    centres.iter().map(|(c, _)| distance(c, colour)).enumerate().min_by(|a, b| a.1.total_cmp(&b.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GREY: Lab = [0.6, 0.0, 0.0];
    const RED: Lab = [0.6, 0.2, 0.1];

    #[test]
    fn bars_are_left_out() {
        let lab = Plane::from_fn(100, 80, |x, y| match y {
            0..=11 | 68.. => [0.0; 3],
            _ => [0.5 + 0.003 * (x % 20) as f32, 0.0, 0.05],
        });
        let frame = examine(&lab).frame;
        assert!((12..15).contains(&frame.top) && (65..69).contains(&frame.bottom), "{frame:?}");
        assert_eq!((frame.left, frame.right), (0, 100));
    }

    #[test]
    fn a_plain_margin_is_no_bar() {
        let lab = Plane::from_fn(100, 80, |x, y| if y > 30 && x > 40 && x < 60 { RED } else { GREY });
        assert_eq!(examine(&lab).frame, Frame { left: 0, top: 0, right: 100, bottom: 80 });
    }

    #[test]
    fn an_object_may_touch_a_plain_border() {
        let lab = Plane::from_fn(100, 80, |x, y| if y > 30 && x > 20 && x < 80 { RED } else { GREY });
        let border = examine(&lab);
        assert!(border.surface.is_some());
        assert!(border.seeds.at(5, 79) && !border.seeds.at(50, 79));
    }

    #[test]
    fn one_of_many_colours_in_one_place_is_left_open() {
        // Left half green, right half blue, and red in the middle of the lower side.
        let lab = Plane::from_fn(120, 90, |x, y| match x {
            _ if y > 40 && (50..75).contains(&x) => RED,
            0..60 => [0.5, -0.15, 0.1],
            _ => [0.4, 0.0, -0.2],
        });
        let border = examine(&lab);
        assert!(border.surface.is_none());
        assert!(border.seeds.at(10, 89) && border.seeds.at(110, 89) && border.seeds.at(60, 0));
        assert!(!border.seeds.at(62, 89));
    }
}
