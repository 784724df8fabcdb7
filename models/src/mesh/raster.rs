//! Our own software rasteriser: triangles in, coverage and visible surface out.
//!
//! `scan` turns one triangle into runs of pixels, each pixel of a mesh exactly
//! once; `silhouette` draws coverage as the front view shows it.

pub mod scan;
mod silhouette;

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
