//! What the labels of a port say beyond its routes: what is done to requests, and who is let in.

use std::path::Path;

use crate::model::{AppId, Bind, Extras, Location, Marks, Mode, Problem, ProblemKind, Protocol};

use super::labels::{BindWord, PortLabels, Speaks};

/// What is done by maps, so that it changes while HAProxy runs.
pub(super) fn marks(
    app: &AppId,
    index: usize,
    mode: Mode,
    labels: &PortLabels,
    problems: &mut Vec<Problem>,
) -> Marks {
    if mode == Mode::Tcp {
        for (name, is_set) in [
            ("REDIRECT_TO_HTTPS", labels.to_https),
            ("USE_HSTS", labels.hsts),
            ("HTTP_BACKEND_REDIR", labels.root.is_some()),
        ] {
            without_effect(app, index, name, is_set, problems);
        }
        return Marks::default();
    }
    // What maps do comes before what guards the backend: there its text does it.
    let root = labels.root.clone().filter(|_| !is_guarded(labels));
    Marks { to_https: labels.to_https, hsts: labels.hsts, root }
}

fn is_guarded(labels: &PortLabels) -> bool {
    labels.closed || labels.login.is_some() || !labels.allowed.is_empty()
}

/// What the text of the backend says. A port that is to be guarded in a way that its mode cannot do lets nobody in.
pub(super) fn extras(
    app: &AppId,
    index: usize,
    mode: Mode,
    labels: &PortLabels,
    ca: Option<&String>,
    problems: &mut Vec<Problem>,
) -> Extras {
    let mut extras = Extras { closed: labels.closed, allowed: labels.allowed.clone(), ..Extras::default() };
    if mode == Mode::Tcp {
        if labels.login.is_some() {
            extras.closed = true;
            problems.push(Problem::of(
                app,
                ProblemKind::Label,
                format!("port {index} asks for a login by HAPROXY_{index}_AUTH, and its mode is tcp, which has none"),
                "nobody is let in: set the mode to http, or take the label away",
            ));
        }
        for (name, is_set) in [
            ("STICKY", labels.sticky),
            ("HTTP_BACKEND_PROXYPASS_PATH", labels.strip.is_some()),
            ("HTTP_BACKEND_REVPROXY_PATH", labels.location.is_some()),
            ("BACKEND_PROTO", labels.protocol == Some(Speaks::H2)),
        ] {
            without_effect(app, index, name, is_set, problems);
        }
    } else {
        extras.login.clone_from(&labels.login);
        extras.root = labels.root.clone().filter(|_| is_guarded(labels));
        extras.sticky = labels.sticky;
        extras.strip = labels.strip.as_deref().map(|path| format!("^{}(/+(.*))?$", quoted(path)));
        if labels.strip.is_some() {
            extras.host = only_host(&labels.vhosts).cloned();
        }
        extras.location = labels.location.as_deref().map(|prefix| location(prefix, &labels.vhosts));
    }
    if labels.protocol == Some(Speaks::Https) && ca.is_none() {
        problems.push(Problem::of(
            app,
            ProblemKind::Label,
            format!("label HAPROXY_{index}_BACKEND_PROTO = https: nobody says which certificates its servers may have"),
            "they are not verified; set tls.ca to the authorities that sign them",
        ));
    }
    extras.protocol = match labels.protocol {
        Some(Speaks::H2) if mode == Mode::Http => Protocol::H2,
        Some(Speaks::Https) => Protocol::Https { ca: ca.cloned() },
        _ => Protocol::Http1,
    };
    extras
}

/// The listener that the service port needs of its own; `None` inside where the shared one does.
///
/// # Errors
/// Why it is not to be listened on at all, which is told.
pub(super) fn bind(
    app: &AppId,
    index: usize,
    labels: &PortLabels,
    dir: Option<&Path>,
    problems: &mut Vec<Problem>,
) -> Result<Option<Bind>, ()> {
    let mut refused = |label: &str, message: &str| {
        problems.push(Problem::of(
            app,
            ProblemKind::Label,
            format!("label HAPROXY_{index}_{label}: {message}"),
            "its service port is not listened on, rather than without what was asked for; everything else is served",
        ));
        Err(())
    };
    let path = |name: &str| dir.map(|dir| format!("{}/{name}", dir.display()));
    let mut options = Vec::new();
    if labels.tls {
        let Some(name) = &labels.certificate else { return Err(()) };
        let Some(file) = path(name) else {
            return refused("SSL_CERT", "tls.dir is not set, so there is no certificate to be had");
        };
        options.extend(["ssl".to_owned(), "crt".to_owned(), file]);
    }
    for word in &labels.bind_options {
        options.push(match word {
            BindWord::Word(word) => word.clone(),
            BindWord::File(name) => match path(name) {
                Some(file) => file,
                None => {
                    return refused("BIND_OPTIONS", "tls.dir is not set, so there is no ca-file to be had");
                }
            },
        });
    }
    if options.is_empty() && labels.address.is_none() {
        return Ok(None);
    }
    Ok(Some(Bind { address: labels.address.clone(), options }))
}

/// The certificate that the hosts of a port bring along for the shared frontend.
pub(super) fn certificate(labels: &PortLabels, dir: Option<&Path>) -> Option<String> {
    Some(format!("{}/{}", dir?.display(), labels.certificate.as_ref()?))
}

/// The authorities whose certificates clients have to show.
pub(super) fn client_ca(labels: &PortLabels, dir: Option<&Path>) -> Option<String> {
    let word = |text: &str| BindWord::Word(text.to_owned());
    let required = labels.bind_options.windows(2).any(|pair| pair == [word("verify"), word("required")]);
    let file = labels.bind_options.iter().find_map(|word| match word {
        BindWord::File(name) => Some(name),
        BindWord::Word(_) => None,
    });
    Some(format!("{}/{}", dir?.display(), file.filter(|_| required)?))
}

fn without_effect(app: &AppId, index: usize, name: &str, is_set: bool, problems: &mut Vec<Problem>) {
    if is_set {
        problems.push(Problem::of(
            app,
            ProblemKind::Label,
            format!("label HAPROXY_{index}_{name} is for HTTP, and the mode of the port is tcp"),
            "it has no effect: set the mode to http, or take the label away",
        ));
    }
}

/// The host of the port, where there is exactly one.
fn only_host(vhosts: &[String]) -> Option<&String> {
    match vhosts {
        [host] if !host.starts_with("*.") => Some(host),
        _ => None,
    }
}

/// A `Location` that is a path, or a URL of one of the hosts, gets the prefix unless it has it.
fn location(prefix: &str, vhosts: &[String]) -> Location {
    let host = |host: &String| match host.strip_prefix("*.") {
        Some(parent) => format!("[^/.]+[.]{}", quoted(parent)),
        None => quoted(host),
    };
    let hosts: Vec<String> = vhosts.iter().map(host).collect();
    let (origin, path) = match hosts.is_empty() {
        true => (String::new(), 1),
        false => (format!("(https?://({})(:[0-9]+)?)?", hosts.join("|")), 4),
    };
    Location {
        pattern: format!("^{origin}(/|/[^/].*)$"),
        value: format!("{}\\{path}", prefix.replace('%', "%%")),
        done: format!("^(https?://[^/]+)?{}([/?#]|$)", quoted(prefix)),
    }
}

/// A text as a regular expression that matches nothing else. Each sign stands in a class of its own, so that no backslash
/// has to get through.
fn quoted(text: &str) -> String {
    let mut pattern = String::new();
    for c in text.chars() {
        if c.is_ascii_alphanumeric() || "/-_~%=@!,:&".contains(c) {
            pattern.push(c);
        } else {
            pattern.extend(['[', c, ']']);
        }
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_as_a_pattern_matches_itself_only() {
        assert_eq!(quoted("/a.b+(c)$"), "/a[.]b[+][(]c[)][$]");
    }

    #[test]
    fn an_answer_that_leads_to_one_of_the_hosts_gets_the_prefix() {
        let hosts = ["a.x".to_owned(), "*.b.x".to_owned()];
        let found = location("/50%", &hosts);
        assert_eq!(found.pattern, "^(https?://(a[.]x|[^/.]+[.]b[.]x)(:[0-9]+)?)?(/|/[^/].*)$");
        assert_eq!(found.value, "/50%%\\4");
        assert_eq!(location("/s", &[]).pattern, "^(/|/[^/].*)$");
    }
}
