//! How much a client may ask for at once.

use std::time::Duration;

/// Of one JSON-RPC request; a batch counts as one.
pub const REQUEST_BYTES: usize = 1 << 20;
/// Above this a request is not even read, and the answer carries no id. Between
/// the two limits the id is known, so that other calls of the client go on.
pub const READ_BYTES: usize = 4 << 20;
pub const RESPONSE_BYTES: u32 = 16 << 20;
pub const BATCH_CALLS: u32 = 16;
pub const CALLS_IN_FLIGHT: usize = 64;
pub const CONNECTIONS: usize = 1024;
pub const SUBSCRIPTIONS: u32 = 16;
/// Of one uploaded blob, and of one source file.
pub const BLOB_BYTES: u64 = 64 << 20;
/// Of a mesh file on this machine, with everything it refers to.
pub const MESH_BYTES: u64 = 512 << 20;
/// Answers and events that wait for one connection's socket; when it is full,
/// they wait in their tasks, and nothing more is read from that connection.
pub const WAITING_MESSAGES: u32 = 64;

/// Of answers that one connection has not taken yet; above it, its calls are told
/// to come back.
pub const UNREAD_BYTES: usize = 4 << 20;

/// For the head of a request, which is also how long an idle connection is kept.
pub const HEAD_TIME: Duration = Duration::from_secs(30);
/// For the next piece of a body.
pub const BODY_TIME: Duration = Duration::from_secs(15);
/// For all of the body of a call.
pub const CALL_BODY_TIME: Duration = Duration::from_secs(30);
/// A WebSocket is pinged this often ...
pub const PING_INTERVAL: Duration = Duration::from_secs(20);
/// ... and closed when it has not answered for so long.
pub const PONG_TIME: Duration = Duration::from_secs(45);
/// Longest that a call waits for something to happen.
pub const LONGEST_WAIT: Duration = Duration::from_secs(60);
