//! Templates whose lines stand in a backend. A line of a default stands for what Causeway does in its place; what a text
//! leaves out of those is not done.

use crate::model::{Mode, Service};

use super::condition;
use super::format::Values;
use super::line::{Line, lines};
use super::words::Section;
use super::{Port, Text, Texts, is_http};
use crate::services::labels;

/// Lines that stand for something, and those that do not.
struct Sorted<'a> {
    /// Which of the known ones are there.
    known: Vec<bool>,
    others: Vec<&'a Line>,
}

/// Sorts the lines of a text by whether they are known, each by all its words, or by its first where that is all there is.
fn sort<'a>(text: &'a Text, known: &[&str]) -> Sorted<'a> {
    let words = |line: &str| lines(line).unwrap_or_default().pop().map(|line| line.words).unwrap_or_default();
    let known: Vec<Vec<String>> = known.iter().map(|line| words(line)).collect();
    let mut sorted = Sorted { known: vec![false; known.len()], others: Vec::new() };
    for line in &text.lines {
        let same = |known: &Vec<String>| {
            *known == line.words || matches!(&known[..], [first] if first == line.first())
        };
        match known.iter().position(same) {
            Some(index) => sorted.known[index] = true,
            None => sorted.others.push(line),
        }
    }
    sorted
}

pub(super) fn head(port: &Port<'_>, texts: &Texts<'_>, service: &mut Service) -> Result<(), String> {
    let backend = &service.backend;
    let values =
        Values::from([("balance", backend.balance.clone()), ("mode", backend.mode.as_str().to_owned())]);
    let Some(text) = texts.get("BACKEND_HEAD", &values)? else { return Ok(()) };
    let mut others = Vec::new();
    for (index, line) in text.lines.iter().enumerate() {
        match (line.first(), line.rest(1)) {
            ("backend", [_]) if index == 0 => {}
            ("mode", [mode]) if mode == service.backend.mode.as_str() => {}
            ("mode", _) => {
                return Err(text.refused(line, "differs from the mode of the port; HAPROXY_{n}_MODE sets it"));
            }
            ("balance", [word]) if *word == service.backend.balance => {}
            ("balance", [word]) => match labels::balance(word) {
                Ok(word) => service.backend.balance = word,
                Err(_) => others.push(line),
            },
            _ => others.push(line),
        }
    }
    port.add_lines(&text, others, service)
}

pub(super) fn hsts(port: &Port<'_>, texts: &Texts<'_>, service: &mut Service) -> Result<(), String> {
    let Some(text) = texts.get("BACKEND_HSTS_OPTIONS", &Values::new())? else { return Ok(()) };
    let is_default = |line: &&Line| {
        let value = line.rest(1).iter().map(String::as_str).collect::<Vec<_>>().join(" ");
        let bare: String = value.chars().filter(|c| !matches!(c, ' ' | ':')).collect();
        matches!(line.first(), "rspadd" | "http-response")
            && bare.trim_start_matches("set-header").trim_start_matches("add-header")
                == "Strict-Transport-Securitymax-age=15768000"
    };
    service.marks.hsts = text.lines.iter().any(|line| is_default(&line));
    port.add_lines(&text, text.lines.iter().filter(|line| !is_default(line)), service)
}

/// What Causeway sets of a request's way, it sets in any case.
pub(super) fn http_options(port: &Port<'_>, texts: &Texts<'_>, service: &mut Service) -> Result<(), String> {
    let Some(text) = texts.get("BACKEND_HTTP_OPTIONS", &Values::new())? else { return Ok(()) };
    let known = [
        "option forwardfor",
        "http-request set-header X-Forwarded-Port %[dst_port]",
        "http-request add-header X-Forwarded-Proto https if { ssl_fc }",
        "http-request set-header X-Forwarded-Proto https if { ssl_fc }",
    ];
    port.add_lines(&text, sort(&text, &known).others, service)
}

pub(super) fn sticky(port: &Port<'_>, texts: &Texts<'_>, service: &mut Service) -> Result<(), String> {
    let Some(text) = texts.get("BACKEND_STICKY_OPTIONS", &Values::new())? else { return Ok(()) };
    let sorted = sort(&text, &["cookie mesosphere_server_id insert indirect nocache"]);
    service.backend.extras.sticky = sorted.known[0];
    for line in sorted.others {
        let mut line = line.clone();
        if line.first() == "cookie" {
            // No server has a value that is written down: it goes with the task, not with the slot.
            let key = Line {
                number: line.number,
                words: vec!["dynamic-cookie-key".to_owned(), "causeway".to_owned()],
            };
            if !line.words.iter().any(|word| word == "dynamic") {
                line.words.push("dynamic".to_owned());
            }
            port.add_lines(&text, [&key], service)?;
        }
        port.add_lines(&text, [&line], service)?;
    }
    Ok(())
}

/// The host that marathon-lb names in a backend.
fn hostname(port: &Port<'_>) -> String {
    port.labels.vhosts.first().cloned().unwrap_or_default()
}

pub(super) fn proxypass(port: &Port<'_>, texts: &Texts<'_>, service: &mut Service) -> Result<(), String> {
    let path = port.labels.strip.clone().unwrap_or_default();
    let values = Values::from([("hostname", hostname(port)), ("proxypath", path)]);
    let Some(text) = texts.get("HTTP_BACKEND_PROXYPASS_GLUE", &values)? else { return Ok(()) };
    let host = format!("http-request set-header Host {}", hostname(port));
    let sorted = sort(&text, &["reqirep", "reqrep", &host]);
    let extras = &mut service.backend.extras;
    if !sorted.known[0] && !sorted.known[1] {
        extras.strip = None;
    }
    if !sorted.known[2] {
        extras.host = None;
    } else if extras.host.is_none() {
        return port.add_lines(
            &text,
            text.lines.iter().filter(|line| !line.first().starts_with("req")),
            service,
        );
    }
    port.add_lines(&text, sorted.others, service)
}

pub(super) fn revproxy(port: &Port<'_>, texts: &Texts<'_>, service: &mut Service) -> Result<(), String> {
    let path = port.labels.location.clone().unwrap_or_default();
    let values = Values::from([("hostname", hostname(port)), ("rootpath", path)]);
    let Some(text) = texts.get("HTTP_BACKEND_REVPROXY_GLUE", &values)? else { return Ok(()) };
    let sorted = sort(&text, &["rspirep", "rsprep", "acl hdr_location res.hdr(Location) -m found"]);
    let stands = sorted.known[0] || sorted.known[1];
    if stands {
        return port.add_lines(&text, sorted.others, service);
    }
    service.backend.extras.location = None;
    port.add_lines(&text, &text.lines, service)
}

pub(super) fn redirect_root(port: &Port<'_>, texts: &Texts<'_>, service: &mut Service) -> Result<(), String> {
    let target = port.labels.root.clone().unwrap_or_default();
    let values = Values::from([("hostname", hostname(port)), ("redirpath", target.clone())]);
    let Some(text) = texts.get("HTTP_BACKEND_REDIR", &values)? else { return Ok(()) };
    let redirect = format!("redirect code 301 location {target} if is_domain is_root");
    let host = format!("acl is_domain hdr(host) -i {}", hostname(port));
    let sorted = sort(&text, &[&redirect, "acl is_root path -i /", &host]);
    if sorted.known[0] && sorted.others.is_empty() {
        return Ok(());
    }
    service.marks.root = None;
    service.backend.extras.root = None;
    port.add_lines(&text, &text.lines, service)
}

/// Who is let in by the network, and how everybody else is kept out.
pub(super) fn networks(_: &Port<'_>, texts: &Texts<'_>, service: &mut Service) -> Result<(), String> {
    let (kind, known): (_, &[&str]) = match service.backend.mode {
        Mode::Http => ("HTTP", &["http-request allow if network_allowed", "http-request deny"]),
        Mode::Tcp => {
            ("TCP", &["tcp-request content accept if network_allowed", "tcp-request content reject"])
        }
    };
    let name = format!("{kind}_BACKEND_NETWORK_ALLOWED_ACL");
    let (mut allowed, mut changed) = (Vec::new(), false);
    for network in service.backend.extras.allowed.clone() {
        let values = Values::from([("network_allowed", network.clone())]);
        let Some(text) = texts.get(&name, &values)? else { continue };
        let is_default = format!("acl network_allowed src {network}");
        changed |= !matches!(&text.lines[..], [line] if line.is(&is_default));
        for line in &text.lines {
            if line.first() != "acl" {
                return Err(text
                    .refused(line, "is not an acl; only what the ACL network_allowed is can be said here"));
            }
            allowed.push(text.keep(Section::Backend, line)?);
        }
        if !text.lines.iter().any(|line| line.words.get(1).is_some_and(|word| word == "network_allowed")) {
            return Err(format!("{}: it does not say what the ACL network_allowed is", text.source));
        }
    }
    if changed {
        service.backend.extras.raw.allowed = allowed;
    }
    let Some(text) = texts.get(&format!("{kind}_BACKEND_ACL_ALLOW_DENY"), &Values::new())? else {
        return Ok(());
    };
    let sorted = sort(&text, known);
    if sorted.others.is_empty() && sorted.known == [true, true] {
        return Ok(());
    }
    let rule = if is_http(service) { "http-request" } else { "tcp-request" };
    let mut denial = Vec::new();
    for line in &text.lines {
        let (statement, condition) =
            condition::split(line).map_err(|why| format!("{}, {why}", text.source))?;
        let has = |words: &[&str]| statement.iter().any(|word| words.contains(&word.as_str()));
        // Who is let in by the network may still have to log in: nothing is let in here that only was not kept out.
        if known.first().is_some_and(|let_in| line.is(let_in)) {
            continue;
        }
        let denies =
            line.first() == rule && has(&["deny", "reject", "tarpit", "silent-drop", "return", "redirect"]);
        if !denies && line.first() != "acl" && !has(&["set-var", "set-header", "add-header"]) {
            return Err(
                text.refused(line, "neither keeps out who is not network_allowed nor says more of it")
            );
        }
        let mut line = line.clone();
        if denies && condition.is_none() {
            line.words.extend(["if", "!network_allowed"].map(str::to_owned));
        }
        denial.push((denies, text.keep(Section::Backend, &line)?));
    }
    if !denial.iter().any(|(denies, _)| *denies) {
        return Err(format!("{}: it keeps nobody out", text.source));
    }
    service.backend.extras.raw.denial = denial.into_iter().map(|(_, line)| line).collect();
    Ok(())
}
