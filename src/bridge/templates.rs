//! The operator's templates of marathon-lb: read, and tried before they are anybody's text.

use anyhow::Result;

use crate::config::{Checks, Config};
use crate::haproxy::trial::Trial;
use crate::model::Service;
use crate::services::raw;

/// The configuration with the operator's templates, and what is to be told of them. One that HAProxy does not take for
/// any app is left out: it would leave out every app.
///
/// # Errors
/// A template that cannot be read.
pub async fn with_templates(mut config: Config) -> Result<(Config, Vec<String>)> {
    config.labels.read_templates()?;
    if config.labels.templates.is_empty() {
        return Ok((config, Vec::new()));
    }
    let (head, mut notices) = raw::head::of(&config.labels);
    let trial = Trial::new(&config.haproxy);
    for name in config.labels.templates.keys().cloned().collect::<Vec<_>>() {
        let mut alone = config.clone();
        alone.labels.templates.retain(|other, _| *other == name);
        let (services, told) = raw::examples(&alone);
        let services: Vec<&Service> = services.iter().collect();
        let refused = match told {
            Some(why) => Some(why),
            None => {
                let refused = trial.refused_raw(&head.sections, &services).await.unwrap_or_default();
                refused.into_iter().next().map(|(_, words)| {
                    format!("template HAPROXY_{}: HAProxy does not take it: {words}", bare(&name))
                })
            }
        };
        if let Some(why) = refused {
            notices.push(format!("{why}; it is left out, and the default stands"));
            config.labels.templates.remove(&name);
        } else if config.labels.checks == Checks::Marathon && name.contains("HEALTHCHECK_OPTIONS") {
            notices.push(format!(
                "template HAPROXY_{} has no effect but where HAPROXY_{{n}}_CHECKS says otherwise: labels.checks = \"marathon\"",
                bare(&name)
            ));
        }
    }
    if config.template.dir.is_some() || config.template.file.is_some() {
        notices.push(
            "the operator's own templates (template.dir, template.file) say what becomes of marathon-lb's: they draw it from raw, raw_routes and service.backend.extras.raw"
                .to_owned(),
        );
    }
    Ok((config, notices))
}

fn bare(name: &str) -> &str {
    name.trim_start_matches("HAPROXY_")
}
