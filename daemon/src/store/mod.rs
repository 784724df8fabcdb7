//! What the daemon keeps on disk.

pub mod blobs;
