//! The strip above the services: how it stands with everything, each with a way to its detail.

use std::fmt::Write as _;

use serde::Serialize;
use tera::{Kwargs, State, Value};

use crate::telemetry::metrics::Standing;
use crate::web::Seen;

/// One part of the strip.
#[derive(Debug, Serialize)]
pub(super) struct Tile {
    name: &'static str,
    leads_to: &'static str,
    value: String,
    tone: &'static str,
    more: String,
    /// Minutes of the last hour, in pictures of what each shows; two of them lie on each other.
    picture: Option<Picture>,
}

/// What was in each minute of the last hour.
#[derive(Debug, Serialize)]
struct Picture {
    what: String,
    minutes: Vec<f64>,
    bad: Vec<f64>,
}

/// The strip, as it stands now.
pub(super) fn strip(seen: &Seen, problems: usize) -> Vec<Tile> {
    let standing = seen.metrics.standing();
    vec![
        marathon(&standing),
        rules(&standing, seen.view.borrow().rules.len()),
        haproxy(&standing),
        changes(&seen.history.last_hour()),
        traffic(seen),
        Tile {
            name: "Problems",
            leads_to: "/problems",
            value: if problems == 0 { "None".to_owned() } else { problems.to_string() },
            tone: if problems == 0 { "good" } else { "warn" },
            more: if problems == 0 { "nothing is wrong" } else { "whose, and what to do" }.to_owned(),
            picture: None,
        },
    ]
}

fn age(seconds: Option<f64>) -> String {
    match seconds {
        Some(seconds) if seconds < 1.0 => "heard just now".to_owned(),
        Some(seconds) => format!("heard {} ago", super::templates::span(seconds)),
        None => "never heard".to_owned(),
    }
}

fn marathon(standing: &Standing) -> Tile {
    let source = standing.sources.iter().find(|source| source.name == "marathon");
    let (connected, ready) = source.map_or((false, false), |source| (source.connected, source.ready));
    Tile {
        name: "Marathon",
        leads_to: "/node#marathon",
        value: if connected { "Connected" } else { "Not connected" }.to_owned(),
        tone: if connected { "good" } else { "bad" },
        more: match (connected, ready) {
            (true, true) | (false, false) => age(source.and_then(|source| source.age_seconds)),
            (true, false) => "its apps are read".to_owned(),
            (false, true) => "what was known stays".to_owned(),
        },
        picture: None,
    }
}

fn rules(standing: &Standing, count: usize) -> Tile {
    let source = standing.sources.iter().find(|source| source.name == "rules");
    let connected = source.is_some_and(|source| source.connected);
    let many = if count == 1 { "1 rule applies".to_owned() } else { format!("{count} rules apply") };
    Tile {
        name: "Rule store",
        leads_to: "/node#rules",
        value: if connected { "Connected" } else { "Not connected" }.to_owned(),
        tone: if connected { "good" } else { "bad" },
        more: many,
        picture: None,
    }
}

fn haproxy(standing: &Standing) -> Tile {
    let haproxy = &standing.haproxy;
    let old = match haproxy.old_workers {
        0 => String::new(),
        1 => ", 1 old worker".to_owned(),
        many => format!(", {many} old workers"),
    };
    let generation = haproxy.generation.map(|number| format!("generation {number}")).unwrap_or_default();
    Tile {
        name: "HAProxy",
        leads_to: "/node#haproxy",
        value: match (haproxy.up, &haproxy.version) {
            (true, Some(version)) => version.split('-').next().unwrap_or_default().to_owned(),
            (true, None) => "Up".to_owned(),
            (false, _) => "No answer".to_owned(),
        },
        tone: if haproxy.up { "good" } else { "bad" },
        more: if haproxy.up { format!("{generation}{old}") } else { "it does not answer".to_owned() },
        picture: None,
    }
}

fn changes(minutes: &[f64]) -> Tile {
    let total: f64 = minutes.iter().sum();
    let many = format!("{total:.0}");
    Tile {
        name: "Changes, last hour",
        leads_to: "/changes",
        tone: "",
        more: String::new(),
        picture: Some(Picture {
            what: format!("Changes in each minute of the last hour: {many} in all"),
            minutes: minutes.to_vec(),
            bad: Vec::new(),
        }),
        value: many,
    }
}

fn traffic(seen: &Seen) -> Tile {
    let [requests, errors] = seen.metrics.last_hour();
    let figures = seen.metrics.figures();
    let now: f64 = figures.iter().filter_map(|each| each.rates).map(|rates| rates.requests).sum();
    let now = super::templates::a_second(now);
    Tile {
        name: "Requests a second",
        leads_to: "/node#haproxy",
        tone: "",
        more: String::new(),
        picture: Some(Picture {
            what: format!(
                "Requests in each minute of the last hour, now {now} a second; errors are in front"
            ),
            minutes: requests,
            bad: errors,
        }),
        value: now,
    }
}

/// The width and the height of a picture, and the place of one minute.
const SIZE: (f64, f64, f64) = (240.0, 28.0, 4.0);

/// Minutes as bars: the highest has the whole height, and something is never nothing.
pub(super) fn bars(minutes: Vec<f64>, arguments: Kwargs, _: &State) -> tera::TeraResult<Value> {
    let what: String = arguments.must_get("what")?;
    let bad: Vec<f64> = arguments.get("bad")?.unwrap_or_default();
    let (width, height, place) = SIZE;
    let most = minutes.iter().copied().fold(1.0_f64, f64::max);
    let mut svg = format!(
        "<svg viewBox=\"0 0 {width} {height}\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{}\">\
         <rect class=\"base\" x=\"0\" y=\"{}\" width=\"{width}\" height=\"1\"/>",
        super::templates::escaped(&what),
        height - 1.0,
    );
    for (class, values) in [("bar", &minutes), ("bar bad", &bad)] {
        let mut left = 0.0;
        for value in values {
            if *value > 0.0 {
                let tall = (value / most * height).clamp(2.0, height);
                let _infallible = write!(
                    svg,
                    "<rect class=\"{class}\" x=\"{left}\" y=\"{:.1}\" width=\"3\" height=\"{tall:.1}\"/>",
                    height - tall
                );
            }
            left += place;
        }
    }
    svg.push_str("</svg>");
    Ok(Value::safe_string(&svg))
}
