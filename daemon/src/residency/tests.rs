//! The books alone, without a daemon around them.

use super::*;

const GB: u64 = 1_000_000_000;

fn memory(used: u64, free: u64) -> Option<DeviceMemory> {
    Some(DeviceMemory { used_bytes: used * GB, free_bytes: free * GB, total_bytes: 10 * GB })
}

/// 10 GB, 1 of them in reserve; `a` 4, `b` 4, `c` 8.
fn books() -> (Residency, Instant) {
    books_within(None)
}

/// The same where nets may take so many GB together.
fn books_within(most: Option<u64>) -> (Residency, Instant) {
    let row = |(id, gb): (&str, u64)| NetRow { id: id.into(), doc: String::new(), declared_bytes: gb * GB };
    let most_bytes = most.map(|gb| gb * GB);
    let policy = NetPolicy { reserve_bytes: GB, reserve_part: 0.0, margin: 0.0, most_bytes, ..NetPolicy::default() };
    let rows = [("a", 4), ("b", 4), ("c", 8)].map(row).into();
    let mut books = Residency::new(policy, rows, vec!["gpu".to_owned()], Measures::default());
    books.ready("gpu", memory(0, 10));
    (books, Instant::now())
}

fn load(books: &mut Residency, net: &str, load: u64, gb: u64, memory: Option<DeviceMemory>, now: Instant) {
    books.begin_load("gpu", &net.into(), load);
    let loaded = Loaded { load, bytes: gb * GB, peak_bytes: gb * GB, elapsed_ms: 1, memory };
    assert_eq!(books.loaded("gpu", &loaded, now).as_deref(), Some(net));
}

#[test]
fn what_is_free_is_what_the_device_says_or_what_the_books_say_whichever_is_less() {
    let (mut books, now) = books();
    load(&mut books, "a", 1, 4, memory(4, 6), now);
    assert_eq!(books.cost("gpu", "b"), Cost::Load);
    // A reading that is older than the load: by the books 6 are free, not 10.
    books.busy_reading("gpu", memory(0, 10));
    assert_eq!(books.cost("gpu", "c"), Cost::Swap(vec!["a".into()]));
    // Somebody else has taken 4.
    books.busy_reading("gpu", memory(4, 2));
    assert_eq!(books.cost("gpu", "b"), Cost::Swap(vec!["a".into()]));
    assert_eq!(books.cost("gpu", "c"), Cost::Blocked);
}

#[test]
fn a_report_about_an_earlier_load_changes_nothing() {
    let (mut books, now) = books();
    books.begin_load("gpu", &"a".into(), 1);
    assert_eq!(books.gone("gpu").loading.as_deref(), Some("a"));
    books.ready("gpu", memory(0, 10));
    books.begin_load("gpu", &"a".into(), 2);
    let late = Loaded { load: 1, bytes: GB, peak_bytes: GB, elapsed_ms: 1, memory: None };
    assert_eq!(books.loaded("gpu", &late, now), None);
    assert_eq!(books.load_failed("gpu", 1, None), None);
    assert_eq!(books.loaded("gpu", &Loaded { load: 2, ..late }, now).as_deref(), Some("a"));
    assert_eq!(books.begin_unload("gpu", &"a".into()), Some(2));
    assert_eq!(books.unloaded("gpu", 1, None, now), None);
    assert_eq!(books.unloaded("gpu", 2, memory(0, 10), now).as_deref(), Some("a"));
}

#[test]
fn memory_comes_back_late_or_not_at_all() {
    let (mut books, now) = books();
    let nothing = |_: &NetId| false;
    load(&mut books, "a", 1, 4, memory(4, 6), now);
    books.begin_unload("gpu", &"a".into());
    books.unloaded("gpu", 1, memory(4, 6), now);
    assert_eq!(
        (books.cost("gpu", "b"), books.deadline("gpu", &nothing)),
        (Cost::Blocked, Some(now + Duration::from_secs(5)))
    );
    books.idle_reading("gpu", memory(0, 10));
    assert_eq!(books.cost("gpu", "b"), Cost::Load);

    load(&mut books, "b", 2, 4, memory(4, 6), now);
    books.begin_unload("gpu", &"b".into());
    books.unloaded("gpu", 2, memory(3, 7), now);
    let late = now + Duration::from_secs(5);
    assert_eq!(books.chore("gpu", now, &nothing), None);
    assert_eq!(books.chore("gpu", late, &nothing), Some(Chore::Recycle));
    // It came back, and somebody else took it: no reason for a fresh start.
    books.idle_reading("gpu", memory(0, 7));
    books.stop_settling("gpu", late);
    assert_eq!((books.chore("gpu", late, &nothing), books.deadline("gpu", &nothing)), (None, None));
}

#[test]
fn where_memory_cannot_be_told_there_is_one_net_at_a_time() {
    let (mut books, now) = books();
    books.ready("gpu", None);
    assert_eq!(books.cost("gpu", "c"), Cost::Load);
    load(&mut books, "c", 1, 8, None, now);
    assert_eq!(books.cost("gpu", "a"), Cost::Swap(vec!["c".into()]));
}

#[test]
fn measures_rise_at_once_fall_slowly_and_are_dropped_when_they_lock_a_net_out() {
    let (mut books, now) = books();
    load(&mut books, "a", 1, 4, memory(4, 6), now);
    books.worked("gpu", &"a".into(), 2 * GB);
    assert_eq!(books.need("gpu", "a"), 6 * GB);
    books.worked("gpu", &"a".into(), 0);
    assert_eq!(books.need("gpu", "a"), 6 * GB - GB / 4);
    books.worked("gpu", &"a".into(), 60 * GB);
    books.gone("gpu");
    books.ready("gpu", memory(0, 10));
    let refused = Refused::TooLarge { need_bytes: 64 * GB, room_bytes: 9 * GB };
    assert_eq!(books.towards("gpu", "a", now), Step::Refuse(refused));
    books.doubt_measure("gpu", &"a".into());
    assert_eq!(books.towards("gpu", "a", now), Step::Load);
}

#[test]
fn a_measure_below_what_is_declared_is_kept_when_there_is_no_room() {
    let (mut books, now) = books();
    load(&mut books, "c", 1, 2, memory(2, 8), now);
    books.doubt_measure("gpu", &"c".into());
    assert_eq!(books.need("gpu", "c"), 2 * GB);
}

#[test]
fn nets_take_no_more_than_they_may() {
    let (mut books, now) = books_within(Some(6));
    let refused = Refused::TooLarge { need_bytes: 8 * GB, room_bytes: 6 * GB };
    assert_eq!(books.towards("gpu", "c", now), Step::Refuse(refused));
    load(&mut books, "a", 1, 4, memory(4, 6), now);
    // 5 are free beside the reserve, 2 of them for nets.
    assert_eq!(books.cost("gpu", "b"), Cost::Swap(vec!["a".into()]));
    books.net_mut("a").unwrap().pinned = true;
    let refused = Refused::TooLarge { need_bytes: 4 * GB, room_bytes: 2 * GB };
    assert_eq!(books.towards("gpu", "b", now), Step::Refuse(refused));
}
