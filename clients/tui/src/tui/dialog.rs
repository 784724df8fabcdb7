//! What lies over the page and takes the keys: the help, a question, a path being
//! typed, a form.

use ratatui::crossterm::event::{KeyCode, KeyEvent};

use super::{form::Form, input::Input, msg::Ask, paths};

/// At most one at a time.
#[derive(Debug, Clone, PartialEq)]
pub enum Dialog {
    Help { scroll: usize },
    Confirm(Confirm),
    Prompt(Prompt),
    Form(Form),
}

/// Asked once before something is lost.
#[derive(Debug, Clone, PartialEq)]
pub struct Confirm {
    pub question: String,
    /// What is lost, and what is not.
    pub detail: String,
    pub yes: Ask,
}

/// What a path is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    Fire,
    Watch,
}

/// A path being typed.
#[derive(Debug, Clone, PartialEq)]
pub struct Prompt {
    pub purpose: Purpose,
    pub input: Input,
    /// What the text could become.
    pub found: Vec<String>,
    pub chosen: Option<usize>,
    /// What was wrong with the last try.
    pub problem: Option<String>,
}

/// What came of a key.
#[derive(Debug, PartialEq)]
pub enum Pressed {
    /// Nothing but the dialog changed.
    Here,
    /// The text changed: its completions are wanted.
    Changed,
    Enter,
    Close,
}

impl Prompt {
    /// Begins with this text.
    pub fn new(purpose: Purpose, text: &str) -> Prompt {
        Prompt { purpose, input: Input::new(text), found: Vec::new(), chosen: None, problem: None }
    }

    /// What it is for, in words.
    pub fn title(&self) -> &'static str {
        match self.purpose {
            Purpose::Fire => "Fire pictures or meshes",
            Purpose::Watch => "Watch a folder",
        }
    }

    /// Types, completes, chooses or ends.
    pub fn press(&mut self, key: KeyEvent) -> Pressed {
        match key.code {
            KeyCode::Esc => Pressed::Close,
            KeyCode::Enter => match self.chosen.and_then(|at| self.found.get(at).cloned()) {
                Some(path) => self.take(path),
                None => Pressed::Enter,
            },
            KeyCode::Tab => {
                let common = paths::common(&self.found);
                match self.found.as_slice() {
                    [only] => self.take(only.clone()),
                    _ if common.len() > self.input.text().len() => self.take(common),
                    _ => self.step(1),
                }
            }
            KeyCode::Down => self.step(1),
            KeyCode::Up => self.step(-1),
            KeyCode::BackTab => self.step(-1),
            _ if self.input.press(key) => self.changed(),
            _ => Pressed::Here,
        }
    }

    /// Goes on from a completion.
    pub fn take(&mut self, path: String) -> Pressed {
        self.input.set(path);
        self.changed()
    }

    /// After the text was changed from outside.
    pub fn changed(&mut self) -> Pressed {
        (self.chosen, self.problem) = (None, None);
        Pressed::Changed
    }

    fn step(&mut self, by: isize) -> Pressed {
        let n = self.found.len() as isize;
        if n > 0 {
            let at = self.chosen.map_or(if by > 0 { 0 } else { n - 1 }, |at| (at as isize + by).rem_euclid(n));
            self.chosen = Some(at as usize);
        }
        Pressed::Here
    }
}

#[cfg(test)]
mod tests {
    use ratatui::crossterm::event::KeyModifiers;

    use super::*;

    fn press(prompt: &mut Prompt, code: KeyCode) -> Pressed {
        prompt.press(KeyEvent::new(code, KeyModifiers::NONE))
    }

    #[test]
    fn tab_goes_as_far_as_it_is_clear_and_then_from_one_to_the_next() {
        let mut prompt = Prompt::new(Purpose::Fire, "/a/l");
        prompt.found = vec!["/a/lamp.png".into(), "/a/lantern.png".into()];
        assert_eq!(press(&mut prompt, KeyCode::Tab), Pressed::Changed);
        assert_eq!(prompt.input.text(), "/a/la");
        assert_eq!(press(&mut prompt, KeyCode::Tab), Pressed::Here);
        assert_eq!(prompt.chosen, Some(0));
        press(&mut prompt, KeyCode::Tab);
        press(&mut prompt, KeyCode::Tab);
        assert_eq!(prompt.chosen, Some(0), "round again");
        assert_eq!(press(&mut prompt, KeyCode::Enter), Pressed::Changed);
        assert_eq!(prompt.input.text(), "/a/lamp.png");
        assert_eq!(press(&mut prompt, KeyCode::Enter), Pressed::Enter);
    }

    #[test]
    fn typing_lets_go_of_what_was_chosen() {
        let mut prompt = Prompt::new(Purpose::Watch, "");
        prompt.found = vec!["a/".into()];
        press(&mut prompt, KeyCode::Down);
        assert_eq!(press(&mut prompt, KeyCode::Char('b')), Pressed::Changed);
        assert_eq!((prompt.chosen, prompt.input.text()), (None, "b"));
        assert_eq!(press(&mut prompt, KeyCode::Esc), Pressed::Close);
    }
}
