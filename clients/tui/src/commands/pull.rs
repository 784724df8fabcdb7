//! `pull`, and what `fire` says of weights that are not here.

use std::{
    collections::BTreeSet,
    fs,
    io::{IsTerminal, Write, stderr, stdin},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use indicatif::{ProgressBar, ProgressStyle};
use meshkiln_protocol::{
    api::{EventsPoll, NetCancelPull, NetListAll, NetPull, NoParams, RecipeGet},
    event::{EventBody, PollParams},
    net::{Net, NetIdParams, NetPullParams, Pull, PullState},
    recipe::RecipeGetParams,
    runtime::Folders,
};
use serde_json::json;

use super::fire::full_text;
use crate::{Outcome, client::Client, error::Failure, show};

/// How soon Ctrl-C is noticed.
const POLL_MS: u64 = 250;

pub fn pull(net: String, from: Option<PathBuf>, json: bool) -> Outcome {
    let client = Client::connect()?;
    let from = from.as_deref().map(full_text).transpose()?;
    let pull = until_ended(&client, NetPullParams { id: net, from }, json)?;
    if json {
        show::json(&json!({ "pull": pull }))?;
    } else {
        print_end(&pull)?;
    }
    match pull.state {
        PullState::Done => Ok(()),
        PullState::Cancelled => Err(Failure::Interrupted),
        _ => Err(Failure::JobsFailed),
    }
}

/// Starts a pull and shows it until it has ended; Ctrl-C cancels it.
fn until_ended(client: &Client, params: NetPullParams, json: bool) -> Result<Pull, Failure> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = interrupted.clone();
    // A handler that is there already belongs to a wait that is over.
    let _ = ctrlc::set_handler(move || flag.store(true, Ordering::Relaxed));
    let mut since = client.hello()?.seq;
    let id = params.id.clone();
    let mut pull = client.call::<NetPull>(&params)?;
    let bar = (!json && stderr().is_terminal()).then(|| bar(&pull));
    let mut cancelled = false;
    while matches!(pull.state, PullState::Fetching | PullState::Converting) {
        if interrupted.load(Ordering::Relaxed) && !cancelled {
            cancelled = true;
            // It may have ended meanwhile.
            let _ = client.call::<NetCancelPull>(&NetIdParams { id: id.clone() });
        }
        let page =
            client.call::<EventsPoll>(&PollParams { since: Some(since), wait_ms: POLL_MS, limit: None, job: None })?;
        since = page.next;
        for event in page.events {
            match event.body {
                EventBody::Pull { pull: told } if told.net == id => pull = told,
                _ => {}
            }
        }
        if page.lost {
            pull = again(client, &id, pull)?;
        }
        if let Some(bar) = &bar {
            bar.set_length(pull.total_bytes.unwrap_or(pull.done_bytes));
            bar.set_position(pull.done_bytes);
            bar.set_message(doing(&pull));
        }
    }
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    Ok(pull)
}

/// Events were lost: what `net.list` says, for a pull that goes on or has ended.
fn again(client: &Client, id: &str, known: Pull) -> Result<Pull, Failure> {
    let net = client.call::<NetListAll>(&NoParams {})?.nets.into_iter().find(|net| net.id == id);
    Ok(match net {
        Some(Net { pull: Some(pull), .. }) => pull,
        Some(net) if net.is_here() => Pull { state: PullState::Done, ..known },
        _ => Pull { state: PullState::Failed, problem: Some("it ended and nobody heard how".to_owned()), ..known },
    })
}

fn bar(pull: &Pull) -> ProgressBar {
    let bar = ProgressBar::new(pull.total_bytes.unwrap_or(0));
    let style = ProgressStyle::with_template("{prefix:16} [{bar:30}] {bytes} of {total_bytes}  {bytes_per_sec}  {msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
    bar.set_prefix(pull.net.clone());
    bar
}

fn doing(pull: &Pull) -> String {
    let file = pull.file.as_deref().unwrap_or_default();
    match pull.state {
        PullState::Converting => format!("converting {file}"),
        _ => file.to_owned(),
    }
}

fn print_end(pull: &Pull) -> Outcome {
    match pull.state {
        PullState::Done => show::line(format!("{}: its weights are here", pull.net)),
        PullState::Cancelled => {
            eprintln!("{}: cancelled; what has come is kept for the next pull", pull.net);
            Ok(())
        }
        _ => {
            eprintln!("{}: {}", pull.net, pull.problem.as_deref().unwrap_or("not fetched"));
            if let Some(hint) = &pull.hint {
                eprintln!("  hint: {hint}");
            }
            Ok(())
        }
    }
}

/// Before images are fired with `recipe`: on a terminal, offers to fetch the weights of networks that
/// would make the assets better. Whoever says `never` is not asked again.
pub fn offer(client: &Client, recipe: RecipeGetParams) -> Outcome {
    if !(stdin().is_terminal() && stderr().is_terminal()) {
        return Ok(());
    }
    let missing = client.call::<RecipeGet>(&recipe)?.missing_nets;
    if missing.is_empty() {
        return Ok(());
    }
    let mut declined = Declined::read();
    let nets = client.call::<NetListAll>(&NoParams {})?.nets;
    for net in nets.iter().filter(|net| missing.contains(&net.id)) {
        if declined.nets.contains(&net.id) {
            continue;
        }
        match ask(net).as_str() {
            "y" | "yes" => {
                let params = NetPullParams { id: net.id.clone(), from: None };
                print_end(&until_ended(client, params, false)?)?;
            }
            "never" => declined.add(&net.id),
            _ => {}
        }
    }
    Ok(())
}

/// The answer in lower case; empty when there is none.
fn ask(net: &Net) -> String {
    eprintln!("network `{}` would do better here: {}", net.id, net.doc);
    if let Some(about) = &net.about {
        let bytes: u64 = about.files.iter().filter_map(|file| file.bytes).sum();
        eprintln!("  {} to fetch, licence {}: {}", show::bytes(bytes), about.license, about.license_says);
    }
    eprint!("fetch its weights now? [y/N/never] ");
    let _ = stderr().flush();
    let mut answer = String::new();
    let _ = stdin().read_line(&mut answer);
    answer.trim().to_lowercase()
}

/// Nets that this user does not want to be asked about, a line each.
struct Declined {
    file: Option<PathBuf>,
    nets: BTreeSet<String>,
}

impl Declined {
    fn read() -> Declined {
        let file = Folders::from_env().map(|folders| folders.config.join("declined-nets"));
        let text = file.as_ref().and_then(|file| fs::read_to_string(file).ok()).unwrap_or_default();
        Declined { file, nets: text.lines().map(str::to_owned).collect() }
    }

    fn add(&mut self, net: &str) {
        self.nets.insert(net.to_owned());
        let text: String = self.nets.iter().map(|net| format!("{net}\n")).collect();
        if let Some(file) = &self.file {
            // Asked once more is no harm.
            let _ = file.parent().map(fs::create_dir_all);
            let _ = fs::write(file, text);
        }
    }
}
