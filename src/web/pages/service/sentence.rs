//! The first sentence of a service: that it serves, or why not.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::web::api::detail::{ServiceDetail, ShownServer};

/// What a reader has to know first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Sentence {
    /// good, warn, bad, idle.
    pub(super) tone: &'static str,
    /// The sentence.
    pub(super) lead: String,
    /// What it rests on, and what to do.
    pub(super) more: Vec<String>,
}

/// Says whether a service serves.
pub(super) fn sentence(service: &ServiceDetail) -> Sentence {
    let row = &service.row;
    let of = |tone, lead: String, more| Sentence { tone, lead, more };
    if row.state == "left_out" {
        let lead = "Not serving: HAProxy refuses its definition, and there is no earlier one that was good.";
        return of("bad", lead.to_owned(), of_block(service));
    }
    if row.servers_total == 0 && !service.servers.iter().any(takes_requests) {
        let more = "Clients get 503. Give the app instances in Marathon to serve.".to_owned();
        return of(
            "idle",
            "Not serving: it is suspended, Marathon is to run no instance of it.".to_owned(),
            vec![more],
        );
    }
    if service.closed {
        let more = "Its labels ask to keep somebody out in a way that is not understood, so nobody is let in; its problems say which label.";
        return of(
            "bad",
            "Not serving: it is closed, every request gets 503.".to_owned(),
            vec![more.to_owned()],
        );
    }
    let taking = service.servers.iter().filter(|server| takes_requests(server)).count();
    let whole = service.servers.len().max(row.servers_total);
    if taking == 0 {
        let (why, mut more) = why_none(service);
        if let Some(error) = &service.haproxy_error {
            more.push(format!("What HAProxy says of it is not known: {error}."));
        }
        return of("bad", format!("Not serving: {why}."), more);
    }
    let Some(way) = way(service) else {
        let them = if taking == 1 { "it" } else { "them" };
        let lead = format!("Not reachable: {} requests, but nothing leads to {them}.", takes(taking, whole));
        let mut more = lost(service);
        if more.is_empty() {
            more.push("It has neither a host nor a path nor a service port; HAPROXY_0_VHOST or a rule gives it one.".to_owned());
        }
        return of("bad", lead, more);
    };
    let mut more = Vec::new();
    if let Some(error) = &service.haproxy_error {
        more.push(format!("HAProxy did not answer just now ({error}); this is what it was brought to."));
        return of("warn", format!("It should be serving {way}: {} requests.", takes(taking, whole)), more);
    }
    more.extend(lost(service));
    if row.state == "last_good" {
        more.splice(0..0, of_block(service));
        return of(
            "warn",
            format!("Serving {way}, as it was defined before: HAProxy refuses its newest definition."),
            more,
        );
    }
    if taking < row.servers_total {
        more.splice(0..0, out(service));
        return of("warn", format!("Serving {way}, with {taking} of {} servers.", row.servers_total), more);
    }
    let servers = if taking == 1 { "one server takes".to_owned() } else { format!("{taking} servers take") };
    of("good", format!("Serving {way}: {servers} requests."), more)
}

fn takes(taking: usize, whole: usize) -> String {
    match (taking, whole) {
        (1, 1) => "its one server takes".to_owned(),
        (taking, whole) if taking == whole => format!("all {whole} servers take"),
        (taking, whole) => format!("{taking} of {whole} servers take"),
    }
}

/// Whether a server gets new requests.
fn takes_requests(server: &ShownServer) -> bool {
    server.state == "serving" && by_hand(server).is_none() && !is_down(server)
}

fn by_hand(server: &ShownServer) -> Option<&crate::web::api::detail::SetByHand> {
    server.by_hand.as_ref().filter(|set| set.state != "ready" || set.weight == 0)
}

/// Whether HAProxy's own checks have taken it out.
fn is_down(server: &ShownServer) -> bool {
    server.haproxy.as_ref().is_some_and(|live| live.status.starts_with("DOWN"))
}

/// By which way requests come; `None`: by none.
fn way(service: &ServiceDetail) -> Option<String> {
    let port = service.row.port;
    match (service.routes.as_slice(), port) {
        ([], None) if service.app_id_route => Some("by its app id only".to_owned()),
        ([], None) => None,
        ([], Some(port)) => Some(format!("on port {port}")),
        ([route], _) => Some(route.route.clone()),
        ([route, others @ ..], _) => Some(format!("{} and {} more", route.route, others.len())),
    }
}

/// What HAProxy or a template said of its block.
fn of_block(service: &ServiceDetail) -> Vec<String> {
    let of_block = service.problems.iter().filter(|problem| problem.kind == "block");
    of_block.map(|problem| format!("{} ({})", problem.message, problem.advice)).collect()
}

/// What others have that it asked for.
fn lost(service: &ServiceDetail) -> Vec<String> {
    let told = |lost: &crate::web::api::detail::LostRoute| match &lost.held_by {
        Some(holder) => format!("{} leads to {holder}, not here.", lost.route),
        None => format!("{} does not lead here; its problems say why.", lost.route),
    };
    service.lost.iter().map(told).collect()
}

/// Why no server takes requests, and what to know beside it.
fn why_none(service: &ServiceDetail) -> (String, Vec<String>) {
    let servers = &service.servers;
    if servers.is_empty() {
        let wants = service.row.servers_total;
        let more = format!(
            "The app is to have {wants}; Marathon's deployments and its offers say what it waits for."
        );
        return ("Marathon runs no task of it".to_owned(), vec![more]);
    }
    let serving: Vec<&ShownServer> = servers.iter().filter(|server| server.state == "serving").collect();
    if let Some(first) = serving.iter().find_map(|server| by_hand(server))
        && serving.iter().all(|server| by_hand(server).is_some() || is_down(server))
    {
        let who = first.by.as_deref().unwrap_or("somebody at HAProxy's socket");
        let what_for = first.why.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
        return (
            format!("its servers were taken out by hand, by {who}{what_for}"),
            vec!["Put one back below.".to_owned()],
        );
    }
    if !serving.is_empty() {
        let words = serving.iter().find_map(|server| {
            let live = server.haproxy.as_ref()?;
            live.check_words.clone().filter(|words| !words.is_empty()).or_else(|| live.check.clone())
        });
        let more = words.map(|words| format!("The check says: {words}."));
        return ("HAProxy's own checks find every server down".to_owned(), more.into_iter().collect());
    }
    let reasons = out(service);
    match reasons.as_slice() {
        [] => ("its servers are leaving, and no other is there".to_owned(), Vec::new()),
        [only] => (behind_colon(only), Vec::new()),
        _ => ("none of its tasks may get requests".to_owned(), reasons),
    }
}

/// Why servers get no requests, a line for each reason.
fn out(service: &ServiceDetail) -> Vec<String> {
    let mut reasons: BTreeMap<(usize, [&str; 2]), usize> = BTreeMap::new();
    for server in &service.servers {
        if let Some(reason) = reason(server) {
            *reasons.entry(reason).or_default() += 1;
        }
    }
    let missing = service.row.servers_total.saturating_sub(service.servers.len());
    if missing > 0 {
        reasons.insert((9, ["is not started by Marathon yet", "are not started by Marathon yet"]), missing);
    }
    let told = |((_, [one, many]), count): ((usize, [&str; 2]), usize)| match count {
        1 => format!("One task {one}."),
        count => format!("{count} tasks {many}."),
    };
    reasons.into_iter().map(told).collect()
}

/// Why a server gets no requests: a number to order by, and the words for one and for many.
fn reason(server: &ShownServer) -> Option<(usize, [&'static str; 2])> {
    if takes_requests(server) {
        return None;
    }
    if by_hand(server).is_some() {
        return Some((0, ["was taken out by hand", "were taken out by hand"]));
    }
    if is_down(server) {
        return Some((1, ["is down by HAProxy's own checks", "are down by HAProxy's own checks"]));
    }
    let Some(task) = &server.marathon else {
        return Some((8, ["is gone, and its server is leaving", "are gone, and their servers are leaving"]));
    };
    Some(match task.state {
        "starting" => (2, ["is starting", "are starting"]),
        "killing" => (6, ["is being killed", "are being killed"]),
        "unreachable" => {
            (5, ["is on an agent that Marathon cannot reach", "are on an agent that Marathon cannot reach"])
        }
        "ended" => (7, ["has ended", "have ended"]),
        _ if task.health == "unhealthy" => {
            (3, ["is unhealthy by Marathon's health check", "are unhealthy by Marathon's health check"])
        }
        _ if !task.ready => {
            (4, ["is not ready yet, by its readiness check", "are not ready yet, by their readiness check"])
        }
        _ if server.endpoint.is_none() => {
            (4, ["has no address that HAProxy could reach", "have no address that HAProxy could reach"])
        }
        _ if matches!(server.state, "draining" | "closing") => {
            (7, ["is drained: another has its place", "are drained: others have their places"])
        }
        _ if task.health == "unknown" => {
            (3, ["is not known to be healthy yet", "are not known to be healthy yet"])
        }
        _ => (7, ["is not among the servers yet", "are not among the servers yet"]),
    })
}

/// A sentence as it goes on behind a colon.
fn behind_colon(sentence: &str) -> String {
    let mut letters = sentence.trim_end_matches('.').chars();
    let first = letters.next().map(|letter| letter.to_ascii_lowercase());
    first.into_iter().chain(letters).collect()
}

#[cfg(test)]
mod tests;
