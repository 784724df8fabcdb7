//! A hostile watched folder: strange names, and things that are no files.

use std::{fs, time::Duration};

use meshkiln_protocol::{
    api::{JobList, NoParams, WatchAdd, WatchListAll},
    job::{JobListParams, JobState},
    watch::WatchAddParams,
};
use meshkiln_tests::{Home, PATIENCE, until};

#[test]
#[cfg(target_os = "linux")]
fn strange_names_become_assets_and_traps_are_left_alone() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt, os::unix::fs::symlink};

    let mut home = Home::new("fake");
    let daemon = home.start();
    let folder = home.path("in");
    fs::create_dir(&folder).unwrap();
    let outside = home.path("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret.png"), "# a secret outside of the folder\n").unwrap();

    let longest = format!("{}.png", "x".repeat(251));
    let names: [&OsStr; 6] = [
        OsStr::from_bytes(b"caf\xe9.png"),
        OsStr::new(&longest),
        OsStr::new("two  spaces & 'quotes' \"and\" $(more).png"),
        OsStr::new("\u{202e}gnp.png"),
        OsStr::new("-o.png"),
        OsStr::new("UPPER.PNG"),
    ];
    for (i, name) in names.iter().enumerate() {
        fs::write(folder.join(name), format!("# source number {i}, long enough to be one\n")).unwrap();
    }
    symlink(outside.join("secret.png"), folder.join("link.png")).unwrap();
    symlink(&outside, folder.join("out")).unwrap();
    symlink(&folder, folder.join("loop")).unwrap();
    fs::create_dir(folder.join("folder.png")).unwrap();
    let pipe = std::ffi::CString::new(folder.join("pipe.png").as_os_str().as_bytes()).unwrap();
    // SAFETY: a path that ends in a zero byte.
    assert_eq!(unsafe { libc::mkfifo(pipe.as_ptr(), 0o600) }, 0);

    daemon.call::<WatchAdd>(&WatchAddParams {
        path: folder.to_str().unwrap().to_owned(),
        recipe: None,
        out: None,
        recursive: true,
    });
    until("every file is done", Duration::from_secs(60), || {
        let done = JobListParams { states: vec![JobState::Done], ..JobListParams::default() };
        daemon.call::<JobList>(&done).jobs.len() == names.len()
    });
    for name in names {
        let output = folder.join(name).with_extension("glb");
        assert!(output.is_file(), "{} is not there", output.display());
    }
    let all = daemon.call::<JobList>(&JobListParams::default()).jobs;
    assert_eq!(all.len(), names.len(), "something else was fired: {all:?}");
    let watch = daemon.call::<WatchListAll>(&NoParams {}).watches.remove(0);
    assert_eq!((watch.counts.files, watch.counts.waiting, watch.problem), (names.len() as u64, 0, None));
    assert!(home.is_alive());
}

#[test]
#[cfg(target_os = "linux")]
fn what_may_not_be_read_is_said_once_and_fired_when_it_may() {
    use std::os::unix::fs::PermissionsExt;

    let mut home = Home::new("fake");
    home.is_mortal = true;
    let daemon = home.start();
    let folder = home.path("in");
    fs::create_dir(&folder).unwrap();
    let permit = |path: &std::path::Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let (locked, open) = (folder.join("locked.png"), folder.join("open.png"));
    for path in [&locked, &open, &folder.join("empty.png")] {
        let text = if path.ends_with("empty.png") { String::new() } else { format!("# {}\n", path.display()) };
        fs::write(path, text).unwrap();
    }
    permit(&locked, 0o000);
    daemon.call::<WatchAdd>(&WatchAddParams {
        path: folder.to_str().unwrap().to_owned(),
        recipe: None,
        out: None,
        recursive: true,
    });
    let problem = || daemon.call::<WatchListAll>(&NoParams {}).watches.remove(0).problem;
    until("the one that may be read is done", PATIENCE, || open.with_extension("glb").is_file());
    until("the other is complained about", PATIENCE, || problem().is_some());
    let said = problem().unwrap();
    assert!(said.starts_with("locked.png cannot be opened: Permission denied"), "{said}");
    let lines = || {
        let log = fs::read_to_string(home.path("state/log/meshkilnd.log")).unwrap();
        log.lines().filter(|line| line.contains("locked.png")).count()
    };
    assert_eq!(lines(), 1);

    permit(&locked, 0o600);
    until("it is fired once it may be read", PATIENCE, || locked.with_extension("glb").is_file());
    until("nothing is wrong any more", PATIENCE, || problem().is_none());
    assert!(!folder.join("empty.glb").exists());
}
