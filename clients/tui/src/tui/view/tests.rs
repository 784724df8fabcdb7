use std::path::Path;

use expect_test::expect_file;
use meshkiln_protocol::job::JobId;
use ratatui::{
    Terminal,
    backend::TestBackend,
    buffer::Buffer,
    crossterm::event::{KeyCode, KeyEvent, KeyModifiers},
    style::Color,
};

use super::{
    super::{
        act,
        dialog::{Dialog, Prompt, Purpose},
        keys::{Cmd, KEYS, Place},
        look::{Depth, Look},
        model::{Link, Target},
        msg::{Msg, Trouble},
        samples::{self, LOOK},
        update::{drawn, update},
    },
    *,
};

const SIZES: [(u16, u16); 3] = [(60, 16), (100, 30), (200, 60)];

/// Draws until all pictures are there, as the loop does.
fn draw(model: &mut Model, size: (u16, u16)) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(size.0, size.1)).unwrap();
    for _ in 0..2 {
        let mut result = Drawn::default();
        terminal.draw(|frame| result = view(model, frame)).unwrap();
        model.pictures.prepare(&result.wants);
        drawn(model, result);
    }
    terminal.backend().buffer().clone()
}

/// What is on the screen. A wide character is followed by the cell it covers, which
/// is left out.
fn text(buffer: &Buffer) -> String {
    let mut out = String::new();
    for y in 0..buffer.area.height {
        let mut line = String::new();
        let mut covered = 0;
        for x in 0..buffer.area.width {
            if covered > 0 {
                covered -= 1;
                continue;
            }
            let symbol = buffer[(x, y)].symbol();
            covered = super::text::width(symbol).saturating_sub(1);
            line.push_str(symbol);
        }
        out += line.trim_end();
        out.push('\n');
    }
    out
}

fn press(model: &mut Model, keys: &[KeyCode]) {
    for code in keys {
        update(model, Msg::Key(KeyEvent::new(*code, KeyModifiers::NONE)));
    }
}

const fn c(letter: char) -> KeyCode {
    KeyCode::Char(letter)
}

/// A page at every size, held against what was drawn before (`UPDATE_EXPECT=1`).
fn check(name: &str, prepare: impl Fn(&mut Model)) {
    for (width, height) in SIZES {
        let mut model = samples::model(LOOK);
        prepare(&mut model);
        let drawn = text(&draw(&mut model, (width, height)));
        let file = format!("{}/src/tui/view/snapshots/{name}-{width}x{height}.txt", env!("CARGO_MANIFEST_DIR"));
        expect_file![Path::new(&file)].assert_eq(&drawn);
        assert!(drawn.lines().all(|line| super::text::width(line) <= width.into()));
    }
}

#[test]
fn jobs() {
    check("jobs", |_| {});
}

#[test]
fn jobs_searched() {
    check("jobs-searched", |model| press(model, &[c('/'), c('灯'), KeyCode::Enter]));
}

#[test]
fn job_that_failed() {
    check("job", |model| press(model, &[KeyCode::Down, KeyCode::Down, KeyCode::Down, KeyCode::Down, KeyCode::Enter]));
}

#[test]
fn assets() {
    check("assets", |model| press(model, &[c('2')]));
}

#[test]
fn asset() {
    check("asset", |model| press(model, &[c('2'), KeyCode::Enter]));
}

#[test]
fn nets() {
    check("nets", |model| press(model, &[c('3')]));
}

#[test]
fn watches() {
    check("watches", |model| press(model, &[c('4'), KeyCode::Down]));
}

#[test]
fn log() {
    check("log", |model| press(model, &[c('5')]));
}

#[test]
fn help() {
    check("help", |model| press(model, &[c('?')]));
}

#[test]
fn prompt() {
    check("prompt", |model| {
        let mut prompt = Prompt::new(Purpose::Fire, "/home/ada/l");
        prompt.found = ["/home/ada/灯籠/", "/home/ada/lamp.png", "/home/ada/lantern.png"].map(str::to_owned).to_vec();
        prompt.chosen = Some(1);
        model.dialog = Some(Dialog::Prompt(prompt));
    });
}

#[test]
fn form() {
    check("form", |model| {
        act::fire(model, vec!["/home/ada/灯籠.png".to_owned()]);
        let Some(Dialog::Form(form)) = &mut model.dialog else { panic!("no form") };
        form.planned(&samples::plan(), &samples::stages());
        form.at = form.fields.len() - 1;
        form.put("2000");
    });
}

#[test]
fn question() {
    check("question", |model| press(model, &[c('c')]));
}

#[test]
fn without_a_daemon() {
    check("lost", |model| {
        let trouble = Trouble { message: "the daemon does not answer".to_owned(), hint: "see the log".to_owned() };
        update(model, Msg::Lost(trouble));
    });
}

#[test]
fn with_nothing_to_show() {
    for (name, key) in [("empty-jobs", '1'), ("empty-watches", '4')] {
        check(name, |model| {
            *model = Model::new(LOOK, super::super::pictures::Pictures::new(LOOK, None));
            update(model, Msg::Connected { hello: Box::new(samples::hello(1)), afresh: true });
            update(model, Msg::Jobs(meshkiln_protocol::job::JobPage { jobs: vec![], next: None }));
            press(model, &[c(key)]);
        });
    }
}

#[test]
fn what_failed_is_red_and_nothing_is_coloured_without_colour() {
    for (look, expected) in [(LOOK, Some(Color::LightRed)), (Look { colour: Depth::None, ..LOOK }, None)] {
        let mut model = samples::model(look);
        press(&mut model, &[c('2'), KeyCode::Enter]);
        let buffer = draw(&mut model, (100, 30));
        let lines = text(&buffer);
        let y = lines.lines().position(|line| line.contains("silhouette iou is 0.91")).unwrap() as u16;
        let style = buffer[(4, y)].style();
        assert_eq!(style.fg.filter(|colour| *colour != Color::Reset), expected);
        if expected.is_none() {
            let plain = |colour: Color| colour == Color::Reset;
            assert!(buffer.content.iter().all(|cell| plain(cell.fg) && plain(cell.bg)));
        }
    }
}

#[test]
fn in_ascii_only_names_are_more() {
    let look = Look { ascii: true, ..LOOK };
    for keys in [vec![], vec![c('2')], vec![c('3')], vec![c('4')], vec![c('?')], vec![c('f')], vec![c('c')]] {
        let mut model = samples::model(look);
        press(&mut model, &keys);
        let drawn = text(&draw(&mut model, (100, 30)));
        let odd: String =
            drawn.chars().filter(|c| !c.is_ascii() && !"灯籠の絵と古い提灯のとても長い名前".contains(*c)).collect();
        assert_eq!(odd, "", "after {keys:?}");
    }
}

#[test]
fn any_size_is_drawn_without_trouble() {
    for keys in [
        vec![],
        vec![KeyCode::Enter],
        vec![c('2')],
        vec![c('2'), KeyCode::Enter],
        vec![c('3')],
        vec![c('4')],
        vec![c('5')],
        vec![c('?')],
        vec![c('f')],
        vec![c('c')],
        vec![c('2'), c('r')],
    ] {
        let mut model = samples::model(LOOK);
        press(&mut model, &keys);
        for width in (1..130).step_by(13) {
            for height in (1..40).step_by(3) {
                draw(&mut model, (width, height));
            }
        }
    }
}

#[test]
fn whatever_can_be_clicked_has_a_key() {
    for view in ['1', '2', '3', '4', '5'] {
        for then in [None, Some(KeyCode::Enter), Some(c('?'))] {
            let mut model = samples::model(LOOK);
            press(&mut model, &[c(view)]);
            press(&mut model, then.as_slice());
            draw(&mut model, (100, 30));
            for (_, target) in &model.drawn.hits {
                if let Target::Do(cmd) = target {
                    assert!(KEYS.iter().any(|key| key.cmd == *cmd && key.is_possible(&model)), "{cmd:?} in {view}");
                }
            }
        }
    }
}

#[test]
fn the_help_lists_everything_there_is() {
    for (place, keys) in [
        (Place::Jobs, vec![]),
        (Place::Job, vec![KeyCode::Enter]),
        (Place::Assets, vec![c('2')]),
        (Place::Asset, vec![c('2'), KeyCode::Enter]),
        (Place::Nets, vec![c('3')]),
        (Place::Watches, vec![c('4')]),
        (Place::Log, vec![c('5')]),
    ] {
        let mut model = samples::model(LOOK);
        press(&mut model, &keys);
        assert_eq!(model.place(), place);
        press(&mut model, &[c('?')]);
        let drawn = text(&draw(&mut model, (140, 120)));
        let words = |text: &str| text.split_whitespace().take(3).collect::<Vec<_>>().join(" ");
        for key in KEYS.iter().filter(|key| key.places.contains(&place)) {
            assert!(drawn.contains(&words(key.doc)), "{:?} at {place:?}:\n{drawn}", key.cmd);
        }
    }
}

#[test]
fn a_daemon_that_knows_less_says_what_is_missing() {
    let mut model = samples::model(LOOK);
    let mut hello = samples::hello(100);
    hello.methods.retain(|method| method != "asset.view" && method != "job.cancel");
    (hello.version, hello.protocol_version) = ("0.0.9".to_owned(), meshkiln_protocol::PROTOCOL_VERSION);
    update(&mut model, Msg::Connected { hello: Box::new(hello), afresh: false });
    assert_eq!(model.link, Link::Up);
    let drawn = text(&draw(&mut model, (100, 30)));
    assert!(drawn.contains("the daemon (0.0.9) does not know asset.view, job.cancel"), "{drawn}");
    press(&mut model, &[c('c')]);
    assert!(model.dialog.is_none() && model.asks.iter().all(|ask| !matches!(ask, super::super::msg::Ask::Cancel(_))));
    assert!(text(&draw(&mut model, (100, 30))).contains("does not know job.cancel"));
    // The preview stands in for what it cannot draw.
    press(&mut model, &[c('2'), KeyCode::Enter]);
    draw(&mut model, (100, 30));
    assert!(model.drawn.wants.iter().any(|(which, _)| *which == Which::Preview(JobId(4))));
    assert!(model.drawn.hits.iter().all(|(_, target)| *target != Target::Object));
}

#[test]
fn the_mouse_turns_chooses_and_opens() {
    use ratatui::crossterm::event::{MouseButton, MouseEvent, MouseEventKind};
    let mouse = |model: &mut Model, kind, (column, row): (u16, u16)| {
        update(model, Msg::Mouse(MouseEvent { kind, column, row, modifiers: KeyModifiers::NONE }));
    };
    let place = |model: &Model, wanted: Target| {
        let (area, _) = model.drawn.hits.iter().find(|(_, target)| *target == wanted).unwrap();
        (area.x + area.width / 2, area.y + area.height / 2)
    };
    let left = MouseEventKind::Down(MouseButton::Left);
    let mut model = samples::model(LOOK);
    draw(&mut model, (100, 30));
    let at = place(&model, Target::Do(Cmd::See(View::Assets)));
    mouse(&mut model, left, at);
    assert_eq!(model.view, View::Assets);
    draw(&mut model, (100, 30));
    let at = place(&model, Target::Row(1));
    mouse(&mut model, left, at);
    assert_eq!((model.cursor().at, model.page), (1, None));
    mouse(&mut model, left, at);
    assert_eq!(model.page, Some(Page::Asset(JobId(1))), "a second click opens");
    draw(&mut model, (100, 30));
    let (x, y) = place(&model, Target::Object);
    let before = model.sight.clone();
    mouse(&mut model, left, (x, y));
    mouse(&mut model, MouseEventKind::Drag(MouseButton::Left), (x + 5, y + 2));
    assert!(model.sight.yaw_deg < before.yaw_deg && model.sight.pitch_deg > before.pitch_deg);
    mouse(&mut model, MouseEventKind::ScrollUp, (x, y));
    assert!(model.sight.zoom > before.zoom);
}
