//! How clients reach the daemon.

pub mod blobs;
pub mod calls;
pub mod connections;
pub mod convert;
pub mod gate;
pub mod limits;
pub mod reply;
pub mod server;
pub mod socket;
