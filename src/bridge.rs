//! Wires everything, spawns it, watches over it, drains it. Whoever has read this has seen the whole.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, HaproxyConfig, HaproxyMode, OnExit};
use crate::durable::{make_private_dir, tighten};
use crate::fleet::Fleet;
use crate::forecast::{CopyRequests, Foresight};
use crate::haproxy::managed::{Jail, Presence};
use crate::haproxy::service_ports::ServicePorts;
use crate::haproxy::{Certificates, Driver, External, Managed, stats};
use crate::history::History;
use crate::reconcile::desired::Desired;
use crate::reconcile::orders::Orders;
use crate::reconcile::standing::{Brought, Running};
use crate::reconcile::{Outside, Pending, Reconciler};
use crate::render::{Files, Templates};
use crate::rules;
use crate::sources::marathon::Marathon;
use crate::sources::{self, Refresh, SourceMessage};
use crate::state::State;
use crate::telemetry::Metrics;
use crate::telemetry::metrics::Source;
use crate::view::{Counts, View};
use crate::web::api::status::Origins;
use crate::web::marathon_lb::{self, Endpoints};
use crate::web::{self, Door, Doors};

pub mod inputs;
pub mod templates;

/// How long everything may take to end.
const GRACE: Duration = Duration::from_secs(10);
/// How many events may wait for the state; a full read of a large cluster waits here instead of in memory.
const EVENTS: usize = 1024;

/// How often the metrics learn what the state holds, if it changed: counting walks all of it.
const COUNT: Duration = Duration::from_secs(1);

/// Runs until `stop`, or until a part of it dies.
///
/// # Errors
/// What keeps it from starting, or which part ended.
pub async fn run(config: Config, stop: CancellationToken) -> Result<()> {
    let lock = lock(&config.haproxy)?;
    // Before HAProxy is touched: what cannot start leaves everything as it was.
    let door = Door::open(&config)?;
    run_locked(config, door, stop, lock).await
}

/// As [`run`], with a door that was opened before, whose address the caller knows.
///
/// # Errors
/// What keeps it from starting, or which part ended.
pub async fn run_with(config: Config, door: Door, stop: CancellationToken) -> Result<()> {
    let lock = lock(&config.haproxy)?;
    run_locked(config, door, stop, lock).await
}

async fn run_locked(config: Config, door: Door, stop: CancellationToken, _lock: std::fs::File) -> Result<()> {
    let doors = Doors::open(&config)?;
    Doors::tell(&config);
    // Whoever drops this future ends every part of it.
    let _stopped = stop.clone().drop_guard();
    let (config, told) = templates::with_templates(config).await?;
    for notice in told.notices {
        tracing::warn!("{notice}");
    }
    let metrics = Metrics::new(&config.statsd);
    metrics.started();
    // It answers while HAProxy is still being looked for: that Causeway is not ready yet is worth knowing.
    let (brought, running) = watch::channel(Brought::default());
    let (viewed, view) = watch::channel(View::default());
    let history = History::default();
    let (orders, ordered) = Orders::new();
    let origins = Origins::from(&config);
    let marathon_status = Arc::clone(&origins.marathon);
    let (store, shared) = rules::open_shared(&config)?;
    let fleet = Fleet::new(shared, &config.haproxy, metrics.clone(), store.watch());
    let (foresight, of_state, of_desired) = Foresight::new(&config);
    let callback = web::Callback::default();
    let seen = web::Seen {
        metrics: metrics.clone(),
        running: Running::new(running, orders.clone(), &config.haproxy),
        history: history.clone(),
        origins,
        rules: web::RuleDesk::new(Arc::clone(&store), foresight, view.clone(), &config),
        callback: callback.clone(),
        view,
        fleet: fleet.clone(),
        state_env: config.api.state_env.clone().into(),
        doors,
    };
    let mut serving = tokio::spawn(web::serve(door, seen, stop.clone()));
    let templates = Templates::load(&config.template)?;
    let managed = config.haproxy.mode == HaproxyMode::Managed;
    let jail = if managed { Jail::of(&config.haproxy)? } else { None };
    let pages = inputs::pages(&config)?;
    let https = !config.tls.certificates.is_empty();
    let (mut driver, loaded) = open(&config, jail.as_ref()).await?;
    let certificates = Certificates::open(&config, loaded.as_ref())?;
    let ports = match &loaded {
        Some(files) => ServicePorts::of_loaded(&config.haproxy, https, files),
        None if driver.is_alive().await => ServicePorts::new(&config.haproxy, Default::default()),
        None => ServicePorts::probe(&config.haproxy, https),
    };
    let head = inputs::head(&config, jail.as_ref(), &ports);
    let desired = Desired::new(templates, head, ports.clone(), (pages, certificates), &config);
    let served_before: HashSet<_> = desired.served_before();
    let marathon = Marathon::new(&config.marathon, served_before.clone(), metrics.clone())?;
    let marathon = marathon.keeping(&config.api.state_env);
    let _set_once = marathon_status.set(marathon.status());
    let mut state =
        State::new(&config, &config.safety, ports.reserved(&config.haproxy, https), served_before);
    desired.good_services().for_each(|service| state.remember(service));
    state.tell_of_templates(told.problems);
    let pending = Pending::default();
    let refresh = Refresh::default();
    let listener = marathon_lb::listen(&config.haproxy, jail.as_ref()).unwrap_or_else(|error| {
        tracing::error!("{error}; marathon-lb's endpoints on haproxy.bind_stats answer 503");
        None
    });
    let endpoints = Endpoints::new(&config.haproxy, refresh.clone(), pending.clone());
    let outside = Outside { brought, history, orders: ordered, copies: of_desired };
    let reconciler =
        Reconciler::new(driver, desired, loaded, pending.clone(), &config, metrics.clone(), outside);

    let (events_tx, events) = mpsc::channel(EVENTS);
    let mut parts = JoinSet::new();
    let source = marathon.follow(events_tx.clone(), refresh.clone());
    parts.spawn(async { (source.await, "the Marathon source").1 });
    let passing = callback.pass_on(refresh.clone(), web::callback::REST);
    parts.spawn(async { (passing.await, "the way of Marathon's callbacks").1 });
    let watcher = metrics.clone();
    parts.spawn(async move {
        sources::rules::follow(&*store, events_tx, watcher).await;
        "the rules source"
    });
    let carrying_out = fleet.clone().carry_out(orders);
    parts.spawn(async { (carrying_out.await, "what is ordered for the fleet").1 });
    parts.spawn(async { (fleet.tell().await, "the word to the other Causeways").1 });
    if let Some(listener) = listener {
        parts.spawn(async { (marathon_lb::serve(listener, endpoints).await, "marathon-lb's endpoints").1 });
    }
    let looking = stats::follow(config.haproxy.clone(), metrics.clone());
    parts.spawn(async { (looking.await, "the look at HAProxy's figures").1 });
    let told = Told { pending, refresh, viewed, metrics };
    let fold = fold(state, events, of_state, config.safety.hold_time, told);
    parts.spawn(async { (fold.await, "the state").1 });
    let mut reconciling = tokio::spawn(reconciler.run(stop.clone()));

    let died = tokio::select! {
        biased;
        () = stop.cancelled() => None,
        ended = parts.join_next() => Some(match ended {
            Some(Ok(part)) => format!("{part} has ended"),
            Some(Err(error)) => format!("a part of Causeway has failed ({error})"),
            None => "nothing is left to do".to_owned(),
        }),
        // It ends only when it is told to, so that answers that are under way are not cut off.
        ended = &mut serving => Some(match ended {
            Ok(Ok(())) => "the web server has ended".to_owned(),
            Ok(Err(error)) => format!("the web server has failed ({error})"),
            Err(error) => format!("the web server has failed ({error})"),
        }),
        // It ends only when it is told to, or by a panic.
        ended = &mut reconciling => match ended {
            Ok(_) => None,
            Err(error) => bail!("the reconciler has failed ({error}); HAProxy goes on with what it has"),
        },
    };
    tracing::info!(
        "Causeway ends; HAProxy {}",
        match config.haproxy.on_exit {
            OnExit::Keep => "goes on serving",
            OnExit::Stop => "is stopped",
        }
    );
    stop.cancel();
    parts.abort_all();
    let driver = tokio::time::timeout(GRACE, reconciling).await;
    if let Ok(Ok(Driver::Managed(mut managed))) = driver
        && config.haproxy.on_exit == OnExit::Stop
    {
        managed.stop().await;
    }
    if !serving.is_finished() {
        let _ended = tokio::time::timeout(GRACE, serving).await;
    }
    match died {
        None => Ok(()),
        Some(what) => bail!("{what}; HAProxy goes on with what it has"),
    }
}

/// Finds out what runs. Where nothing does, and there is a generation that was good, it is started at once: after a
/// reboot traffic does not wait for Marathon.
async fn open(config: &Config, jail: Option<&Jail>) -> Result<(Driver, Option<Files>)> {
    if config.haproxy.mode == HaproxyMode::External {
        let mut driver = Driver::External(Box::new(External::open(&config.haproxy)?));
        let loaded = driver.observe().await.map(|(_, files)| files);
        return Ok((driver, loaded));
    }
    let mut managed = Managed::open(&config.haproxy, jail)?;
    let mut loaded = None;
    if managed.presence().await == Presence::Absent {
        match managed.start_current().await {
            Ok(Some(generation)) => {
                tracing::info!(
                    haproxy.generation = generation.number,
                    "HAProxy is started with what was good last"
                );
                loaded = managed.generations().read(&generation);
            }
            Ok(None) => {}
            Err(error) => tracing::error!("{error}; it is started when the apps are known"),
        }
        return Ok((Driver::Managed(Box::new(managed)), loaded));
    }
    let mut driver = Driver::Managed(Box::new(managed));
    match driver.observe().await {
        Some((number, files)) => {
            tracing::info!(haproxy.generation = number, "the running HAProxy is adopted");
            loaded = Some(files);
        }
        None => tracing::warn!(
            "a HAProxy runs with a configuration that is not known here; it is reloaded when the apps are known"
        ),
    }
    Ok((driver, loaded))
}

/// Whom the state tells.
struct Told {
    pending: Pending,
    refresh: Refresh,
    viewed: watch::Sender<View>,
    metrics: Metrics,
}

/// Folds what the sources say, until they are gone.
async fn fold(
    mut state: State,
    mut events: mpsc::Receiver<SourceMessage>,
    mut copies: CopyRequests<State>,
    hold_time: Duration,
    told: Told,
) {
    let Told { pending, refresh, viewed, metrics } = told;
    let mut believe = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::user_defined1())
        .expect("SIGUSR1 is a signal that can be caught");
    let mut read_again = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup())
        .expect("SIGHUP is a signal that can be caught");
    let mut ask_again =
        tokio::time::interval((hold_time / 6).clamp(Duration::from_millis(100), Duration::from_secs(10)));
    let mut count = tokio::time::interval(COUNT);
    count.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut counted = Counts::default();
    let mut to_count = true;
    loop {
        let was_ready = state.is_ready();
        let mut since = None;
        let changes = tokio::select! {
            message = events.recv() => match message {
                Some(message) => {
                    since = message.since;
                    state.fold(message.event, Instant::now())
                }
                None => return,
            },
            Some(asker) = copies.recv() => {
                let _gave_up = asker.send(state.clone());
                continue;
            }
            _ = count.tick(), if to_count => {
                to_count = false;
                let counts = state.view().counts();
                if counts != counted {
                    metrics.state(&counts);
                    counted = counts;
                }
                continue;
            }
            _ = believe.recv() => {
                tracing::info!("SIGUSR1: {}", if state.held().is_some() { "the held read is applied" } else { "nothing is held" });
                state.believe_held()
            }
            _ = read_again.recv() => {
                tracing::info!("SIGHUP: everything is read again");
                refresh.ask();
                continue;
            }
            _ = ask_again.tick() => {
                if state.held().is_some() {
                    refresh.ask();
                }
                continue;
            }
        };
        to_count = true;
        for (source, ready) in [(Source::Marathon, state.has_apps()), (Source::Rules, state.has_rules())] {
            if ready {
                metrics.source_ready(source);
            }
        }
        for problem in state.take_new_problems() {
            tracing::warn!("{problem}");
        }
        if !changes.is_empty() || (state.is_ready() && !was_ready) {
            pending.add(changes, since);
        }
        viewed.send_replace(state.view().clone());
    }
}

/// One Causeway a state directory: two would undo each other's work.
fn lock(haproxy: &HaproxyConfig) -> Result<std::fs::File> {
    let state_dir = &haproxy.state_dir;
    make_private_dir(state_dir)?;
    // The operator's HAProxy may have to read the maps in it; ours does not.
    if haproxy.mode == HaproxyMode::Managed
        && let Err(error) = tighten(state_dir, 0o700)
    {
        tracing::warn!("haproxy.state_dir: {error}: others may look into it; chmod 700 it");
    }
    let path = state_dir.join("lock");
    let file = std::fs::File::create(&path).with_context(|| format!("{} cannot be made", path.display()))?;
    if file.try_lock().is_err() {
        bail!(
            "another Causeway runs with haproxy.state_dir = {}; stop it, or give this one another",
            state_dir.display()
        );
    }
    Ok(file)
}
