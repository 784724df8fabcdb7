//! A terminal of its own for full-screen programs: tmux, which keeps what is on
//! the screen.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
    time::{Duration, Instant},
};

use crate::{PATIENCE, say};

/// A terminal with a shell in it. Everything in it is killed when it is dropped.
pub struct Tmux {
    /// Nobody else's server; goes with the folder it lies in.
    socket: PathBuf,
}

impl Tmux {
    /// Of so many columns and rows, with these variables, one a folder. `None`, and a line that says so,
    /// where there is no tmux.
    pub fn start(size: (u16, u16), folder: &Path, variables: &[(&str, &str)]) -> Option<Tmux> {
        if !Command::new("tmux").arg("-V").output().is_ok_and(|version| version.status.success()) {
            say("skipped: the full-screen client in a terminal: tmux is missing (apt-get install tmux)");
            return None;
        }
        let tmux = Tmux { socket: folder.join("tmux.socket") };
        let mut command = tmux.command();
        command.args(["-f", "/dev/null", "new-session", "-d", "-s", "t"]);
        command.args(["-x", &size.0.to_string(), "-y", &size.1.to_string()]);
        for name in ["NO_COLOR", "COLORTERM", "COLORFGBG", "LC_ALL", "LC_CTYPE"] {
            command.env_remove(name);
        }
        command.env("LANG", "C.UTF-8").env("PS1", "$ ").current_dir(folder);
        for (name, value) in variables {
            command.args(["-e", &format!("{name}={value}")]);
        }
        let started = command.arg("sh -i").output().unwrap();
        assert!(started.status.success(), "tmux: {}", String::from_utf8_lossy(&started.stderr));
        Some(tmux)
    }

    fn command(&self) -> Command {
        let mut command = Command::new("tmux");
        command.arg("-S").arg(&self.socket).arg("-u").env_remove("TMUX");
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command().args(args).output().unwrap()
    }

    /// By tmux's names: `Enter`, `Escape`, `C-c`, `x`.
    pub fn press(&self, keys: &[&str]) {
        self.run(&[&["send-keys", "-t", "t"], keys].concat());
    }

    pub fn type_text(&self, text: &str) {
        self.run(&["send-keys", "-t", "t", "-l", text]);
    }

    /// In one piece, as a terminal does with what is dropped onto it.
    pub fn paste(&self, text: &str) {
        self.run(&["set-buffer", "-b", "drop", text]);
        self.run(&["paste-buffer", "-p", "-b", "drop", "-t", "t"]);
    }

    pub fn resize(&self, (width, height): (u16, u16)) {
        self.run(&["resize-window", "-t", "t", "-x", &width.to_string(), "-y", &height.to_string()]);
    }

    /// What is on the screen.
    pub fn text(&self) -> String {
        String::from_utf8(self.run(&["capture-pane", "-p", "-t", "t"]).stdout).unwrap()
    }

    /// The same with its escape sequences.
    pub fn coloured(&self) -> String {
        String::from_utf8(self.run(&["capture-pane", "-e", "-p", "-t", "t"]).stdout).unwrap()
    }

    /// A variable of tmux's own: `alternate_on`, `mouse_any_flag`, `pane_pid`.
    pub fn variable(&self, name: &str) -> String {
        let output = self.run(&["display-message", "-p", "-t", "t", &format!("#{{{name}}}")]);
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Waits until the screen is as wished.
    pub fn until(&self, what: &str, wished: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let text = self.text();
            if wished(&text) {
                return text;
            }
            assert!(Instant::now() < deadline, "{what}: the screen is\n{text}");
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    pub fn until_shown(&self, words: &str) -> String {
        self.until(words, |text| text.contains(words))
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        self.run(&["kill-server"]);
    }
}
