//! Templates whose words stand in the user list, in the frontend of a service port, in the lines of servers and in what
//! HAProxy checks.

use crate::model::{HealthProtocol, Mode, Service};
use crate::services::labels::{self, BindWord};

use super::format::Values;
use super::line::{Line, text as line_text};
use super::words::Section;
use super::{Port, Text, Texts};

pub(super) fn users(_: &Port<'_>, texts: &Texts<'_>, service: &mut Service) -> Result<(), String> {
    let Some(login) = service.backend.extras.login.clone() else { return Ok(()) };
    let values = Values::from([("user", login.user.clone()), ("passwd", login.hash.clone())]);
    let Some(text) = texts.get("USERLIST_HEAD", &values)? else { return Ok(()) };
    let mut others = Vec::new();
    for line in &text.lines {
        match line.first() {
            "userlist" if line.number <= 2 => {}
            "user" => match line.rest(1) {
                [user, word, hash] if word == "password" && *user == login.user && *hash == login.hash => {}
                [user, word, hash, groups @ ..] if word == "password" => {
                    crate::model::crypt::check_hash(hash).map_err(|why| {
                        text.refused(line, &format!("has a password that is not taken: {why}"))
                    })?;
                    if *user == login.user || !matches!(groups, [] | [_, _]) {
                        return Err(text.refused(
                            line,
                            "names the user of the label AUTH again, or is not one user with groups",
                        ));
                    }
                    others.push(line.text());
                }
                _ => return Err(text.refused(line, "is not a user with the hash of a password")),
            },
            "group" => others.push(line.text()),
            _ => return Err(text.refused(line, "is neither a user nor a group")),
        }
    }
    service.backend.extras.raw.users = others;
    Ok(())
}

pub(super) fn frontend(port: &Port<'_>, texts: &Texts<'_>, service: &mut Service) -> Result<(), String> {
    let number = service.port.unwrap_or_default().to_string();
    let values = Values::from([
        ("bindAddr", ADDRESS.to_owned()),
        ("servicePort", number.clone()),
        ("mode", service.backend.mode.as_str().to_owned()),
        ("sslCert", String::new()),
        ("bindOptions", String::new()),
    ]);
    let (mut kept, mut options, mut address) = (Vec::new(), Vec::new(), None);
    if let Some(text) = texts.get("FRONTEND_HEAD", &values)? {
        for (index, line) in text.lines.iter().enumerate() {
            match (line.first(), line.rest(1)) {
                ("frontend", [_]) if index == 0 => {}
                ("mode", [mode]) if mode == service.backend.mode.as_str() => {}
                ("mode", _) => {
                    return Err(
                        text.refused(line, "differs from the mode of the port; HAPROXY_{n}_MODE sets it")
                    );
                }
                ("bind", [at, words @ ..]) => {
                    address = listen_address(&text, line, at, &number)?;
                    options = bind_words(port, &text, line, words)?;
                }
                _ => kept.push(frontend_line(&text, line, service)?),
            }
        }
    }
    let mut leads = false;
    if let Some(text) = texts.get("FRONTEND_BACKEND_GLUE", &Values::new())? {
        let own = |line: &Line| {
            line.is(&format!("use_backend {}", service.backend.name))
                || line.is(&format!("default_backend {}", service.backend.name))
        };
        leads = !text.lines.iter().any(own);
        for line in text.lines.iter().filter(|line| !own(line)) {
            kept.push(frontend_line(&text, line, service)?);
        }
    }
    if kept.is_empty() && options.is_empty() && address.is_none() && !leads {
        return Ok(());
    }
    let bind = service.bind.get_or_insert_default();
    bind.options.extend(options);
    bind.address = address.or(bind.address.take());
    let raw = &mut service.backend.extras.raw;
    (raw.frontend, raw.leads) = (kept, leads);
    Ok(())
}

/// Stands for the address that Causeway listens on.
const ADDRESS: &str = "@address@";

fn frontend_line(text: &Text, line: &Line, service: &Service) -> Result<String, String> {
    let leads = matches!(line.first(), "use_backend" | "default_backend");
    if leads && line.words.get(1).is_none_or(|name| *name != service.backend.name) {
        return Err(text.refused(line, "leads to another backend than its own, {backend}"));
    }
    text.keep(Section::Frontend, line)
}

/// The address, where it is another than that of all service ports.
fn listen_address(text: &Text, line: &Line, at: &str, port: &str) -> Result<Option<String>, String> {
    match at.rsplit_once(':') {
        Some((ADDRESS | "*" | "", of)) if of == port => Ok(None),
        Some((address, of)) if of == port => labels::address(address).map_err(|why| text.refused(line, &why)),
        _ => {
            Err(text
                .refused(line, "listens on something else than the service port; HAPROXY_{n}_PORT sets that"))
        }
    }
}

fn bind_words(port: &Port<'_>, text: &Text, line: &Line, words: &[String]) -> Result<Vec<String>, String> {
    if words.is_empty() {
        return Ok(Vec::new());
    }
    let told = |why: String| {
        text.refused(line, &format!("{why}; HAPROXY_{{n}}_SSL_CERT and _BIND_OPTIONS say more"))
    };
    let words = labels::bind_options(&labels::named(&words.join(" "), port.tls_files)).map_err(told)?;
    let word = |word: BindWord| match word {
        BindWord::Word(word) => Ok(word),
        BindWord::File(name) => port.file(&name).map_err(|why| text.refused(line, &why)),
    };
    words.into_iter().map(word).collect()
}

/// What a server's line is made of, where Causeway writes it.
const PARTS: [(&str, &str); 8] = [
    ("serverName", "@name@"),
    ("host", "@host@"),
    ("host_ipv4", "@host@"),
    ("port", "@port@"),
    ("serverId", "@id@"),
    ("cookieOptions", " @ours@"),
    ("healthCheckOptions", " @ours@"),
    ("otherOptions", " @ours@"),
];

pub(super) fn options(port: &Port<'_>, texts: &Texts<'_>, service: &mut Service) -> Result<(), String> {
    let values = PARTS.iter().map(|(name, mark)| (*name, (*mark).to_owned())).collect();
    let Some(text) = texts.get("BACKEND_SERVER_OPTIONS", &values)? else { return Ok(()) };
    let Some((line, others)) = text.lines.split_first() else {
        return Err(format!("{}: it has no server; the servers are those of the tasks", text.source));
    };
    let words = match &line.words[..] {
        [server, name, at, words @ ..] if server == "server" && name == "@name@" && at == "@host@:@port@" => {
            words
        }
        _ => {
            return Err(text.refused(
                line,
                "is not a server of the form \"server {serverName} {host_ipv4}:{port} …\": where tasks are reached is Causeway's",
            ));
        }
    };
    let mut own: Vec<String> = words.iter().filter(|word| *word != "@ours@").cloned().collect();
    if let Some(at) = own.windows(2).position(|pair| pair == ["id", "@id@"]) {
        own.drain(at..at + 2);
    }
    let words = port.server_words(&text, line, &own)?;
    service.backend.extras.raw.server.push_str(&words);
    port.add_lines(&text, others, service)
}

pub(super) fn checks(port: &Port<'_>, texts: &Texts<'_>, service: &mut Service) -> Result<(), String> {
    let Some(values) = values_of_check(port) else { return Ok(()) };
    let kind = if service.backend.mode == Mode::Http { "HTTP" } else { "TCP" };
    let backend = &mut service.backend;
    let watch = backend.watch.clone();
    let not_done = |text: &Text| {
        format!(
            "{}: the health checks of this port are Marathon's; HAPROXY_{}_CHECKS = haproxy has HAProxy make them",
            text.source, port.index
        )
    };
    let mut lines = Vec::new();
    let of_backend = texts.get(&format!("BACKEND_{kind}_HEALTHCHECK_OPTIONS"), &values)?;
    if let Some(text) = &of_backend {
        let path = values.get("healthCheckPath").map_or("/", String::as_str);
        for line in &text.lines {
            let seconds = values.get("healthCheckTimeoutSeconds").map_or("", String::as_str);
            let is_default = line.is(&format!("option httpchk GET {path}"))
                || line.is(&format!("timeout check {seconds}s"));
            if !is_default {
                lines.push(line);
            }
        }
        if !backend.check && !lines.is_empty() {
            // Of an operator's that was told at the start.
            return if text.trusted { Ok(()) } else { Err(not_done(text)) };
        }
    }
    if let Some(text) = texts.get(&format!("BACKEND_SERVER_{kind}_HEALTHCHECK_OPTIONS"), &values)? {
        let words: Vec<String> = text.lines.iter().flat_map(|line| line.words.clone()).collect();
        let mut default = format!("check inter {}s fall {}", watch.interval, watch.fall);
        if let Some(port) = watch.port {
            default.push_str(&format!(" port {port}"));
        }
        let default_of_marathon = format!(
            "check inter {}s fall {}{}",
            values["healthCheckIntervalSeconds"],
            values["healthCheckFalls"],
            values["healthCheckPortOptions"]
        );
        let is_default = [default, default_of_marathon].contains(&words.join(" "));
        if !is_default && !backend.check {
            return if text.trusted { Ok(()) } else { Err(not_done(&text)) };
        }
        let line = text.lines.first().cloned();
        if let Some(line) = line.filter(|_| !is_default) {
            backend.extras.raw.check = Some(port.server_words(&text, &line, &words)?);
        }
    }
    let Some(text) = &of_backend else { return Ok(()) };
    for line in lines {
        match line.words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["option", "httpchk", ref request @ ..] => {
                let sent = http_check(text, line, request)?;
                port.add_lines(text, [&sent], service)?;
            }
            _ => port.add_lines(text, [line], service)?,
        }
    }
    Ok(())
}

/// `option httpchk` in today's words, since what the defaults say of checks would come after it.
fn http_check(text: &Text, line: &Line, request: &[&str]) -> Result<Line, String> {
    let (method, path, version) = match *request {
        [] => ("OPTIONS", "/", None),
        [path] => ("OPTIONS", path, None),
        [method, path] => (method, path, None),
        [method, path, version] => (method, path, Some(version)),
        _ => return Err(text.refused(line, "has more words than a method, a path and a version")),
    };
    let version = version.unwrap_or("HTTP/1.1");
    let words =
        ["http-check", "send", "meth", method, "uri", path, "ver", version, "hdr", "Host", "localhost"];
    Ok(Line { number: line.number, words: words.map(str::to_owned).to_vec() })
}

/// What marathon-lb tells templates of the health check of a port.
fn values_of_check(port: &Port<'_>) -> Option<Values> {
    let check = crate::services::health::of(port.app, port.index, port.labels, &mut Vec::new())?.check();
    let number = |number: u32| number.to_string();
    let option = |number: Option<u16>| number.map(|port| port.to_string()).unwrap_or_default();
    let protocol = match check.protocol {
        HealthProtocol::Http => "HTTP",
        HealthProtocol::Https => "HTTPS",
        HealthProtocol::Tcp => "TCP",
        HealthProtocol::Command => "COMMAND",
    };
    Some(Values::from([
        ("healthCheckPortIndex", check.port_index.map(|index| index.to_string()).unwrap_or_default()),
        ("healthCheckPort", option(check.port)),
        ("healthCheckProtocol", protocol.to_owned()),
        ("healthCheckPath", line_text(&[check.path.as_deref().unwrap_or("/").to_owned()])),
        ("healthCheckTimeoutSeconds", number(check.timeout_seconds)),
        ("healthCheckIntervalSeconds", number(check.interval_seconds)),
        ("healthCheckMaxConsecutiveFailures", number(check.max_consecutive_failures)),
        ("healthCheckFalls", number(check.max_consecutive_failures.saturating_add(1))),
        ("healthCheckPortOptions", check.port.map(|port| format!(" port {port}")).unwrap_or_default()),
    ]))
}
