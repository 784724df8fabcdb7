//! The binary tree with four children to a node, for rays that are not shortened on
//! the way and for nearest points: four boxes are tried at once.
//!
//! In: a binary tree. Out: the leaves along a ray, or around a point. Each node takes the place of the
//! one, two or three nodes above its children (Dammertz et al., "Shallow Bounding
//! Volume Hierarchies for Fast SIMD Ray Tracing of Incoherent Rays", 2008), the ones
//! with the largest surface first.

use glam::{Vec3, Vec4};
use obvhs::{
    bvh2::{Bvh2, node::Bvh2Node},
    ray::Ray,
};
use smallvec::SmallVec;

pub struct Wide {
    nodes: Vec<Node>,
}

#[derive(Clone, Copy)]
#[repr(align(64))]
struct Node {
    /// Lowest and highest coordinates of the four boxes along x, y and z; of boxes
    /// that are not there the lowest are above the highest.
    bounds: [[Vec4; 3]; 2],
    /// Of an inner node its place; of a leaf its first triangle.
    first: [u32; 4],
    /// Triangles of a leaf; 0 for an inner node, `MISSING` for a child that is not there.
    n_triangles: [u32; 4],
}

const EMPTY: Node =
    Node { bounds: [[Vec4::INFINITY; 3], [Vec4::NEG_INFINITY; 3]], first: [0; 4], n_triangles: [MISSING; 4] };

const MISSING: u32 = u32::MAX;

/// How much farther a ray leaves a box than computed, so that rounding lets none
/// slip through between two.
const ROUNDING: f32 = 1.0 + 4.0 * f32::EPSILON;

impl Wide {
    pub fn of(tree: &Bvh2) -> Wide {
        let mut nodes = Vec::with_capacity(tree.nodes.len() / 4 + 1);
        let Some(root) = tree.nodes.first() else { return Wide { nodes } };
        nodes.push(EMPTY);
        // Places of wide nodes and the binary node each is made of.
        let mut waiting = vec![(0usize, *root)];
        while let Some((place, node)) = waiting.pop() {
            let mut children: SmallVec<[Bvh2Node; 4]> = SmallVec::from_slice(&[node]);
            while children.len() < 4 {
                let area = |child: &Bvh2Node| if child.is_leaf() { -1.0 } else { child.aabb().half_area() };
                let by_area = |a: &usize, b: &usize| area(&children[*a]).total_cmp(&area(&children[*b]));
                let Some(largest) = (0..children.len()).max_by(by_area).filter(|&i| !children[i].is_leaf()) else {
                    break;
                };
                let first = children.swap_remove(largest).first_index as usize;
                children.extend_from_slice(&tree.nodes[first..first + 2]);
            }
            for (k, child) in children.into_iter().enumerate() {
                let (low, high) = (child.aabb().min, child.aabb().max);
                for axis in 0..3 {
                    nodes[place].bounds[0][axis][k] = low[axis];
                    nodes[place].bounds[1][axis][k] = high[axis];
                }
                nodes[place].n_triangles[k] = child.prim_count;
                nodes[place].first[k] = child.first_index;
                if !child.is_leaf() {
                    nodes[place].first[k] = nodes.len() as u32;
                    waiting.push((nodes.len(), child));
                    nodes.push(EMPTY);
                }
            }
        }
        Wide { nodes }
    }

    /// Whether `meets` says so of a triangle in a leaf whose box the ray passes through.
    #[inline(always)]
    pub fn any(&self, ray: &Ray, mut meets: impl FnMut(usize) -> bool) -> bool {
        if self.nodes.is_empty() {
            return false;
        }
        let (origin, inverse) = (ray.origin, ray.inv_direction);
        let origin = [0, 1, 2].map(|axis| Vec4::splat(origin[axis]));
        let is_backward = [0, 1, 2].map(|axis| usize::from(inverse[axis].is_sign_negative()));
        let inverse = [0, 1, 2].map(|axis| Vec4::splat(inverse[axis]));
        let mut waiting: SmallVec<[u32; 64]> = SmallVec::new();
        waiting.push(0);
        while let Some(place) = waiting.pop() {
            let node = &self.nodes[place as usize];
            let enters = |axis: usize| (node.bounds[is_backward[axis]][axis] - origin[axis]) * inverse[axis];
            let leaves = |axis: usize| (node.bounds[1 - is_backward[axis]][axis] - origin[axis]) * inverse[axis];
            let first = enters(0).max(enters(1)).max(enters(2).max(Vec4::splat(ray.tmin)));
            let last = leaves(0).min(leaves(1)).min(leaves(2)) * ROUNDING;
            let mut hit = first.cmple(last.min(Vec4::splat(ray.tmax))).bitmask();
            while hit != 0 {
                let k = hit.trailing_zeros() as usize;
                hit &= hit - 1;
                let first = node.first[k];
                if node.n_triangles[k] == 0 {
                    waiting.push(first);
                } else if (first..first + node.n_triangles[k]).any(|i| meets(i as usize)) {
                    return true;
                }
            }
        }
        false
    }

    /// Visits the triangles around a finite `point`, nearer boxes first, whose boxes are within the
    /// square root of `limit`, which `visit` is given and returns. Returns it too.
    #[inline(always)]
    pub fn towards(&self, point: Vec3, mut limit: f32, mut visit: impl FnMut(usize, f32) -> f32) -> f32 {
        if self.nodes.is_empty() {
            return limit;
        }
        let point = point.to_array().map(Vec4::splat);
        // Squared distances of boxes, what is in them first and how many triangles.
        let mut waiting: SmallVec<[(f32, u32, u32); 64]> = SmallVec::new();
        waiting.push((0.0, 0, 0));
        while let Some((distance, first, n_triangles)) = waiting.pop() {
            if distance > limit {
                continue;
            }
            if n_triangles > 0 {
                for i in first..first + n_triangles {
                    limit = visit(i as usize, limit);
                }
                continue;
            }
            let node = &self.nodes[first as usize];
            let apart = |axis: usize| {
                let [low, high] = [0, 1].map(|end| node.bounds[end][axis]);
                (low - point[axis]).max(point[axis] - high).max(Vec4::ZERO)
            };
            let [x, y, z] = [0, 1, 2].map(apart);
            let squared = x * x + y * y + z * z;
            let mut near = squared.cmple(Vec4::splat(limit)).bitmask();
            let n_before = waiting.len();
            while near != 0 {
                let k = near.trailing_zeros() as usize;
                near &= near - 1;
                if node.n_triangles[k] != MISSING {
                    // The nearest one comes last, to be taken first.
                    let child = (squared[k], node.first[k], node.n_triangles[k]);
                    let at = waiting[n_before..].iter().take_while(|other| other.0 > child.0).count();
                    waiting.insert(n_before + at, child);
                }
            }
        }
        limit
    }
}
