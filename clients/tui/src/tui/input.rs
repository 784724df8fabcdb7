//! One line of text being typed.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// Text and where the next character goes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Input {
    text: String,
    /// A byte index on a character's boundary.
    at: usize,
}

impl Input {
    /// With the cursor at the end.
    pub fn new(text: impl Into<String>) -> Input {
        let text = text.into();
        Input { at: text.len(), text }
    }

    /// All of it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What lies before and after the cursor.
    pub fn halves(&self) -> (&str, &str) {
        self.text.split_at(self.at)
    }

    /// Replaces the text; the cursor goes to its end.
    pub fn set(&mut self, text: impl Into<String>) {
        *self = Input::new(text);
    }

    /// Line ends and other control characters of a paste are left out.
    pub fn insert(&mut self, text: &str) {
        let text: String = text.chars().filter(|c| !c.is_control()).collect();
        self.text.insert_str(self.at, &text);
        self.at += text.len();
    }

    /// Whether the key is one that edits.
    pub fn press(&mut self, key: KeyEvent) -> bool {
        let ctrl = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('a') if ctrl => self.at = 0,
            KeyCode::Char('e') if ctrl => self.at = self.text.len(),
            KeyCode::Char('u') if ctrl => {
                self.text.drain(..self.at);
                self.at = 0;
            }
            KeyCode::Char('w') if ctrl => self.drop_word(),
            KeyCode::Char(c) if !ctrl && !key.modifiers.contains(KeyModifiers::ALT) => {
                self.insert(c.encode_utf8(&mut [0; 4]))
            }
            KeyCode::Backspace => {
                let from = self.before();
                self.text.drain(from..self.at);
                self.at = from;
            }
            KeyCode::Delete => {
                let to = self.after();
                self.text.drain(self.at..to);
            }
            KeyCode::Left => self.at = self.before(),
            KeyCode::Right => self.at = self.after(),
            KeyCode::Home => self.at = 0,
            KeyCode::End => self.at = self.text.len(),
            _ => return false,
        }
        true
    }

    fn before(&self) -> usize {
        self.text[..self.at].char_indices().next_back().map_or(0, |(at, _)| at)
    }

    fn after(&self) -> usize {
        self.at + self.text[self.at..].chars().next().map_or(0, char::len_utf8)
    }

    /// Back to the last separator of words or of a path.
    fn drop_word(&mut self) {
        let head = self.text[..self.at].trim_end_matches([' ', '/']);
        let from = head.rfind([' ', '/']).map_or(0, |at| at + 1);
        self.text.drain(from..self.at);
        self.at = from;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn press(input: &mut Input, code: KeyCode, modifiers: KeyModifiers) {
        assert!(input.press(KeyEvent::new(code, modifiers)), "{code:?}");
    }

    #[test]
    fn edits_keep_to_whole_characters() {
        let mut input = Input::new("a灯é");
        press(&mut input, KeyCode::Left, KeyModifiers::NONE);
        press(&mut input, KeyCode::Backspace, KeyModifiers::NONE);
        assert_eq!(input.halves(), ("a", "é"));
        press(&mut input, KeyCode::Delete, KeyModifiers::NONE);
        press(&mut input, KeyCode::Delete, KeyModifiers::NONE);
        input.insert("b\nc\u{1b}");
        assert_eq!(input.text(), "abc");
        press(&mut input, KeyCode::Char('u'), KeyModifiers::CONTROL);
        assert_eq!(input.text(), "");
        press(&mut input, KeyCode::Backspace, KeyModifiers::NONE);
        assert!(!input.press(KeyEvent::new(KeyCode::Enter, KeyModifiers::NONE)));
    }

    #[test]
    fn a_word_of_a_path_goes_at_once() {
        let mut input = Input::new("/home/ada/props/");
        press(&mut input, KeyCode::Char('w'), KeyModifiers::CONTROL);
        assert_eq!(input.text(), "/home/ada/");
    }
}
