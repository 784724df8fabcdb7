use meshkiln_protocol::{
    event::EventBody,
    job::{Class, Job, JobPage, Progress},
    recipe::RecipeText,
};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::{
    super::{
        dialog::Dialog,
        msg::{Sent, Trouble},
        samples::{self, LOOK, job},
    },
    *,
};

fn model() -> Model {
    samples::model(LOOK)
}

fn press(model: &mut Model, keys: &str) {
    for c in keys.chars() {
        let code = match c {
            '\n' => KeyCode::Enter,
            '\u{1b}' => KeyCode::Esc,
            '\t' => KeyCode::Tab,
            '>' => KeyCode::Right,
            'v' => KeyCode::Down,
            c => KeyCode::Char(c),
        };
        update(model, Msg::Key(KeyEvent::new(code, KeyModifiers::NONE)));
    }
}

fn event(seq: u64, job: Job) -> Event {
    Event { seq, time_ms: samples::NOW, body: EventBody::Job { job: Box::new(job) } }
}

fn told(model: &mut Model, events: Vec<Event>) {
    update(model, Msg::Events { events, strange: 0 });
}

fn chosen(model: &Model) -> Option<u64> {
    model.job().map(|job| job.id.0)
}

#[test]
fn each_event_counts_once_also_over_a_new_daemon() {
    let mut model = model();
    told(&mut model, vec![event(101, job(20, JobState::Queued)), event(102, job(20, JobState::Running))]);
    told(&mut model, vec![event(101, job(20, JobState::Queued)), event(102, job(20, JobState::Running))]);
    assert_eq!((model.n_events, model.seq), (2, 102));
    assert_eq!(model.jobs.get(JobId(20)).map(|job| job.state), Some(JobState::Running));

    update(&mut model, Msg::Lost(Trouble { message: "gone".into(), hint: String::new() }));
    assert!(!model.is_connected());
    assert_eq!(model.jobs.len(), 9, "what was shown stays");
    update(&mut model, Msg::Connected { hello: Box::new(samples::hello(110)), afresh: false });
    assert_eq!(model.seq, 102, "events go on where they stopped, not where the new daemon is");
    told(&mut model, vec![event(102, job(20, JobState::Running)), event(103, job(20, JobState::Done))]);
    assert_eq!((model.n_events, model.seq), (3, 103));
    assert_eq!(model.jobs.get(JobId(20)).map(|job| job.state), Some(JobState::Done));
}

#[test]
fn when_events_are_lost_everything_is_listed_afresh() {
    let mut model = model();
    update(&mut model, Msg::Connected { hello: Box::new(samples::hello(7)), afresh: true });
    assert_eq!((model.jobs.len(), model.seq), (0, 7));
    update(&mut model, Msg::Jobs(JobPage { jobs: vec![job(1, JobState::Done)], next: None }));
    assert_eq!(model.rows(), 1);
}

#[test]
fn the_cursor_stays_on_its_job_wherever_that_goes() {
    let mut model = model();
    told(&mut model, vec![event(101, job(2, JobState::Running))]);
    assert_eq!(chosen(&model), Some(2), "untouched, it stays at the top");
    told(&mut model, vec![event(102, job(2, JobState::Dead))]);
    press(&mut model, "vv");
    assert_eq!(chosen(&model), Some(8));
    told(&mut model, vec![event(103, job(30, JobState::Running)), event(104, job(8, JobState::Running))]);
    assert_eq!(chosen(&model), Some(8));
    told(&mut model, vec![event(105, job(8, JobState::Done))]);
    assert_eq!(chosen(&model), Some(8));
    press(&mut model, "/lantern-5\n");
    assert_eq!(chosen(&model), Some(5), "what is no longer listed cannot be chosen");
    press(&mut model, "\u{1b}");
    assert_eq!(model.rows(), 9);
}

#[test]
fn filters_go_round() {
    let mut model = model();
    let rows: Vec<usize> = (0..4)
        .map(|_| {
            press(&mut model, "F");
            model.rows()
        })
        .collect();
    assert_eq!(rows, [4, 3, 1, 8]);
}

#[test]
fn what_destroys_is_asked_once_and_only_done_on_yes() {
    for (keys, expected) in [
        ("c", Ask::Cancel(JobId(9))),
        ("x", Ask::Clear(vec![])),
        ("X", Ask::StopDaemon),
        ("3x", Ask::RemoveNet("triposr".to_owned())),
        ("4x", Ask::RemoveWatch(meshkiln_protocol::watch::WatchId(1))),
    ] {
        for (answer, is_done) in [("y", true), ("\n", true), ("n", false), ("\u{1b}", false)] {
            let mut model = model();
            press(&mut model, keys);
            assert!(!model.asks.contains(&expected), "{keys} was done unasked");
            assert!(matches!(model.dialog, Some(Dialog::Confirm(_))), "{keys} is not asked");
            press(&mut model, answer);
            assert_eq!(model.asks.contains(&expected), is_done, "{keys} {answer}");
            assert_eq!(model.dialog, None);
        }
    }
}

#[test]
fn what_cannot_be_done_says_what_it_needs() {
    let mut model = model();
    press(&mut model, "t");
    assert_eq!(model.asks, []);
    assert_eq!(model.notice.as_ref().map(|n| &*n.text), Some("`try again` needs a job that failed or was cancelled"));
    press(&mut model, "vvvvt");
    assert_eq!(model.asks, [Ask::Retry(JobId(5))]);
}

#[test]
fn jobs_are_paused_resumed_and_moved() {
    let mut model = model();
    press(&mut model, "vvp-");
    assert_eq!(model.asks, [Ask::Pause(JobId(8)), Ask::Reclass(JobId(8), Class::Watch)]);
    model.asks.clear();
    update(&mut model, Msg::Job(Box::new(job(8, JobState::Paused))));
    press(&mut model, "p+");
    assert_eq!(model.asks, [Ask::Resume(JobId(8))], "the most urgent cannot be more so");
}

#[test]
fn files_that_are_dropped_open_a_form_and_one_key_fires_them() {
    let mut model = model();
    update(&mut model, Msg::Paste("'/a/lamp.png' /a/灯籠.png".to_owned()));
    assert_eq!(model.asks, [Ask::Dropped("'/a/lamp.png' /a/灯籠.png".to_owned())]);
    let there = vec!["/a/lamp.png".to_owned(), "/a/灯籠.png".to_owned()];
    update(&mut model, Msg::Dropped { there, missing: vec![] });
    model.asks.clear();
    press(&mut model, "\n\n");
    let [Ask::Submit { form, jobs }] = &model.asks[..] else { panic!("{:?}", model.asks) };
    let sources: Vec<_> = jobs.iter().filter_map(|job| job.source.path.clone()).collect();
    assert_eq!(sources, ["/a/lamp.png", "/a/灯籠.png"]);
    let form = *form;

    // Refused, it stays for another try; taken, it goes.
    let trouble = Trouble { message: "the queue is full".into(), hint: "later".into() };
    update(&mut model, Msg::Sent { form, answer: Err(trouble.clone()) });
    assert!(matches!(&model.dialog, Some(Dialog::Form(form)) if form.problem == Some(trouble)));
    let jobs = vec![job(40, JobState::Queued), job(41, JobState::Queued)];
    update(&mut model, Msg::Sent { form, answer: Ok(Sent { text: "2 jobs queued".into(), jobs }) });
    assert_eq!(model.dialog, None);
    assert_eq!(chosen(&model), Some(40), "what was fired is not what is looked at");
}

#[test]
fn files_that_are_not_there_are_named() {
    let mut model = model();
    update(&mut model, Msg::Dropped { there: vec![], missing: vec!["/no/such.png".to_owned()] });
    assert!(model.dialog.is_none());
    assert!(model.notice.as_ref().is_some_and(|notice| notice.bad && notice.text.contains("/no/such.png")));
}

#[test]
fn a_refire_starts_from_the_settings_of_the_asset() {
    let mut model = model();
    press(&mut model, "2r");
    assert!(model.asks.contains(&Ask::Asset(JobId(4))));
    model.asks.clear();
    let mut asset = samples::asset(4, "lamp");
    let mut plan = samples::plan();
    plan["steps"][1]["settings"]["triangles"] = 777.into();
    asset.plan = Some(plan.clone());
    update(&mut model, Msg::Asset(Box::new(asset)));
    let [Ask::Plan { form, recipe, set }] = &model.asks[..] else { panic!("{:?}", model.asks) };
    assert_eq!(recipe.as_deref(), Some("prop"));
    assert!(set.contains(&"count.triangles=777".to_owned()), "{set:?}");
    let form = *form;
    let recipe = RecipeText { name: "prop".into(), text: String::new(), plan, missing_nets: vec![] };
    update(&mut model, Msg::Plan { form, plan: Ok(Box::new(recipe)) });
    model.asks.clear();
    press(&mut model, "/triang\n500\n");
    assert!(
        matches!(&model.asks[..], [Ask::Plan { set, .. }] if set.last().is_some_and(|s| s == "count.triangles=500"))
    );
    model.asks.clear();
    press(&mut model, "\n");
    let [Ask::Refire { params, .. }] = &model.asks[..] else { panic!("{:?}", model.asks) };
    assert_eq!(params.set, ["count.triangles=500"], "only what was changed is asked for");
}

#[test]
fn an_object_is_drawn_once_at_a_time_and_then_as_wished_last() {
    let size = Size::new(40, 20);
    let mut model = model();
    press(&mut model, "2\n");
    model.asks.clear();
    let want = || Drawn { wants: vec![(Which::Mesh(JobId(4)), size)], ..Drawn::default() };
    drawn(&mut model, want());
    press(&mut model, "lll");
    drawn(&mut model, want());
    let turns = |model: &Model| model.asks.iter().filter(|ask| matches!(ask, Ask::Turn(_))).count();
    assert_eq!(turns(&model), 1, "asked again before the first came");
    update(&mut model, Msg::Picture { which: Which::Mesh(JobId(4)), picture: Ok(samples::picture()) });
    drawn(&mut model, want());
    assert_eq!(turns(&model), 2);
    assert!(matches!(model.asks.last(), Some(Ask::Turn(turn)) if turn.yaw_deg == -15.0));
    update(&mut model, Msg::Picture { which: Which::Mesh(JobId(4)), picture: Ok(samples::picture()) });
    drawn(&mut model, want());
    assert_eq!(turns(&model), 2, "drawn again though nothing was turned");
}

#[test]
fn nothing_is_asked_for_while_nothing_changes() {
    let mut model = Model::new(LOOK, super::super::pictures::Pictures::new(LOOK, None));
    update(&mut model, Msg::Connected { hello: Box::new(samples::hello(1)), afresh: true });
    model.asks.clear();
    model.dirty = false;
    assert!(patience_ms(&model) >= 10_000);
    update(&mut model, Msg::Tick);
    assert_eq!(model.asks, []);
    update(&mut model, Msg::Jobs(JobPage { jobs: vec![job(1, JobState::Running)], next: None }));
    assert_eq!(patience_ms(&model), 1000, "an estimate goes down by itself");
}

#[test]
fn progress_of_a_job_that_is_not_known_is_no_trouble() {
    let mut model = model();
    let progress = Progress { stage: "bake".into(), done: 1, total: 2, fraction: 0.5, eta_ms: None };
    let body = EventBody::Progress { id: JobId(999), progress };
    told(&mut model, vec![Event { seq: 101, time_ms: 0, body }]);
    assert_eq!(model.seq, 101);
}

#[test]
fn a_stopped_daemon_is_started_only_when_asked_for() {
    let mut model = model();
    update(&mut model, Msg::Stopped);
    assert_eq!(model.asks, []);
    press(&mut model, "U");
    assert_eq!(model.asks, [Ask::StartDaemon]);
}
