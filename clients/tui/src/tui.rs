//! The full-screen client: `Model`, `update`, `view`, and the threads around them.
//!
//! One thread reads the terminal, one hears the daemon's events, three do what is
//! asked for. All of them send messages to the loop, which alone changes the model
//! and draws, at most thirty times a second and only when something changed.

mod act;
mod calls;
mod clicks;
mod dialog;
mod dialogs;
mod feed;
mod form;
mod input;
mod jobs;
mod keys;
mod look;
mod model;
mod msg;
mod parts;
mod paths;
mod pictures;
mod screen;
mod text;
mod turned;
mod update;
mod view;
mod words;

#[cfg(test)]
mod samples;

use std::{
    io,
    sync::{
        Arc,
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread,
    time::{Duration, Instant},
};

use ratatui::{
    crossterm::{
        event::{self, Event},
        execute,
        terminal::{BeginSynchronizedUpdate, EndSynchronizedUpdate},
    },
    layout::Rect,
};

use self::{
    calls::Calls,
    feed::Shared,
    model::Model,
    msg::{Ask, Msg},
    pictures::Pictures,
    screen::{Screen, Signal},
};
use crate::{Outcome, args::Graphics, error::Failure, show};

/// Between two drawings after a key, and when only the daemon has told something.
const FRAME: Duration = Duration::from_millis(33);
const CALM_FRAME: Duration = Duration::from_millis(100);
/// Messages taken at once, before something is drawn again.
const BURST: usize = 256;

/// Runs until it is left.
pub fn run(ascii: bool, graphics: Graphics) -> Outcome {
    let cannot =
        |e: io::Error| Failure::usage(format!("cannot use this terminal: {e}"), "see `meshkiln help` for commands");
    let mut screen = screen::take().map_err(cannot)?;
    let ended = open(&mut screen, ascii, graphics);
    screen::give_back();
    ended.map_err(cannot)
}

fn open(screen: &mut Screen, ascii: bool, graphics: Graphics) -> io::Result<()> {
    let (look, picker) = screen::examine(ascii, graphics);
    let mut model = Model::new(look, Pictures::new(look, picker));
    let (out, inbox) = mpsc::channel();
    let signals = out.clone();
    screen::listen(move |signal| {
        let _ = signals.send(match signal {
            Signal::Quit => Msg::Quit,
            Signal::Suspend => Msg::Suspend,
            Signal::Continue => Msg::Retake,
        });
    })?;
    let keys = out.clone();
    thread::spawn(move || read_terminal(&keys));
    let shared = Arc::new(Shared::default());
    let calls = Calls::start(&shared, &out);
    thread::spawn(move || feed::run(&shared, &out));
    turn(screen, &mut model, &inbox, &calls)
}

fn read_terminal(out: &Sender<Msg>) {
    while let Ok(event) = event::read() {
        let msg = match event {
            Event::Key(key) => Msg::Key(key),
            Event::Mouse(mouse) => Msg::Mouse(mouse),
            Event::Paste(text) => Msg::Paste(text),
            Event::Resize(..) => Msg::Redraw,
            Event::FocusGained | Event::FocusLost => continue,
        };
        if out.send(msg).is_err() {
            return;
        }
    }
    // The terminal has gone.
    let _ = out.send(Msg::Quit);
}

/// The loop.
fn turn(screen: &mut Screen, model: &mut Model, inbox: &Receiver<Msg>, calls: &Calls) -> io::Result<()> {
    let mut last_drawn = Instant::now() - CALM_FRAME;
    let mut last_tick = Instant::now();
    // Somebody has pressed a key and looks.
    let mut is_urgent = true;
    while !model.quit {
        let now = Instant::now();
        let due = if is_urgent { FRAME } else { CALM_FRAME };
        let wait = match model.dirty {
            true => (last_drawn + due).saturating_duration_since(now),
            false => {
                let tick = last_tick + Duration::from_millis(update::patience_ms(model));
                tick.saturating_duration_since(now)
            }
        };
        match inbox.recv_timeout(wait) {
            Ok(first) => {
                model.now = show::now();
                for msg in std::iter::once(first).chain(inbox.try_iter().take(BURST)) {
                    is_urgent |=
                        matches!(msg, Msg::Key(_) | Msg::Mouse(_) | Msg::Paste(_) | Msg::Redraw | Msg::Picture { .. });
                    if let Msg::Redraw = msg {
                        screen.autoresize()?;
                    }
                    update::update(model, msg);
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
        model.now = show::now();
        if last_tick.elapsed().as_millis() as u64 >= update::patience_ms(model) {
            last_tick = Instant::now();
            update::update(model, Msg::Tick);
        }
        perform(screen, model, calls)?;
        let due = if is_urgent { FRAME } else { CALM_FRAME };
        if model.dirty && last_drawn.elapsed() >= due {
            draw(screen, model)?;
            // A drawing may find that pictures are lacking.
            perform(screen, model, calls)?;
            last_drawn = Instant::now();
            is_urgent = false;
        }
    }
    Ok(())
}

/// Does what the model asked for, or has it done.
fn perform(screen: &mut Screen, model: &mut Model, calls: &Calls) -> io::Result<()> {
    for ask in std::mem::take(&mut model.asks) {
        match ask {
            Ask::Suspend => {
                screen::suspend()?;
                afresh(screen)?;
                model.dirty = true;
            }
            Ask::Redraw => afresh(screen)?,
            Ask::Retake => {
                screen::give_back();
                screen::enter()?;
                afresh(screen)?;
            }
            ask => calls.send(ask),
        }
    }
    Ok(())
}

/// As if nothing were on the screen. Not by `clear`, which asks the terminal where the
/// cursor is while another thread reads its answers.
fn afresh(screen: &mut Screen) -> io::Result<()> {
    let size = screen.size()?;
    screen.resize(Rect { x: 0, y: 0, width: size.width, height: size.height })
}

/// In one piece, where the terminal can: nobody sees half a picture. Pictures that
/// were lacking are prepared and drawn at once.
fn draw(screen: &mut Screen, model: &mut Model) -> io::Result<()> {
    execute!(io::stdout(), BeginSynchronizedUpdate)?;
    for _ in 0..2 {
        model.dirty = false;
        let mut drawn = model::Drawn::default();
        screen.draw(|frame| drawn = view::view(model, frame))?;
        let was_lacking = model.pictures.prepare(&drawn.wants);
        update::drawn(model, drawn);
        if !was_lacking {
            break;
        }
    }
    execute!(io::stdout(), EndSynchronizedUpdate)
}
