//! The full-screen client in a real terminal, against a real daemon.

use std::{fs, path::PathBuf, time::Duration};

use meshkiln_protocol::job::JobId;
use meshkiln_tests::{Daemon, Home, PATIENCE, example, processes_mentioning, program, runtime_file, tmux::Tmux, until};

const SIZE: (u16, u16) = (100, 30);

/// A terminal in which `meshkiln` with these arguments has come up; tells how it ended.
fn open(home: &Home, size: (u16, u16), args: &str, variables: &[(&str, &str)]) -> Option<Tmux> {
    let folder = home.dir.path();
    let variables = [&[("MESHKILN_HOME", folder.to_str().unwrap())], variables].concat();
    let tmux = Tmux::start(size, folder, &variables)?;
    tmux.type_text(&format!("{} {args}; echo it ended with $?", program("meshkiln").display()));
    tmux.press(&["Enter"]);
    // Said once a daemon has answered.
    tmux.until_shown("No jobs yet");
    Some(tmux)
}

fn copied(home: &Home, name: &str) -> PathBuf {
    let path = home.path(name);
    fs::copy(example(name), &path).unwrap();
    path
}

/// The terminal is as a shell wants it.
fn assert_given_back(tmux: &Tmux) {
    assert_eq!(tmux.variable("alternate_on"), "0", "still on the other screen");
    assert_eq!(tmux.variable("mouse_any_flag"), "0", "still hears the mouse");
    assert_eq!(tmux.variable("cursor_flag"), "1", "the cursor is hidden");
    tmux.type_text("stty -a | grep -o ' icanon\\| echo ' | tr -d '\\n'; echo .");
    tmux.press(&["Enter"]);
    tmux.until_shown(" icanon echo .");
}

#[test]
fn a_picture_is_fired_watched_opened_turned_and_refired_over_the_death_of_the_daemon() {
    let home = Home::new("cpu");
    let lantern = copied(&home, "lantern.png");
    let Some(tmux) = open(&home, SIZE, "", &[("COLORTERM", "truecolor")]) else { return };
    tmux.until_shown("Press f to fire a picture");

    // Completed by Tab; the form fires with what is usual.
    tmux.press(&["f"]);
    tmux.type_text(&lantern.to_str().unwrap().replace("tern.png", ""));
    tmux.until_shown("lantern.png");
    tmux.press(&["Tab"]);
    tmux.until_shown("path ");
    tmux.press(&["Enter"]);
    tmux.until("the form", |text| text.contains("Fire lantern.png") && text.contains("max-side"));
    tmux.press(&["Enter"]);
    tmux.until_shown("1 running");
    let done = tmux.until("it is done", |text| text.contains("done") && text.contains("0 running"));
    assert!(done.contains("triangles"), "no figures:\n{done}");
    assert!(home.path("lantern.glb").is_file());

    // The asset: pictures in half blocks, the object, the report.
    tmux.press(&["a"]);
    let page = tmux.until("its page", |text| {
        text.contains("checks passed") && text.contains("shaded 30") && text.matches('▀').count() > 100
    });
    assert!(page.contains("decode") && page.contains("cutout"), "{page}");
    let blocks = |tmux: &Tmux| tmux.coloured().matches("38;2;").count();
    until("colours", PATIENCE, || blocks(&tmux) > 100);
    let before = tmux.coloured();
    tmux.press(&["Right", "Right", "Down"]);
    tmux.until_shown("shaded 0° 30°");
    until("the object is turned", PATIENCE, || {
        let now = tmux.coloured();
        let moved = now.lines().zip(before.lines()).filter(|(a, b)| a != b).count();
        moved > 5
    });
    tmux.press(&["w"]);
    tmux.until_shown("wireframe");

    // With another budget: only what follows is computed.
    tmux.press(&["r"]);
    tmux.until("its own settings", |text| text.contains("Refire lantern") && text.contains("max-side"));
    tmux.press(&["/"]);
    tmux.type_text("triangles");
    tmux.press(&["Enter"]);
    tmux.type_text("1000");
    tmux.press(&["Enter"]);
    tmux.until_shown("● 1000");
    tmux.press(&["Enter"]);
    tmux.until_shown("queued: lantern again");
    tmux.press(&["1"]);
    let again = tmux.until("it is done again", |text| text.matches("✓ done").count() >= 2);
    assert!(again.contains(" 998 triangles") || again.contains("1,000 triangles") || again.contains(" 99"), "{again}");

    // The daemon dies; the client says so, finds the next, and hears it.
    let first = runtime_file(home.dir.path()).unwrap();
    meshkiln_tests::system::send_signal(first.pid, libc::SIGKILL);
    tmux.until_shown("the daemon is back");
    let second = runtime_file(home.dir.path()).unwrap();
    assert_ne!(first.pid, second.pid);
    let daemon = Daemon::find(home.dir.path()).unwrap();
    let vase = copied(&home, "vase.png");
    daemon.fire(&vase, None);
    daemon.wait(JobId(3));
    tmux.until("the new daemon's job", |text| text.contains("vase") && text.matches("✓ done").count() >= 3);

    // Pictures come without anything else happening.
    tmux.press(&["2"]);
    until("a preview", Duration::from_secs(10), || tmux.text().matches('▀').count() > 50);
    let before = tmux.coloured();
    tmux.press(&["Down"]);
    until("another preview", Duration::from_secs(10), || {
        let now = tmux.coloured();
        now.lines().zip(before.lines()).filter(|(a, b)| a != b).count() > 5
    });
    tmux.press(&["1"]);

    // Smaller and larger.
    tmux.resize((60, 16));
    tmux.until("small", |text| text.lines().all(|line| line.chars().count() <= 60) && text.contains("q quit"));
    tmux.resize((140, 40));
    tmux.until("large", |text| text.lines().any(|line| line.chars().count() > 100) && text.contains("q quit"));

    tmux.press(&["q"]);
    tmux.until_shown("it ended with 0");
    assert_given_back(&tmux);
}

#[test]
fn dropped_files_are_fired_and_what_failed_says_why() {
    let home = Home::new("cpu");
    let noise = home.path("no picture.png");
    fs::write(&noise, "this is no picture").unwrap();
    let Some(tmux) = open(&home, (60, 16), "--ascii", &[("NO_COLOR", "1")]) else { return };
    tmux.until_shown("No jobs yet");
    tmux.paste(&format!("'{}'", noise.display()));
    tmux.until_shown("Fire no picture.png");
    tmux.press(&["Enter"]);
    tmux.until_shown("! failed");
    tmux.press(&["Enter"]);
    let why = tmux.until_shown("What to do: ");
    assert!(why.contains("Why: "), "{why}");
    assert!(why.is_ascii(), "{why}");
    let sequences = tmux.coloured();
    let is_colour = |code: &str| matches!(code.parse(), Ok(30..=38 | 40..=48 | 90..=97 | 100..=107));
    let colours = sequences.split("\x1b[").skip(1).filter_map(|rest| rest.split('m').next());
    assert!(colours.flat_map(|codes| codes.split(';')).all(|code| !is_colour(code)), "{sequences:?}");
    tmux.press(&["q"]);
    tmux.until_shown("it ended with 0");
}

#[test]
fn the_terminal_is_given_back_on_a_signal_and_while_it_is_suspended() {
    let home = Home::new("cpu");
    let Some(tmux) = open(&home, SIZE, "", &[]) else { return };
    tmux.press(&["C-z"]);
    tmux.until_shown("Stopped");
    assert_given_back(&tmux);
    tmux.type_text("fg");
    tmux.press(&["Enter"]);
    tmux.until_shown("No jobs yet");
    assert_eq!(tmux.variable("alternate_on"), "1");

    let name = program("meshkiln");
    let shell: u32 = tmux.variable("pane_pid").parse().unwrap();
    let is_child = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(')').next().unwrap_or_default().split_whitespace().nth(1) == Some(&shell.to_string())
    };
    let ours: Vec<u32> = processes_mentioning(name.to_str().unwrap()).into_iter().filter(is_child).collect();
    assert_eq!(ours.len(), 1, "which is the client? {ours:?}");
    meshkiln_tests::system::send_signal(ours[0], libc::SIGTERM);
    tmux.until_shown("it ended with");
    assert_given_back(&tmux);
}

#[test]
fn a_daemon_that_was_told_to_stop_is_started_again_only_when_asked_for() {
    let home = Home::new("cpu");
    let Some(tmux) = open(&home, SIZE, "", &[]) else { return };
    assert_eq!(home.cli(&["down"]).status.code(), Some(0));
    tmux.until_shown("the daemon was stopped; U starts it");
    assert!(Daemon::find(home.dir.path()).is_none(), "it was started behind the user's back");
    tmux.press(&["U"]);
    tmux.until_shown("the daemon is back");
    assert!(Daemon::find(home.dir.path()).is_some());
    // Whoever starts it: this client finds it.
    assert_eq!(home.cli(&["down"]).status.code(), Some(0));
    tmux.until_shown("the daemon was stopped; U starts it");
    assert_eq!(home.cli(&["up"]).status.code(), Some(0));
    tmux.until("it is found", |text| !text.contains("was stopped") && text.contains("the daemon is back"));
}
