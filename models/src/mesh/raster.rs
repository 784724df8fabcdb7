//! Our own software rasteriser: triangles in, coverage and visible surface out.
//!
//! `scan` turns one triangle into runs of pixels, each pixel of a mesh exactly
//! once. `silhouette` draws coverage as the front view shows it. A `Camera`
//! makes a `Projection` of a mesh, a `Frame` says which triangle each pixel
//! shows, and `Projection::hit` where on that triangle:
//!
//! ```
//! # use meshkiln_models::mesh::{Mesh, raster::{Camera, Cull, Frame, Projection}};
//! # let mesh = Mesh::default();
//! let camera = Camera::perspective([2.0, 1.0, 3.0].into(), [0.0; 3].into(), 0.6, 1.0, 0.01);
//! let projection = Projection::new(&mesh.positions, &mesh.triangles, &camera, 64, 64, Cull::Back);
//! let frame = Frame::draw(&projection);
//! if let Some(hit) = frame.hit(&projection, 32, 32) {
//!     println!("triangle {} at {}", hit.triangle, hit.barycentric);
//! }
//! ```

mod camera;
mod frame;
pub mod scan;
mod silhouette;

pub use camera::{Camera, axes};
pub use frame::{Cull, Frame, Hit, NOTHING, Projection};
pub use silhouette::silhouette;

/// Which of `n_bands` bands of rows each item touches: for each band the items
/// in ascending order. `rows` gives an item's rows, end exclusive.
fn bins(n_bands: usize, band_height: u32, rows: impl Iterator<Item = std::ops::Range<u32>>) -> Vec<Vec<u32>> {
    let mut bins = vec![Vec::new(); n_bands];
    for (item, rows) in rows.enumerate() {
        if !rows.is_empty() {
            let last = ((rows.end - 1) / band_height) as usize;
            for bin in &mut bins[(rows.start / band_height) as usize..=last.min(n_bands - 1)] {
                bin.push(item as u32);
            }
        }
    }
    bins
}
