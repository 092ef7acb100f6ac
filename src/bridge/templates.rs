//! The operator's templates of marathon-lb: read, and tried before they are anybody's text.

use anyhow::{Context, Result};

use super::inputs;
use crate::config::{Checks, Config, HaproxyMode};
use crate::haproxy::check::{CheckFailure, check_aside};
use crate::haproxy::managed::Jail;
use crate::haproxy::service_ports::ServicePorts;
use crate::haproxy::trial::{Trial, cleaned};
use crate::haproxy::{Certificates, HaproxyError};
use crate::model::{Problem, ProblemKind, Service};
use crate::reconcile::desired::Desired;
use crate::render::{Files, Templates};
use crate::services::raw;

/// What is to be told of templates.
#[derive(Debug, Default)]
pub struct Told {
    /// What has another place, or no effect.
    pub notices: Vec<String>,
    /// Templates that are left out.
    pub problems: Vec<Problem>,
}

impl Told {
    fn left_out(&mut self, message: String) {
        let advice =
            "it is left out, and the default stands: correct it (docs/raw.md), and start Causeway again"
                .to_owned();
        self.problems.push(Problem { app: None, kind: ProblemKind::Label, message, advice });
    }
}

/// The configuration with the operator's templates, and what is to be told of them. One that HAProxy does not take is left out:
/// it would leave out every app, or keep HAProxy from starting.
///
/// # Errors
/// A template that cannot be read.
pub async fn with_templates(mut config: Config) -> Result<(Config, Told)> {
    config.labels.read_templates()?;
    let mut told = Told::default();
    if config.labels.templates.is_empty() {
        return Ok((config, told));
    }
    let (_, notices, left_out) = raw::head::of(&config.labels);
    told.notices = notices;
    left_out.into_iter().for_each(|why| told.left_out(why));
    for (name, why) in refused_for_all(&config).await {
        told.left_out(why);
        config.labels.templates.remove(&name);
    }
    let (head, ..) = raw::head::of(&config.labels);
    let trial = Trial::new(&config.haproxy);
    for name in config.labels.templates.keys().cloned().collect::<Vec<_>>() {
        let alone = with_only(&config, std::slice::from_ref(&name));
        let (services, wrong) = raw::examples(&alone);
        let services: Vec<&Service> = services.iter().collect();
        let refused = match wrong {
            Some(why) => Some(why),
            None => {
                let refused = trial.refused_raw(&head.sections, &services).await.unwrap_or_default();
                let words = refused.into_iter().next().map(|(_, words)| words);
                words.map(|words| format!("{}: HAProxy does not take it: {words}", place(&config, &name)))
            }
        };
        if let Some(why) = refused {
            told.left_out(why);
            config.labels.templates.remove(&name);
        } else if config.labels.checks == Checks::Marathon && name.contains("HEALTHCHECK_OPTIONS") {
            told.notices.push(format!(
                "template HAPROXY_{} has no effect but where HAPROXY_{{n}}_CHECKS says otherwise: labels.checks = \"marathon\"",
                bare(&name)
            ));
        }
    }
    if config.template.dir.is_some() || config.template.file.is_some() {
        told.notices.push(
            "the operator's own templates (template.dir, template.file) say what becomes of marathon-lb's: they draw it from raw, raw_routes and service.backend.extras.raw"
                .to_owned(),
        );
    }
    Ok((config, told))
}

fn bare(name: &str) -> &str {
    name.trim_start_matches("HAPROXY_")
}

/// A template's name, and its file where it has one.
fn place(config: &Config, name: &str) -> String {
    let file = config.labels.templates_dir.as_ref().map(|dir| dir.join(format!("HAPROXY_{}", bare(name))));
    let text = config.labels.templates.get(name);
    let file = file.filter(|file| std::fs::read_to_string(file).ok().as_ref() == text);
    let file = file.map(|file| format!(" ({})", file.display())).unwrap_or_default();
    format!("template HAPROXY_{}{file}", bare(name))
}

fn with_only(config: &Config, names: &[String]) -> Config {
    let mut only = config.clone();
    only.labels.templates.retain(|name, _| names.contains(name));
    only
}

/// The templates for what all apps share that HAProxy does not take, each with why. Mostly there is none, and one check says so;
/// else each is tried beside those that were taken before it, since they may name each other's sections.
async fn refused_for_all(config: &Config) -> Vec<(String, String)> {
    let names = config.labels.templates.keys().filter(|name| raw::head::is_shared(bare(name)));
    let mut names: Vec<String> = names.cloned().collect();
    names.sort_by_key(|name| bare(name) != "HEAD");
    let mut refused = Vec::new();
    // Without a verdict on the rest there is none on a template: what is wrong then is told when HAProxy is started.
    if names.is_empty()
        || verdict(&with_only(config, &names)).await.is_none()
        || verdict(&with_only(config, &[])).await.is_some()
    {
        return refused;
    }
    let mut taken = Vec::new();
    for name in names {
        taken.push(name.clone());
        let Some((files, failure)) = verdict(&with_only(config, &taken)).await else { continue };
        taken.pop();
        let text = &config.labels.templates[&name];
        let words = failure.alerts.iter().map(|alert| {
            let given =
                CheckFailure::lines(alert).first().and_then(|line| files.config().lines().nth(line - 1));
            let line = given.and_then(|given| raw::head::line_of(bare(&name), text, given.trim()));
            format!("{}{}", line.map(|line| format!("line {line}: ")).unwrap_or_default(), cleaned(alert))
        });
        let words = words.collect::<Vec<_>>().join("; ");
        let place = place(config, &name);
        refused.push((name, format!("{place}: HAProxy does not take it: {words}")));
    }
    refused
}

/// HAProxy's words on a configuration without any app, and what it was; `None` where it takes it, or where that is not known.
async fn verdict(config: &Config) -> Option<(Files, CheckFailure)> {
    let files = without_apps(config)
        .inspect_err(|error| tracing::debug!("templates are not tried: {error:#}"))
        .ok()?;
    match check_aside(&config.haproxy, files.clone()).await {
        Err(HaproxyError::Check(failure)) => Some((files, failure)),
        _ => None,
    }
}

/// The files of a generation without any app.
fn without_apps(config: &Config) -> Result<Files> {
    if config.haproxy.mode != HaproxyMode::Managed {
        anyhow::bail!("the operator's own commands run HAProxy");
    }
    let ports = ServicePorts::new(&config.haproxy, Default::default());
    let jail = Jail::of(&config.haproxy)?;
    let head = inputs::head(config, jail.as_ref(), &ports);
    let extra = (inputs::pages(config)?, Certificates::open(config, None)?);
    let mut desired = Desired::new(Templates::load(&config.template)?, head, ports, extra, config);
    let candidate = desired.candidate()?;
    desired.whole_files(&candidate).context("the configuration without apps")
}
