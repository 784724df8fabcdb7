//! The mouse. Whatever it does, a key does too: what is drawn says what a place
//! means, see `model::Target`.

use ratatui::{
    crossterm::event::{MouseButton, MouseEvent, MouseEventKind},
    layout::Position,
};

use super::{
    act,
    dialog::Dialog,
    dialogs,
    keys::Cmd,
    model::{Model, Target, View},
};

/// Rows a turn of the wheel moves.
const WHEEL: usize = 3;

/// A press, a drag or a turn of the wheel.
pub fn mouse(model: &mut Model, mouse: MouseEvent) {
    let at = Position::new(mouse.column, mouse.row);
    // What is drawn last lies on top.
    let hit = model.drawn.hits.iter().rev().find(|(area, _)| area.contains(at)).map(|(_, target)| *target);
    match mouse.kind {
        MouseEventKind::Down(MouseButton::Left) => {
            model.drag = (hit == Some(Target::Object)).then_some((at.x, at.y));
            if let Some(target) = hit {
                click(model, target);
            }
        }
        MouseEventKind::Up(_) => model.drag = None,
        MouseEventKind::Drag(MouseButton::Left) => {
            if let Some((x, y)) = model.drag.replace((at.x, at.y)) {
                act::drag(model, i32::from(at.x) - i32::from(x), i32::from(at.y) - i32::from(y));
            } else {
                model.drag = None;
            }
        }
        MouseEventKind::ScrollUp if hit == Some(Target::Object) => act::act(model, Cmd::ZoomIn),
        MouseEventKind::ScrollDown if hit == Some(Target::Object) => act::act(model, Cmd::ZoomOut),
        MouseEventKind::ScrollUp => wheel(model, false),
        MouseEventKind::ScrollDown => wheel(model, true),
        _ => {}
    }
}

fn click(model: &mut Model, target: Target) {
    match (target, model.dialog.take()) {
        (Target::Do(cmd), Some(Dialog::Help { .. })) => dialogs::do_from_help(model, cmd),
        (Target::Do(cmd), None) => act::act(model, cmd),
        (Target::Row(at), None) => {
            let again = model.cursor().at == at && model.view != View::Log;
            model.choose(at);
            if again {
                act::act(model, Cmd::Open);
            }
        }
        (Target::Yes, Some(Dialog::Confirm(confirm))) => model.ask(confirm.yes),
        (Target::No, _) => {}
        (Target::Yes, Some(Dialog::Form(mut form))) => {
            dialogs::send(model, &mut form);
            model.dialog = Some(Dialog::Form(form));
        }
        (Target::Field(at), Some(Dialog::Form(mut form))) => {
            let again = form.at == at;
            (form.at, form.edit) = (at, None);
            if again && form.turn(1) {
                model.asks.extend(form.plan());
            }
            model.dialog = Some(Dialog::Form(form));
        }
        (Target::Candidate(at), Some(Dialog::Prompt(mut prompt))) => {
            let path = prompt.found.get(at).cloned();
            let pressed = path.map(|path| prompt.take(path));
            match pressed {
                Some(pressed) => dialogs::prompted(model, prompt, pressed),
                None => model.dialog = Some(Dialog::Prompt(prompt)),
            }
        }
        (_, dialog) => model.dialog = dialog,
    }
}

fn wheel(model: &mut Model, down: bool) {
    let deepest = model.drawn.deepest;
    let step = |n: usize| if down { n + WHEEL } else { n.saturating_sub(WHEEL) };
    match &mut model.dialog {
        Some(Dialog::Help { scroll }) => *scroll = step(*scroll).min(deepest),
        Some(Dialog::Form(form)) => form.at = step(form.at).min(form.fields.len().saturating_sub(1)),
        Some(_) => {}
        None => {
            let cmd = if down { Cmd::Down } else { Cmd::Up };
            // On the page of an asset these keys turn.
            if matches!(model.page, Some(super::model::Page::Asset(_))) {
                model.scroll = step(model.scroll).min(deepest);
            } else {
                (0..WHEEL).for_each(|_| act::act(model, cmd));
            }
        }
    }
}
