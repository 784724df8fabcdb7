//! What the collector asks of the database: forget the oldest, a few rows at a time.

use meshkiln_protocol::UnixMs;
use rusqlite::{Transaction, TransactionBehavior, params};

use super::{Store, StoreError, write::set_meta};

/// An eviction goes on until this part of the limit is left, so that the next
/// result does not start another.
const ROOM: f64 = 0.9;

impl Store {
    /// Keeps the newest `keep` events; removes at most `n_rows` of the others. How many went.
    pub fn trim_events(&mut self, keep: u64, n_rows: u32) -> Result<u64, StoreError> {
        let n: i64 = self.conn.prepare_cached("SELECT count(*) FROM events")?.query_row([], |row| row.get(0))?;
        let surplus = (n as u64).saturating_sub(keep).min(u64::from(n_rows));
        if surplus == 0 {
            return Ok(0);
        }
        let tx = Transaction::new(&mut self.conn, TransactionBehavior::Immediate)?;
        let last: i64 = tx
            .prepare_cached("SELECT seq FROM events ORDER BY seq LIMIT 1 OFFSET ?1")?
            .query_row([surplus as i64 - 1], |row| row.get(0))?;
        tx.prepare_cached("DELETE FROM events WHERE seq <= ?1")?.execute([last])?;
        set_meta(&tx, "events_trimmed", last)?;
        tx.commit()?;
        Ok(surplus)
    }

    /// Keeps the newest `keep` ended jobs, of which none ended before `oldest_ms`;
    /// removes at most `n_rows` of the others with their logs. How many went.
    pub fn forget_jobs(&mut self, keep: u64, oldest_ms: UnixMs, n_rows: u32) -> Result<u64, StoreError> {
        let n: i64 = self
            .conn
            .prepare_cached("SELECT count(*) FROM jobs WHERE finished_ms IS NOT NULL")?
            .query_row([], |row| row.get(0))?;
        let surplus = (n as u64).saturating_sub(keep).min(u64::from(n_rows));
        let tx = Transaction::new(&mut self.conn, TransactionBehavior::Immediate)?;
        let forget = |condition: &str, n_rows: u64| {
            let sql = format!(
                "DELETE FROM jobs WHERE id IN
                     (SELECT id FROM jobs WHERE finished_ms IS NOT NULL AND {condition}
                      ORDER BY finished_ms LIMIT ?2)"
            );
            tx.prepare_cached(&sql)?.execute(params![oldest_ms as i64, n_rows as i64])
        };
        let mut gone = forget("finished_ms < ?1", u64::from(n_rows))? as u64;
        if gone < surplus {
            gone += forget("?1 IS NOT NULL", surplus - gone)? as u64;
        }
        if gone > 0 {
            tx.commit()?;
        }
        Ok(gone)
    }

    /// Plans that no kept job has.
    pub fn forget_plans(&mut self) -> Result<(), StoreError> {
        self.conn.execute(
            "DELETE FROM plans WHERE id IN
                 (SELECT id FROM plans p WHERE NOT EXISTS (SELECT 1 FROM jobs WHERE plan = p.id) LIMIT 100)",
            [],
        )?;
        Ok(())
    }

    /// When results take more than `limit_bytes`: forgets the least recently used
    /// ones, at most `n_rows`. The blobs they named; empty when there is nothing to do.
    pub fn evict_results(&mut self, limit_bytes: u64, n_rows: u32) -> Result<Vec<String>, StoreError> {
        if self.result_bytes <= limit_bytes && !self.evicting {
            return Ok(Vec::new());
        }
        let target = (limit_bytes as f64 * ROOM) as u64;
        let tx = Transaction::new(&mut self.conn, TransactionBehavior::Immediate)?;
        let oldest: Vec<(String, i64)> = tx
            .prepare_cached("SELECT key, bytes FROM results ORDER BY used_ms LIMIT ?1")?
            .query_map([n_rows], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<rusqlite::Result<_>>()?;
        let mut left = self.result_bytes;
        let mut blobs = Vec::new();
        let all = oldest.len() < n_rows as usize;
        for (key, bytes) in oldest {
            if left <= target {
                break;
            }
            let mut named = tx.prepare_cached("SELECT sha256 FROM outputs WHERE key = ?1")?;
            let named = named.query_map([&key], |row| row.get::<_, String>(0))?;
            blobs.extend(named.collect::<rusqlite::Result<Vec<_>>>()?);
            tx.prepare_cached("DELETE FROM results WHERE key = ?1")?.execute([&key])?;
            left = left.saturating_sub(bytes as u64);
        }
        tx.commit()?;
        // The sum is kept by hand; when nothing is left to evict, it was wrong.
        self.result_bytes = if all && left > target { 0 } else { left };
        self.evicting = !blobs.is_empty() && left > target;
        Ok(blobs)
    }

    /// The sum is kept by hand and counts a result made twice twice.
    pub fn recount_results(&mut self) -> Result<(), StoreError> {
        let bytes: i64 =
            self.conn.prepare_cached("SELECT coalesce(sum(bytes), 0) FROM results")?.query_row([], |row| row.get(0))?;
        self.result_bytes = bytes as u64;
        Ok(())
    }

    /// Whether a kept job or result names this blob.
    pub fn refers_to(&self, sha256: &str) -> Result<bool, StoreError> {
        let mut find = self.conn.prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM outputs WHERE sha256 = ?1)
                 OR EXISTS (SELECT 1 FROM jobs WHERE source_sha256 = ?1)
                 OR EXISTS (SELECT 1 FROM jobs WHERE asset_sha256 = ?1)
                 OR EXISTS (SELECT 1 FROM jobs WHERE preview_sha256 = ?1)",
        )?;
        Ok(find.query_row([sha256], |row| row.get(0))?)
    }
}
