//! Keys and answers for the dialogs.

use meshkiln_protocol::recipe::RecipeText;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::{
    act,
    dialog::{Dialog, Pressed, Prompt, Purpose},
    form::{self, Form, Kind},
    input::Input,
    keys::{self, Cmd, Meaning},
    model::{Model, View},
    msg::{Ask, Sent, Trouble},
    paths,
};

/// A key while a dialog is open.
pub fn press(model: &mut Model, key: KeyEvent) {
    match model.dialog.take() {
        Some(Dialog::Help { scroll }) => press_help(model, key, scroll),
        Some(Dialog::Confirm(confirm)) => match key.code {
            KeyCode::Char('y' | 'Y') | KeyCode::Enter => model.ask(confirm.yes),
            KeyCode::Char('n' | 'N' | 'q') | KeyCode::Esc => {}
            _ => model.dialog = Some(Dialog::Confirm(confirm)),
        },
        Some(Dialog::Prompt(mut prompt)) => {
            let pressed = prompt.press(key);
            prompted(model, prompt, pressed);
        }
        Some(Dialog::Form(form)) => press_form(model, form, key),
        None => {}
    }
}

/// Keys that the help names work from it too.
fn press_help(model: &mut Model, key: KeyEvent, scroll: usize) {
    let page = model.drawn.page.max(1);
    let deepest = model.drawn.deepest;
    let to = match key.code {
        KeyCode::Esc | KeyCode::Char('?' | 'q') | KeyCode::F(1) | KeyCode::Enter => return,
        KeyCode::Up | KeyCode::Char('k') => scroll.saturating_sub(1),
        KeyCode::Down | KeyCode::Char('j') => scroll + 1,
        KeyCode::PageUp => scroll.saturating_sub(page),
        KeyCode::PageDown | KeyCode::Char(' ') => scroll + page,
        KeyCode::Home => 0,
        KeyCode::End => deepest,
        _ => match keys::meaning(model, key) {
            Meaning::Do(cmd) => return act::act(model, cmd),
            _ => scroll,
        },
    };
    model.dialog = Some(Dialog::Help { scroll: to.min(deepest) });
}

/// What a key or a click did to a prompt.
pub fn prompted(model: &mut Model, mut prompt: Prompt, pressed: Pressed) {
    match pressed {
        Pressed::Close => return,
        Pressed::Here => {}
        Pressed::Changed => {
            let (text, folders_only) = (prompt.input.text().to_owned(), prompt.purpose == Purpose::Watch);
            model.ask(Ask::Complete { text, folders_only });
        }
        Pressed::Enter if prompt.input.text().trim().is_empty() => {
            prompt.problem = Some("name a file, or press Esc".to_owned());
        }
        Pressed::Enter => {
            // As typed, a path may hold spaces; several are quoted like in a shell.
            let text = prompt.input.text().trim();
            let path = paths::full(text).unwrap_or_else(|| text.to_owned());
            model.ask(Ask::Dropped(if text.contains(['\'', '"', '\\']) { text.to_owned() } else { path }));
        }
    }
    model.dialog = Some(Dialog::Prompt(prompt));
}

fn press_form(model: &mut Model, mut form: Form, key: KeyEvent) {
    let last = form.fields.len().saturating_sub(1);
    if let Some(mut find) = form.find.take() {
        let again = matches!(key.code, KeyCode::Down | KeyCode::Tab);
        if again || find.press(key) {
            form.find(find.text(), if again { form.at + 1 } else { 0 });
            form.find = Some(find);
        }
        // Any other key ends it, on what was found.
        model.dialog = Some(Dialog::Form(form));
        return;
    }
    if let Some(mut edit) = form.edit.take() {
        match key.code {
            KeyCode::Esc => {}
            KeyCode::Enter | KeyCode::Tab | KeyCode::Down | KeyCode::Up => {
                form.put(edit.text().trim());
                model.asks.extend(form.plan());
                match key.code {
                    KeyCode::Up => form.at = form.at.saturating_sub(1),
                    KeyCode::Enter => {}
                    _ => form.at = (form.at + 1).min(last),
                }
            }
            _ => {
                edit.press(key);
                form.edit = Some(edit);
            }
        }
        model.dialog = Some(Dialog::Form(form));
        return;
    }
    let page = model.drawn.page.max(1);
    match key.code {
        KeyCode::Esc => return,
        KeyCode::Enter => {
            send(model, &mut form);
        }
        KeyCode::Up | KeyCode::BackTab => form.at = form.at.saturating_sub(1),
        KeyCode::Down | KeyCode::Tab => form.at = (form.at + 1).min(last),
        KeyCode::PageUp => form.at = form.at.saturating_sub(page),
        KeyCode::PageDown => form.at = (form.at + page).min(last),
        KeyCode::Home => form.at = 0,
        KeyCode::End => form.at = last,
        KeyCode::Left if form.turn(-1) => model.asks.extend(form.plan()),
        KeyCode::Right | KeyCode::Char(' ') if form.turn(1) => model.asks.extend(form.plan()),
        KeyCode::Delete | KeyCode::Backspace => {
            form.put("");
            model.asks.extend(form.plan());
        }
        KeyCode::Right | KeyCode::Char(' ') if is_text(&form) => {
            let value = form.fields.get(form.at).filter(|field| form.is_set(field)).map(|field| form.value(field));
            form.edit = Some(Input::new(value.unwrap_or_default()));
        }
        KeyCode::Char('/') => form.find = Some(Input::default()),
        KeyCode::Char(c) if !key.modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT) => edit(&mut form, c),
        _ => {}
    }
    model.dialog = Some(Dialog::Form(form));
}

fn is_text(form: &Form) -> bool {
    form.fields.get(form.at).is_some_and(|field| field.kind == Kind::Text)
}

/// Typing replaces what is there.
fn edit(form: &mut Form, c: char) {
    let takes = match form.fields.get(form.at).map(|field| &field.kind) {
        Some(Kind::Number { .. }) => c.is_ascii_digit() || c == '-' || c == '.',
        Some(Kind::Text) => true,
        _ => false,
    };
    if takes {
        form.edit = Some(Input::new(c.to_string()));
    }
}

/// Sends a form, unless it is on its way already.
pub fn send(model: &mut Model, form: &mut Form) {
    if form.sent {
        return;
    }
    match form.send(model.now) {
        Ok(ask) => {
            form.sent = true;
            form.problem = None;
            model.ask(ask);
        }
        Err(trouble) => form.problem = Some(trouble),
    }
}

/// A recipe as spelled out for the form, if that is still open.
pub fn planned(model: &mut Model, number: u64, plan: Result<Box<RecipeText>, Trouble>) {
    let stages = std::mem::take(&mut model.stages);
    if let Some(form) = model.form().filter(|form| form.number == number) {
        match plan {
            Ok(recipe) => {
                form.planned(&recipe.plan, &stages);
                form.missing_nets = recipe.missing_nets;
            }
            Err(trouble) => form.problem = Some(trouble),
        }
    }
    model.stages = stages;
}

/// What came of a form.
pub fn sent(model: &mut Model, number: u64, answer: Result<Sent, Trouble>) {
    let form = model.form().filter(|form| form.number == number);
    match (answer, form) {
        (Ok(sent), form) => {
            if form.is_some() {
                model.dialog = None;
            }
            // What was fired is what one looks for next.
            if let Some(job) = sent.jobs.first() {
                model.cursors[View::Jobs as usize].id = Some(job.id.to_string());
            }
            sent.jobs.into_iter().for_each(|job| model.jobs.told(job));
            model.say(sent.text);
        }
        // The form stays, for another try.
        (Err(trouble), Some(form)) => (form.sent, form.problem) = (false, Some(trouble)),
        (Err(trouble), None) => model.complain(trouble),
    }
}

/// Completions of a text that may have changed since.
pub fn candidates(model: &mut Model, text: &str, found: Vec<String>) {
    if let Some(Dialog::Prompt(prompt)) = &mut model.dialog
        && prompt.input.text() == text
    {
        (prompt.found, prompt.chosen) = (found, None);
    }
}

/// Text goes where text is typed; anything else that is pasted is files.
pub fn paste(model: &mut Model, text: String) {
    match &mut model.dialog {
        Some(Dialog::Prompt(prompt)) => {
            // Files dropped onto an empty prompt are what it asks for.
            if prompt.input.text().is_empty() && text.trim().contains(['/', '\\']) {
                model.ask(Ask::Dropped(text));
                return;
            }
            prompt.input.insert(&text);
            let pressed = prompt.changed();
            if let Some(Dialog::Prompt(prompt)) = model.dialog.take() {
                prompted(model, prompt, pressed);
            }
        }
        Some(Dialog::Form(Form { edit: Some(edit), .. } | Form { find: Some(edit), .. })) => edit.insert(&text),
        Some(Dialog::Form(form)) if is_text(form) => form.edit = Some(Input::new(text.trim())),
        Some(_) => {}
        None if model.searching => {
            let view = model.view as usize;
            model.searches[view].insert(&text);
        }
        None => model.ask(Ask::Dropped(text)),
    }
}

/// Which of the files are there, and what to do with them.
pub fn dropped(model: &mut Model, there: Vec<String>, missing: &[String]) {
    let purpose = match &model.dialog {
        Some(Dialog::Prompt(prompt)) => prompt.purpose,
        None => Purpose::Fire,
        Some(_) => return,
    };
    let problem = match (missing.first(), there.first()) {
        (Some(path), _) => Some(format!("{path} is not there: check the name")),
        (None, None) => Some("no file was named".to_owned()),
        (None, Some(_)) => None,
    };
    match (problem, &mut model.dialog) {
        (None, _) if purpose == Purpose::Fire => act::fire(model, there),
        (None, _) => {
            model.forms += 1;
            let folder = there.into_iter().next().unwrap_or_default();
            let form = Form::new(model.forms, form::Purpose::Watch { folder }, &model.recipes);
            model.dialog = Some(Dialog::Form(form));
        }
        (Some(problem), Some(Dialog::Prompt(prompt))) => prompt.problem = Some(problem),
        (Some(problem), _) => {
            let hint = "files can be dropped here, or press f and name them".to_owned();
            model.complain(Trouble { message: problem, hint });
        }
    }
}

/// By the mouse.
pub fn do_from_help(model: &mut Model, cmd: Cmd) {
    model.dialog = None;
    act::act(model, cmd);
}
