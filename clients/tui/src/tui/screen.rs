//! The terminal: taken at the start, given back however this program ends or
//! stops, asked once what it can show.

use std::{
    env, io, panic,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use ratatui::{
    Terminal,
    backend::CrosstermBackend,
    crossterm::{
        cursor::Show,
        event::{DisableBracketedPaste, DisableMouseCapture, EnableBracketedPaste, EnableMouseCapture},
        execute,
        terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode},
    },
};
use ratatui_image::{
    FontSize,
    picker::{Picker, ProtocolType},
};

use super::look::{Depth, Look};
use crate::args::Graphics;

/// What is drawn on.
pub type Screen = Terminal<CrosstermBackend<io::Stdout>>;

/// Whether the terminal is ours now.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Takes the terminal. A panic of any thread gives it back before it is told, and
/// ends the program.
pub fn take() -> io::Result<Screen> {
    let main = thread::current().id();
    let tell = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        give_back();
        tell(info);
        if thread::current().id() != main {
            std::process::exit(101);
        }
    }));
    enter()?;
    Terminal::new(CrosstermBackend::new(io::stdout()))
}

/// The other screen, keys as they come, the mouse, and pastes in one piece.
pub fn enter() -> io::Result<()> {
    enable_raw_mode()?;
    TAKEN.store(true, Ordering::SeqCst);
    execute!(io::stdout(), EnterAlternateScreen, EnableMouseCapture, EnableBracketedPaste)
}

/// As it was. Safe to call twice, and from any thread.
pub fn give_back() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        let _ = execute!(io::stdout(), DisableBracketedPaste, DisableMouseCapture, LeaveAlternateScreen, Show);
        let _ = disable_raw_mode();
    }
}

/// Stops like any program does on Ctrl-Z, and goes on where it was.
#[cfg(unix)]
pub fn suspend() -> io::Result<()> {
    give_back();
    // The default of SIGTSTP, while its own handler is ours.
    signal_hook::low_level::emulate_default_handler(signal_hook::consts::SIGTSTP)?;
    enter()
}

/// There is no such thing here.
#[cfg(not(unix))]
pub fn suspend() -> io::Result<()> {
    Ok(())
}

/// What a signal asks for.
pub enum Signal {
    Quit,
    Suspend,
    /// It was stopped and goes on: what was on the screen is gone.
    Continue,
}

/// Hears signals on a thread of its own.
#[cfg(unix)]
pub fn listen(heard: impl Fn(Signal) + Send + 'static) -> io::Result<()> {
    use signal_hook::{
        consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP},
        iterator::Signals,
    };
    let mut signals = Signals::new([SIGTERM, SIGHUP, SIGINT, SIGQUIT, SIGTSTP, SIGCONT])?;
    thread::spawn(move || {
        for signal in signals.forever() {
            heard(match signal {
                SIGTSTP => Signal::Suspend,
                SIGCONT => Signal::Continue,
                _ => Signal::Quit,
            });
        }
    });
    Ok(())
}

/// There are none here.
#[cfg(not(unix))]
pub fn listen(_heard: impl Fn(Signal) + Send + 'static) -> io::Result<()> {
    Ok(())
}

/// What the terminal can show: colours by the usual variables, pictures and the
/// background by asking it.
pub fn examine(ascii: bool, graphics: Graphics) -> (Look, Option<Picker>) {
    let var = |name: &str| env::var(name).unwrap_or_default();
    let is_utf8 = ["LC_ALL", "LC_CTYPE", "LANG"].iter().map(|name| var(name)).find(|value| !value.is_empty());
    let ascii = ascii || is_utf8.is_some_and(|locale| locale == "C" || locale == "POSIX");
    let colour = match (var("NO_COLOR").is_empty(), var("TERM").as_str(), var("COLORTERM").as_str()) {
        (false, ..) | (_, "dumb" | "vt100", _) => Depth::None,
        (_, _, "truecolor" | "24bit") => Depth::Full,
        (_, term, _) if term.contains("direct") || term.contains("kitty") => Depth::Full,
        _ => Depth::Indexed,
    };
    let said = ask();
    // The colours that a shell was given: foreground;background, 0 to 15.
    let by_variable = var("COLORFGBG").rsplit(';').next().and_then(|n| n.parse::<u8>().ok());
    let light = said.light.or(by_variable.map(|n| n == 7 || n == 15)).unwrap_or(false);
    let protocol = match graphics {
        Graphics::Cells => None,
        Graphics::Kitty => Some(ProtocolType::Kitty),
        Graphics::Sixel => Some(ProtocolType::Sixel),
        Graphics::Iterm2 => Some(ProtocolType::Iterm2),
        // Inside a multiplexer pictures would have to be smuggled past it.
        Graphics::Auto if ascii || !var("TMUX").is_empty() || var("TERM").starts_with("screen") => None,
        Graphics::Auto => match var("TERM_PROGRAM").as_str() {
            "iTerm.app" | "WezTerm" | "vscode" | "mintty" => Some(ProtocolType::Iterm2),
            _ if said.kitty => Some(ProtocolType::Kitty),
            _ if said.sixel => Some(ProtocolType::Sixel),
            _ => None,
        },
    };
    let picker = protocol.map(|protocol| {
        let (width, height) = said.cell.unwrap_or((10, 20));
        #[expect(deprecated, reason = "the other way asks the terminal in a way that may eat keys")]
        let mut picker = Picker::from_fontsize(FontSize::new(width, height));
        picker.set_protocol_type(protocol);
        picker
    });
    (Look { ascii, colour, light }, picker)
}

/// What a terminal answered.
#[derive(Debug, Default, PartialEq)]
struct Said {
    light: Option<bool>,
    kitty: bool,
    sixel: bool,
    /// Pixels of a character.
    cell: Option<(u16, u16)>,
}

/// Asks for the background, both picture protocols and the size of a character,
/// and last for what every terminal answers.
#[cfg(unix)]
fn ask() -> Said {
    use std::{
        io::{Read, Write},
        os::fd::AsRawFd,
        time::{Duration, Instant},
    };
    const QUESTIONS: &[u8] = b"\x1b]11;?\x1b\\\x1b_Gi=31,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\\x1b[16t\x1b[c";
    const PATIENCE: Duration = Duration::from_millis(250);
    let mut answer = Vec::new();
    let mut stdin = io::stdin();
    if io::stdout().write_all(QUESTIONS).and_then(|()| io::stdout().flush()).is_err() {
        return Said::default();
    }
    let until = Instant::now() + PATIENCE;
    // What is typed meanwhile is lost; there is no way to tell it apart for sure.
    while !is_over(&answer) {
        let left = until.saturating_duration_since(Instant::now()).as_millis() as i32;
        let mut poll = libc::pollfd { fd: stdin.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one pollfd, which outlives the call.
        if left == 0 || unsafe { libc::poll(&raw mut poll, 1, left) } <= 0 {
            break;
        }
        let mut bytes = [0; 256];
        match stdin.read(&mut bytes) {
            Ok(n) if n > 0 => answer.extend_from_slice(&bytes[..n]),
            _ => break,
        }
    }
    understand(&String::from_utf8_lossy(&answer))
}

#[cfg(not(unix))]
fn ask() -> Said {
    Said::default()
}

/// The answer to the last question: `ESC [ ? ... c`.
fn is_over(answer: &[u8]) -> bool {
    let start = answer.windows(3).rposition(|part| part == b"\x1b[?");
    start.is_some_and(|start| answer[start + 3..].contains(&b'c'))
}

fn understand(answer: &str) -> Said {
    let mut said = Said { kitty: answer.contains("\x1b_Gi=31;OK"), ..Said::default() };
    if let Some(rgb) = answer.split("]11;rgb:").nth(1) {
        // Two or four hex digits a channel: the first two say enough.
        let channel = |text: &str| u32::from_str_radix(text.get(..2)?, 16).ok();
        let channels: Vec<u32> = rgb.split('/').take(3).filter_map(channel).collect();
        if let [r, g, b] = channels[..] {
            said.light = Some(r * 54 + g * 183 + b * 19 > 128 * 256);
        }
    }
    if let Some(attributes) = answer.split("\x1b[?").last().and_then(|rest| rest.split('c').next()) {
        said.sixel = attributes.split(';').skip(1).any(|attribute| attribute == "4");
    }
    if let Some(size) = answer.split("\x1b[6;").nth(1).and_then(|rest| rest.split('t').next()) {
        let numbers: Vec<u16> = size.split(';').filter_map(|n| n.parse().ok()).collect();
        if let [height, width] = numbers[..]
            && height > 0
            && width > 0
        {
            said.cell = Some((width, height));
        }
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_terminals_are_understood() {
        let xterm = "\x1b]11;rgb:ffff/ffff/dddd\x1b\\\x1b[6;18;9t\x1b[?65;4;6;18;22c";
        assert_eq!(understand(xterm), Said { light: Some(true), kitty: false, sixel: true, cell: Some((9, 18)) });
        let kitty = "\x1b]11;rgb:1e1e/1e1e/2e2e\x07\x1b_Gi=31;OK\x1b\\\x1b[6;20;10t\x1b[?62;c";
        assert_eq!(understand(kitty), Said { light: Some(false), kitty: true, sixel: false, cell: Some((10, 20)) });
        assert_eq!(understand("\x1b[?1;2c"), Said::default());
        assert_eq!(understand("\x1b[6;0;0t\x1b]11;rgb:zz/1/\x1b\\"), Said::default());
    }

    #[test]
    fn the_last_answer_ends_the_waiting() {
        assert!(!is_over(b""));
        assert!(!is_over(b"\x1b]11;rgb:cccc/cccc/cccc\x1b\\"));
        assert!(!is_over(b"\x1b[?62;4"));
        assert!(is_over(b"\x1b[?62;4c"));
    }
}
