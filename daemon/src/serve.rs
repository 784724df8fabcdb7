//! One life of the daemon: takes hold of its folders, starts everything, announces
//! itself, waits for the end, and stops in order.
//!
//! ```text
//!   folders and lock -> log -> store -> workers' orphans -> loop -> watcher -> server -> daemon.json
//!   watcher -> running stage (up to `STAGE_PATIENCE`) -> loop -> waiting calls -> server -> daemon.json -> lock
//! ```

use std::{env, path::PathBuf, process::ExitCode, sync::Arc, thread::JoinHandle, time::Duration};

use jsonrpsee::server::Methods;
use meshkiln_protocol::{
    event::EventBody,
    runtime::{EXIT_ALREADY_RUNNING, Folders, RuntimeFile},
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};
use tracing_subscriber::filter::LevelFilter;

use crate::{
    catalogue::{Catalogue, Installed, Known},
    collect::Limits,
    deliver::Deliverer,
    events::Hub,
    home::{self, Announced, Home, HomeError},
    logging,
    main_loop::{self, Call, EXIT_DISK_BROKEN, LoopConfig, LoopEnd, LoopHandle},
    outside::World,
    pulls::Pulls,
    recipes::Recipes,
    rpc::{self, Daemon, gate::Gate, methods, server},
    settings::Settings,
    state::{
        Setup,
        policy::{Devices, Policy},
    },
    store::{Store, blobs::BlobStore},
    system,
    viewer::Viewer,
    watch::{self, WatchHandle, table::Table},
    worker::{fake, supervise::Workers},
};

/// At a stop, the running stage has this long to finish; then its job waits for
/// the next start.
const STAGE_PATIENCE: Duration = Duration::from_secs(10);
/// Calls in flight have this long to be answered, after the loop has ended.
const CALL_PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug, Clone)]
pub struct Options {
    /// Before that of the settings.
    pub port: Option<u16>,
    pub log: Option<LevelFilter>,
    /// What runs the stages that need nets; the CPU runs the others.
    pub device: String,
}

/// Serves until it is told to stop; says on stderr why it could not.
pub fn run(options: &Options) -> ExitCode {
    let start = Instant::now();
    match begin(options) {
        Ok((home, settings)) => {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .max_blocking_threads(16)
                .thread_keep_alive(Duration::from_secs(60))
                .enable_all()
                .build();
            let runtime = match runtime {
                Ok(runtime) => runtime,
                Err(e) => return fail(&format!("no threads can be started: {e}"), "close other programs"),
            };
            let code = runtime.block_on(serve(home, &settings, options, start));
            // A read of a drive that hangs must not hold up the end.
            runtime.shutdown_timeout(Duration::from_secs(1));
            code
        }
        Err(error) => {
            fail(&error.to_string(), &error.hint());
            match error {
                StartError::Home(HomeError::AlreadyRunning { .. }) => ExitCode::from(EXIT_ALREADY_RUNNING as u8),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error("this user has no home folder")]
    NoHome,
    #[error(transparent)]
    Home(HomeError),
    #[error("{0}")]
    Settings(String),
    #[error("the log cannot be written: {0}")]
    Log(std::io::Error),
    #[error("{what}: {why}")]
    Part { what: &'static str, why: String },
}

impl StartError {
    fn hint(&self) -> String {
        match self {
            StartError::NoHome => "set MESHKILN_HOME to a folder on a local drive".to_owned(),
            StartError::Home(error) => error.hint(),
            StartError::Settings(_) => "correct the file or remove it".to_owned(),
            StartError::Log(_) => "check the state folder and the disk".to_owned(),
            StartError::Part { .. } => "the log says more: `meshkiln log`".to_owned(),
        }
    }
}

/// One line: clients that start the daemon show the last one.
fn fail(message: &str, hint: &str) -> ExitCode {
    eprintln!("meshkilnd: {message}; {hint}");
    ExitCode::FAILURE
}

fn begin(options: &Options) -> Result<(Home, Settings), StartError> {
    let folders = Folders::from_env().ok_or(StartError::NoHome)?;
    let home = Home::claim(folders).map_err(StartError::Home)?;
    logging::start(&home.folders.log_file(), options.log).map_err(StartError::Log)?;
    let settings = Settings::read(&home.folders.config).map_err(StartError::Settings)?;
    Ok((home, settings))
}

async fn serve(home: Home, settings: &Settings, options: &Options, start: Instant) -> ExitCode {
    let life = match Life::start(&home, settings, options).await {
        Ok(life) => life,
        Err(error) => {
            tracing::error!("not started: {error}");
            return fail(&error.to_string(), &error.hint());
        }
    };
    tracing::info!(
        "meshkilnd {} serves {} after {} ms, process {}",
        rpc::VERSION,
        life.server.addr(),
        start.elapsed().as_millis(),
        std::process::id()
    );
    let end = life.until_the_end().await;
    tracing::info!("stopped");
    match end {
        LoopEnd::Stopped => ExitCode::SUCCESS,
        LoopEnd::Broken(why) => {
            fail(&why, "check the disk; what was acknowledged is safe as far as it can be read");
            ExitCode::from(EXIT_DISK_BROKEN as u8)
        }
    }
}

/// Everything that runs.
struct Life {
    handle: LoopHandle,
    main_loop: JoinHandle<LoopEnd>,
    watch: WatchHandle,
    watcher: JoinHandle<()>,
    pulls: Pulls,
    hub: Hub,
    /// The loop has been told to stop, by whomever.
    stopping: Arc<Notify>,
    server: server::Server,
    announced: Announced,
}

impl Life {
    async fn start(home: &Home, settings: &Settings, options: &Options) -> Result<Life, StartError> {
        let folders = &home.folders;
        let part = |what: &'static str| move |why: &dyn ToString| StartError::Part { what, why: why.to_string() };
        let listener = server::bind(options.port.unwrap_or(settings.port)).await;
        let listener = listener.map_err(|e| part("the port cannot be opened")(&e))?;
        let addr = listener.local_addr().map_err(|e| part("the port cannot be opened")(&e))?;
        let token = home::new_token().map_err(|e| part("no random numbers")(&e))?;

        let blobs = BlobStore::open(folders.cache.join("blobs")).map_err(|e| part("the blob store")(&e))?;
        let store = Store::open(&folders.state.join("queue.sqlite"), blobs.clone());
        let store = store.map_err(|e| part("the queue")(&e))?;
        let hub = Hub::new(store.last_seq());
        let stopping = Arc::new(Notify::new());

        let inbox = main_loop::inbox();
        let exe: PathBuf = env::current_exe().map_err(|e| part("this program's own path")(&e))?;
        let workers = Workers::new(exe.clone(), blobs.dir().to_owned(), folders.nets(), inbox.sender.clone());
        match workers.reap_orphans(&folders.state.join("workers.json")) {
            Ok(0) => {}
            Ok(n) => tracing::warn!("{n} workers of an earlier daemon were still there"),
            Err(e) => return Err(part("the record of workers")(&e)),
        }
        let publish = {
            let (hub, stopping) = (hub.clone(), stopping.clone());
            move |event: meshkiln_protocol::event::Event| {
                if matches!(event.body, EventBody::Stopping) {
                    stopping.notify_one();
                }
                hub.publish(event);
            }
        };
        let installed = Arc::new(Installed::open(&folders.nets()));
        let catalogue = catalogue_of(&options.device, &installed);
        let mut policy = Policy::default();
        policy.nets.most_bytes = settings.net_memory_mib.map(|mib| mib << 20);
        let queue_limit = policy.live_jobs;
        let config = LoopConfig {
            store,
            setup: Setup {
                policy,
                devices: Devices::with_nets_on(&options.device),
                catalogue: catalogue.clone(),
                generator: format!("meshkilnd {}", rpc::VERSION),
                seed: fastrand::u64(..),
            },
            limits: Limits::default(),
            outside: Box::new(World {
                workers,
                deliverer: Deliverer::new(blobs.clone(), inbox.sender.clone()),
                publish,
            }),
            inbox,
        };
        let (handle, main_loop) = main_loop::start(config).map_err(|e| part("the queue")(&e))?;

        let known = Known { catalogue: catalogue.clone(), installed: installed.clone() };
        let recipes = Recipes::new(&folders.config, Arc::new(known));
        let teller = handle.clone();
        let pulls = Pulls::new(installed, Arc::new(move |body| teller.note(body)));
        pulls.take_in_own();
        let table = Table::open(&folders.state.join("watches.sqlite")).map_err(|e| part("the watched folders")(&e))?;
        let find = recipes.clone();
        let (watch, watcher) = watch::service::start(
            table,
            blobs.clone(),
            Box::new(handle.clone()),
            Box::new(move |name| find.base(name)),
            recipes.nets().clone(),
            watch::watched::Times::default(),
        )
        .map_err(|e| part("the watcher")(&e))?;

        let daemon = Daemon {
            backend: Arc::new(handle.clone()),
            blobs: blobs.clone(),
            watch: watch.clone(),
            hub: hub.clone(),
            recipes,
            catalogue,
            pulls: pulls.clone(),
            viewer: Viewer::new(exe.clone(), blobs.dir().to_owned()),
            folders: folders.clone(),
            started_ms: system::now_ms(),
            queue_limit,
            subscriber_patience: rpc::events::PATIENCE,
        };
        let methods = Methods::from(methods::module(Arc::new(daemon)));
        let token_file = folders.runtime_file().display().to_string();
        let gate = Gate::new(addr.port(), token.clone(), token_file, settings.origins.clone());
        let server = server::Server::start(listener, gate, methods, blobs, Arc::new(handle.clone()));
        let server = server.map_err(|e| part("the server")(&e))?;
        let file = RuntimeFile {
            url: format!("http://{addr}"),
            token,
            pid: std::process::id(),
            version: rpc::VERSION.to_owned(),
        };
        let announced = home.announce(&file).map_err(StartError::Home)?;
        Ok(Life { handle, main_loop, watch, watcher, pulls, hub, stopping, server, announced })
    }

    /// Waits for a signal, a `daemon.shutdown` or the loop's own end, and stops
    /// everything else after it.
    async fn until_the_end(self) -> LoopEnd {
        let Life { handle, main_loop, watch, watcher, pulls, hub, stopping, server, announced } = self;
        let mut signals = Signals::listen();
        let mut n_signals = 0;
        let mut deadline: Option<Instant> = None;
        let ended = handle.ended();
        let mut ended = std::pin::pin!(ended);
        let end = loop {
            let out_of_patience = async {
                match deadline {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let now = tokio::select! {
                end = &mut ended => break end,
                name = signals.next() => {
                    n_signals += 1;
                    tracing::info!("stopping: {name}");
                    n_signals > 1
                }
                () = stopping.notified() => {
                    deadline.get_or_insert(Instant::now() + STAGE_PATIENCE);
                    let watch = watch.clone();
                    tokio::task::spawn_blocking(move || watch.stop());
                    continue;
                }
                () = out_of_patience => {
                    tracing::info!("the running stage is not waited for any longer");
                    deadline = None;
                    true
                }
            };
            // Refused only when it has ended already.
            let _ = handle.call(Call::Shutdown { now }).await;
        };
        pulls.stop();
        hub.close();
        server.stop(CALL_PATIENCE).await;
        watch.stop();
        join(main_loop, "loop").await;
        join(watcher, "watcher").await;
        // Last, just before the lock: until then there is a daemon.
        drop(announced);
        end
    }
}

/// The nets on this machine; a fake device pretends to have some.
fn catalogue_of(device: &str, installed: &Arc<Installed>) -> Arc<dyn Catalogue> {
    if fake::is_fake(device) { fake::catalogue() } else { installed.clone() }
}

/// A thread that was told to stop; one that hangs on a dead drive is left behind.
async fn join<T: Send + 'static>(thread: JoinHandle<T>, name: &str) {
    let joined = tokio::task::spawn_blocking(move || thread.join().is_ok());
    match tokio::time::timeout(Duration::from_secs(2), joined).await {
        Ok(Ok(true)) => {}
        Ok(_) => tracing::error!("the {name} panicked"),
        Err(_) => tracing::warn!("the {name} did not stop in time"),
    }
}

#[cfg(unix)]
struct Signals {
    kinds: Vec<(&'static str, tokio::signal::unix::Signal)>,
}

#[cfg(unix)]
impl Signals {
    fn listen() -> Signals {
        use tokio::signal::unix::{SignalKind, signal};
        let all = [
            ("interrupt", SignalKind::interrupt()),
            ("terminate", SignalKind::terminate()),
            ("hangup", SignalKind::hangup()),
        ];
        let kinds = all.into_iter().filter_map(|(name, kind)| match signal(kind) {
            Ok(signal) => Some((name, signal)),
            Err(e) => {
                tracing::warn!("the signal {name} cannot be heard: {e}");
                None
            }
        });
        Signals { kinds: kinds.collect() }
    }

    async fn next(&mut self) -> &'static str {
        std::future::poll_fn(|cx| {
            for (name, signal) in &mut self.kinds {
                if signal.poll_recv(cx).is_ready() {
                    return std::task::Poll::Ready(*name);
                }
            }
            std::task::Poll::Pending
        })
        .await
    }
}

#[cfg(windows)]
struct Signals {
    interrupt: tokio::signal::windows::CtrlC,
    close: tokio::signal::windows::CtrlClose,
    shutdown: tokio::signal::windows::CtrlShutdown,
}

#[cfg(windows)]
impl Signals {
    fn listen() -> Signals {
        use tokio::signal::windows::{ctrl_c, ctrl_close, ctrl_shutdown};
        let cannot = "console events can be heard once the runtime runs";
        Signals {
            interrupt: ctrl_c().expect(cannot),
            close: ctrl_close().expect(cannot),
            shutdown: ctrl_shutdown().expect(cannot),
        }
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "interrupt",
            _ = self.close.recv() => "close",
            _ = self.shutdown.recv() => "shutdown",
        }
    }
}
