//! What the commands do.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use tokio_util::sync::CancellationToken;

use super::{AppsArgs, Command, ConfigArgs, MarathonArgs, RenderArgs, users};
use crate::bridge::templates::with_templates;
use crate::bridge::{self, inputs};
use crate::config::{Config, RuleStoreKind};
use crate::demo;
use crate::haproxy::managed::Jail;
use crate::haproxy::runtime::{self, Epoch};
use crate::haproxy::service_ports::ServicePorts;
use crate::haproxy::{Certificates, Generations};
use crate::model::{App, AppId, Backend, Marks, Mode, Problem, Service, ServiceId};
use crate::plan::{Plan, Reason, diff, plan};
use crate::reconcile::desired::Desired;
use crate::render::{Files, Templates, without_secrets};
use crate::rules;
use crate::sources::{self, SourceEvent, marathon};
use crate::state::State;
use crate::telemetry;
use crate::web::Doors;
use crate::wording::counted;

/// Runs a command.
///
/// # Errors
/// What a person has to read.
pub async fn run(command: Command) -> Result<()> {
    match command {
        Command::Run(args) => {
            let config = Config::load(args.config.as_deref())?;
            telemetry::start_log(&config.log).context("log.level")?;
            bridge::run(config, stop_on_signal()?).await
        }
        Command::Render(args) => render(&args).await,
        Command::Check(args) => check(&args).await,
        Command::Plan(args) => show_plan(&args).await,
        Command::Import(args) => super::import::run(&args),
        Command::Rules(args) => super::rules::run(*args).await,
        Command::User(command) => users::user(&command),
        Command::Token(command) => users::token(&command),
        Command::Marathon(args) => stand_in(&args).await,
        Command::Demo(args) => demo::run(&args, stop_on_signal()?).await,
    }
}

pub(super) fn read(args: &ConfigArgs) -> Result<Config> {
    Ok(Config::load(args.config.as_deref())?)
}

async fn load(args: &ConfigArgs) -> Result<Config> {
    Ok(with_templates(read(args)?).await?.0)
}

/// A token that is cancelled by SIGINT or SIGTERM; a second one ends the process at once.
fn stop_on_signal() -> Result<CancellationToken> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let stop = CancellationToken::new();
    let token = stop.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
            if token.is_cancelled() {
                std::process::exit(130);
            }
            token.cancel();
        }
    });
    Ok(stop)
}

/// Prints to standard output; a reader that has enough (`| head`) is no error.
pub(super) fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

async fn render(args: &RenderArgs) -> Result<()> {
    let (mut desired, problems) = desired(&args.apps, None).await?;
    let candidate = desired.candidate()?;
    let files = desired.whole_files(&candidate)?;
    print(&without_secrets(files.config()))?;
    if args.maps {
        for name in files.0.keys().filter(|name| name.starts_with("maps/")) {
            print(&format!("\n# {name}\n{}", files.text(name)))?;
        }
    }
    tell_problems(&problems);
    Ok(())
}

async fn show_plan(args: &AppsArgs) -> Result<()> {
    let config = load(&args.config).await?;
    let observed = observe(&config).await?;
    let (mut desired, problems) = desired(args, observed.as_ref()).await?;
    let candidate = desired.candidate()?;
    let target = desired.whole_files(&candidate)?;
    let known = observed.as_ref().map(|(_, files)| files);
    let (steps, reasons) = match plan(&target, known) {
        Plan::Noop => Default::default(),
        // Where it is known service by service what runs, most needs no reload.
        Plan::Reload { .. } if desired.epoch().is_some() => desired.work(),
        Plan::Reload { reasons } => (Vec::new(), reasons.into_iter().collect()),
    };
    if steps.is_empty() && reasons.is_empty() {
        print("Nothing to do: what runs is what is desired.\n")?;
    } else {
        let can_wait = reasons.iter().all(Reason::can_wait);
        if !can_wait {
            print(&without_secrets(&diff(&target, &known.cloned().unwrap_or_default())))?;
            print("\n")?;
        }
        print("Steps:\n")?;
        for step in &steps {
            print(&format!("  at run time: {}\n", step.command()))?;
        }
        for reason in &reasons {
            let how = if can_wait { "with the next reload" } else { "reload" };
            print(&format!("  {how}: {reason}\n"))?;
        }
        if !can_wait {
            print("A reload is a new generation, checked by HAProxy first, and proven by the new worker.\n")?;
        }
    }
    tell_problems(&problems);
    Ok(())
}

fn tell_problems(problems: &[Problem]) {
    for problem in problems {
        let _closed = writeln!(std::io::stderr(), "problem: {problem}");
    }
}

/// What runs, without taking anything over from a Causeway that runs too.
async fn observe(config: &Config) -> Result<Option<(Epoch, Files)>> {
    let deadline = std::time::Duration::from_secs(2);
    let answer = runtime::command(&config.haproxy.socket, "show info", deadline).await;
    let Some(info) = answer.ok().and_then(|answer| runtime::Info::parse(&answer)) else { return Ok(None) };
    let Some(number) = info.generation else { return Ok(None) };
    let generations = Generations::at(&config.haproxy.state_dir);
    let epoch = Epoch { pid: info.pid, generation: number };
    Ok(generations.read(&generations.generation(number)).map(|files| (epoch, files)))
}

/// What is desired, on top of what was observed.
async fn desired(args: &AppsArgs, observed: Option<&(Epoch, Files)>) -> Result<(Desired, Vec<Problem>)> {
    let config = load(&args.config).await?;
    let https = !config.tls.certificates.is_empty();
    let ports = match observed {
        Some((_, files)) => ServicePorts::of_loaded(&config.haproxy, https, files),
        None => ServicePorts::new(&config.haproxy, Default::default()),
    };
    let jail = Jail::of(&config.haproxy).unwrap_or_default();
    let head = inputs::head(&config, jail.as_ref(), &ports);
    let reserved = ports.reserved(&config.haproxy, https);
    let mut state = State::new(&config, &config.safety, reserved, Default::default());
    let templates = Templates::load(&config.template)?;
    let certificates = Certificates::open(&config, observed.map(|(_, files)| files))?;
    let extra = (inputs::pages(&config)?, certificates);
    let mut desired = Desired::new(templates, head, ports, extra, &config);
    if let Some((epoch, files)) = observed {
        desired.adopt(*epoch, files);
    }
    desired.good_services().for_each(|service| state.remember(service));

    let rules = rules::open_to_look(&config)?.list().await?;
    let (apps, app_problems) = read_apps(args, &config).await?;
    let mut events = vec![sources::rules::event(&rules), SourceEvent::Init];
    events.extend(apps.into_iter().map(SourceEvent::Upsert));
    events.extend(app_problems.into_iter().map(|(id, problems)| SourceEvent::Problems(id, problems)));
    events.push(SourceEvent::InitDone);
    let mut told = BTreeSet::new();
    for event in events {
        for (id, service) in state.fold(event, Instant::now()) {
            told.insert(id.clone());
            desired.set(id, service);
        }
    }
    desired.retire_unwanted(&told);
    let mut problems = state.problems();
    problems.extend(desired.problems().into_values());
    problems.extend(desired.certificate_problems());
    Ok((desired, problems))
}

type ReadApps = (Vec<Arc<App>>, Vec<(AppId, Vec<Problem>)>);

async fn read_apps(args: &AppsArgs, config: &Config) -> Result<ReadApps> {
    let Some(path) = &args.apps else {
        let mut source = marathon::Marathon::new(&config.marathon, Default::default(), Default::default())?;
        let read = source.read_all().await;
        return read.context(
            "the apps cannot be read from marathon.endpoints, so there is nothing to show (--apps FILE reads them from a file)",
        );
    };
    let json = std::fs::read(path).with_context(|| path.display().to_string())?;
    let (apps, problems) = marathon::parse_apps(&json).with_context(|| path.display().to_string())?;
    Ok((apps.into_iter().map(Arc::new).collect(), problems))
}

/// Collects what is wrong with configuration, templates, pages, rules and the program, and says it all.
async fn check(args: &ConfigArgs) -> Result<()> {
    let (config, told) = with_templates(Config::load(args.config.as_deref())?).await?;
    for notice in told.notices.into_iter().chain(told.problems.iter().map(ToString::to_string)) {
        print(&format!("notice: {notice}\n"))?;
    }
    let mut mistakes: Vec<String> = Vec::new();
    let ports = ServicePorts::new(&config.haproxy, Default::default());
    let jail = Jail::of(&config.haproxy).unwrap_or_else(|error| {
        mistakes.push(error.to_string());
        None
    });
    let head = inputs::head(&config, jail.as_ref(), &ports);
    match Templates::load(&config.template) {
        Ok(templates) => {
            let example = example_service();
            match templates.prove(&head, &example).and_then(|()| templates.notices(&head, &example)) {
                Ok(notices) => {
                    for notice in notices {
                        print(&format!("notice: {notice}\n"))?;
                    }
                }
                Err(error) => mistakes.push(error.to_string()),
            }
        }
        Err(error) => mistakes.push(error.to_string()),
    }
    for error in [inputs::pages(&config).err(), Certificates::open(&config, None).err()].into_iter().flatten()
    {
        mistakes.push(format!("{error:#}"));
    }
    mistakes.extend(Doors::mistakes(&config));
    match read_rules(&config).await {
        Ok(rules) => mistakes.extend(rules.problems.iter().map(|problem| format!("rules: {problem}"))),
        Err(error) => mistakes.push(error.to_string()),
    }
    match std::process::Command::new(&config.haproxy.binary).arg("-v").output() {
        Ok(output) if output.status.success() => {
            let version = String::from_utf8_lossy(&output.stdout);
            print(&format!("{}\n", version.lines().next().unwrap_or_default()))?;
        }
        Ok(output) => mistakes.push(format!(
            "haproxy.binary: {} -v: {}",
            config.haproxy.binary.display(),
            output.status
        )),
        Err(error) => mistakes.push(format!("haproxy.binary: {}: {error}", config.haproxy.binary.display())),
    }
    if mistakes.is_empty() {
        return print("The configuration is good.\n");
    }
    bail!("{}:\n  {}", counted(mistakes.len(), "mistake"), mistakes.join("\n  "))
}

/// The rules as their store has them now.
async fn read_rules(config: &Config) -> Result<Arc<rules::Rules>, rules::StoreError> {
    if config.rules.store == RuleStoreKind::File {
        return rules::open(config)?.list().await;
    }
    let read = rules::ZookeeperStore::new(config)?.looking_only().ask().await?;
    let _closed = print(&format!("ZooKeeper answers: {}.\n", counted(read.rules.len(), "rule")));
    Ok(read)
}

fn example_service() -> Service {
    let id = ServiceId { app: AppId::new("/example/app"), port_index: 0 };
    let name = crate::services::backend_name(&id, Mode::Http);
    Service {
        id,
        port: Some(10_000),
        routes: Vec::new(),
        app_id_route: true,
        marks: Marks::default(),
        bind: None,
        certificate: None,
        client_ca: None,
        backend: Backend { check: true, ..Backend::new(name, Mode::Http, "roundrobin") },
        config: BTreeMap::new(),
        instances: 0,
        servers: Vec::new(),
    }
}

async fn stand_in(args: &MarathonArgs) -> Result<()> {
    let options = demo::marathon::Options {
        listen: ([127, 0, 0, 1], args.port).into(),
        profile: args.profile,
        first_task_port: args.first_task_port,
        ..Default::default()
    };
    let stop = stop_on_signal()?;
    let marathon = demo::marathon::StandIn::start(options).await?;
    if let Some(path) = &args.apps {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let apps = match serde_json::from_str(&text).with_context(|| path.display().to_string())? {
            serde_json::Value::Array(apps) => apps,
            app => vec![app],
        };
        marathon.create_apps(apps).await?;
    }
    print(&format!(
        "A stand-in Marathon {} listens on {}\n  curl {}/v2/apps\n  faults: {}/standin/faults\n",
        args.profile,
        marathon.url(),
        marathon.url(),
        marathon.url()
    ))?;
    stop.cancelled().await;
    marathon.shutdown().await;
    Ok(())
}
