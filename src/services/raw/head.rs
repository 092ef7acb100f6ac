//! The operator's templates of marathon-lb that every app shares: what they add to `global`, to the defaults and to the
//! shared frontends, and what has another place here, told when Causeway starts.

use crate::config::LabelsConfig;
use crate::model::RawHead;

use super::format::{self, Values};
use super::line::{self, Line};
use super::table;

/// What `HAPROXY_GLOBAL_DEFAULT_OPTIONS` is called among the templates.
pub(super) const OPTIONS: &str = "GLOBAL_DEFAULT_OPTIONS";

/// The templates that add to what all apps share. The first can hold sections that the others name.
const SHARED: [&str; 4] = ["HEAD", "HTTP_FRONTEND_HEAD", "HTTP_FRONTEND_APPID_HEAD", "HTTPS_FRONTEND_HEAD"];
/// What begins a section (configuration manual, section 2.1).
const SECTIONS: [&str; 15] = [
    "global",
    "defaults",
    "frontend",
    "backend",
    "listen",
    "userlist",
    "peers",
    "mailers",
    "resolvers",
    "cache",
    "ring",
    "program",
    "http-errors",
    "log-forward",
    "fcgi-app",
];
/// Lines of `global` that stand for something here, by how they begin, and what is set instead; empty: nothing is lost.
const GLOBAL: &[(&str, &str)] = &[
    ("daemon", ""),
    ("master-worker", ""),
    ("pidfile", ""),
    ("log /dev/log local", ""),
    ("spread-checks 5", ""),
    ("max-spread-checks 15000", ""),
    ("maxconn 50000", ""),
    ("tune.ssl.default-dh-param 2048", ""),
    ("ssl-default-bind-options no-sslv3 no-tlsv10", ""),
    ("ssl-default-server-options no-sslv3 no-tlsv10", ""),
    ("stats socket /var/run/haproxy/socket", ""),
    ("server-state-file global", ""),
    ("server-state-base /var/state/haproxy", ""),
    ("lua-load /marathon-lb/", ""),
    ("maxconn", "haproxy.maxconn"),
    ("nbthread", "haproxy.threads"),
    ("nbproc", "haproxy.threads"),
    ("user", "haproxy.user"),
    ("group", "haproxy.group"),
    ("chroot", "haproxy.state_dir, which has one where HAProxy is started as root"),
    ("hard-stop-after", "haproxy.hard_stop_after"),
    ("mworker-max-reloads", "haproxy.max_old_workers"),
    ("stats socket", "haproxy.socket"),
    ("ssl-default-bind-options", "nothing: TLS 1.2 is the least"),
    ("server-state", "nothing: the state of servers is kept by Causeway"),
    ("description", "nothing: it says which generation runs"),
];
/// Lines of `defaults`, likewise.
const DEFAULTS: &[(&str, &str)] = &[
    ("load-server-state-from-file", ""),
    ("log global", ""),
    ("retries 3", ""),
    ("backlog 10000", ""),
    ("maxconn 10000", ""),
    ("timeout connect 3s", ""),
    ("timeout client 30s", ""),
    ("timeout server 30s", ""),
    ("timeout tunnel 3600s", ""),
    ("timeout http-keep-alive 1s", ""),
    ("timeout http-request 15s", ""),
    ("timeout queue 30s", ""),
    ("timeout tarpit 60s", ""),
    ("option redispatch", ""),
    ("option http-server-close", ""),
    ("option dontlognull", ""),
    ("mode", "HAPROXY_{n}_MODE"),
    ("balance", "HAPROXY_{n}_BALANCE"),
    ("errorfile 503", "haproxy.errors.503"),
    ("errorfile", "haproxy.errors"),
    ("default-server", "the template BACKEND_SERVER_OPTIONS"),
];
/// Lines of `listen stats`, likewise.
const STATS: &[(&str, &str)] = &[
    ("bind 0.0.0.0:9090", ""),
    ("bind *:9090", ""),
    ("balance", ""),
    ("mode http", ""),
    ("stats enable", ""),
    ("monitor-uri /_haproxy_health_check", ""),
    ("acl getpid path", ""),
    ("acl getvhostmap path", ""),
    ("acl getappmap path", ""),
    ("acl getconfig path", ""),
    ("acl signalmlbhup path", ""),
    ("acl signalmlbusr1 path", ""),
    ("http-request use-service lua.getpids", ""),
    ("http-request use-service lua.getvhostmap", ""),
    ("http-request use-service lua.getappmap", ""),
    ("http-request use-service lua.getconfig", ""),
    ("http-request use-service lua.signalmlb", ""),
    ("http-request use-service prometheus-exporter", ""),
    ("bind", "haproxy.bind_stats"),
];
/// Lines of the four templates for TLS by groups, likewise.
const GROUPED: &[(&str, &str)] = &[
    ("frontend", ""),
    ("backend", ""),
    ("bind *:443", ""),
    ("bind abns@", ""),
    ("mode", ""),
    ("tcp-request inspect-delay 5s", ""),
    ("tcp-request content accept if { req_ssl_hello_type 1 }", ""),
    ("tcp-request content accept if { req.ssl_hello_type 1 }", ""),
    ("use_backend", ""),
    ("server loopback-for-tls", ""),
];
/// The ciphers that marathon-lb's default names, by how they begin and end.
const CIPHERS: (&str, &str) =
    ("ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256", ":!aNULL:!MD5:!DSS");

/// Whether a template, by its name without `HAPROXY_`, adds to what all apps share.
#[must_use]
pub fn is_shared(name: &str) -> bool {
    name == OPTIONS || SHARED.contains(&name)
}

/// Which line of the text of a template HAProxy was given as this one.
#[must_use]
pub fn line_of(name: &str, text: &str, given: &str) -> Option<usize> {
    let lines = lines_of(name, text).ok()?;
    let same = |line: &&Line| line.text() == given || own_section(line) == given;
    lines.iter().find(same).map(|line| line.number)
}

/// What the templates add to what all apps share, what is to be told, and why templates are left out.
#[must_use]
pub fn of(labels: &LabelsConfig) -> (RawHead, Vec<String>, Vec<String>) {
    let mut reader = Reader::default();
    for (name, text) in &labels.templates {
        let name = name.trim_start_matches("HAPROXY_");
        if name == OPTIONS {
            reader.options(text);
            continue;
        }
        let Some(template) = table::find(name) else { continue };
        if template.of_port {
            reader.of_port(template, text);
            continue;
        }
        let read = reader.template(name, text);
        if let Err(why) = read {
            reader.left_out.push(format!("template HAPROXY_{name}: {why}"));
        }
    }
    (reader.head, reader.notices, reader.left_out)
}

/// The lines of the text of a template that is no label's.
fn lines_of(name: &str, text: &str) -> Result<Vec<Line>, String> {
    let values = Values::from([("sslCerts", "@certificates@".to_owned())]);
    match name == "HTTPS_FRONTEND_HEAD" {
        true => line::lines(&format::format(text, &values)?),
        false => line::lines(text),
    }
}

#[derive(Default)]
struct Reader {
    head: RawHead,
    notices: Vec<String>,
    left_out: Vec<String>,
}

impl Reader {
    fn tell(&mut self, notice: String) {
        self.notices.push(notice);
    }

    /// Whether a line says what stands here anyway, or has another place, which is told.
    fn stands(&mut self, source: &str, line: &Line, known: &[(&str, &str)]) -> bool {
        let text = line.words.join(" ");
        let cipher = |text: &str| text.contains(CIPHERS.0) && text.ends_with(CIPHERS.1);
        if line.first().starts_with("ssl-default-") && cipher(&text) {
            return true;
        }
        let begins = |begin: &str| {
            text.strip_prefix(begin).is_some_and(|rest| {
                rest.is_empty()
                    || rest.starts_with(' ')
                    || begin.ends_with(['/', '@', '.'])
                    || begin.ends_with("mlb")
                    || begin.ends_with("local")
                    || begin.ends_with("haproxy")
                    || begin == "server-state"
            })
        };
        let Some((_, instead)) = known.iter().find(|(begin, _)| begins(begin)) else { return false };
        if !instead.is_empty() {
            self.tell(format!("{source}, {}", line.refused(&format!("is not used: its place is {instead}"))));
        }
        true
    }

    fn options(&mut self, text: &str) {
        for option in text.split(',').map(str::trim).filter(|option| !option.is_empty()) {
            if ["redispatch", "dontlognull", "http-server-close"].contains(&option) && text.contains(',') {
                continue;
            }
            match line::lines(&format!("option {option}")) {
                Ok(lines) => self.head.defaults.extend(lines.iter().map(Line::text)),
                Err(why) => self.tell(format!("HAPROXY_{OPTIONS}: {option:?}: {why}; it is left out")),
            }
        }
    }

    /// Says whether the text of a template that labels can say too can be used at all; it counts for each app.
    fn of_port(&mut self, template: &table::Template, text: &str) {
        let known = |name: &str| !name.starts_with("MAP_");
        if !known(template.name) {
            if !text.contains("use_backend %[")
                || text.lines().filter(|line| !line.trim().is_empty()).count() > 1
            {
                self.tell(format!(
                    "template HAPROXY_{} is not used: the maps are Causeway's own",
                    template.name
                ));
            }
            return;
        }
        let read = line::lines(text).and_then(|lines| {
            let dotted = lines.iter().find(|line| line.first().starts_with('.'));
            dotted.map_or(Ok(()), |line| Err(line.refused("begins with a dot")))
        });
        if let Err(why) = read {
            self.tell(format!(
                "template HAPROXY_{}: {why}; each app that it is for says so, and has the default",
                template.name
            ));
        }
    }

    fn template(&mut self, name: &str, text: &str) -> Result<(), String> {
        let source = format!("template HAPROXY_{name}");
        let is_grouped = name.starts_with("HTTPS_GROUPED");
        let lines = lines_of(name, text)?;
        if let Some(line) = lines.iter().find(|line| line.first().starts_with('.')) {
            return Err(line.refused("begins with a dot: it would decide on the text of others"));
        }
        match name {
            "HEAD" => self.head(&source, &lines),
            "HTTP_FRONTEND_HEAD" => {
                let kept = self.frontend(&source, &lines, "*:80", "haproxy.bind_http");
                self.head.http.extend(kept);
            }
            "HTTP_FRONTEND_APPID_HEAD" => {
                let kept = self.frontend(&source, &lines, "*:9091", "haproxy.bind_app_id");
                self.head.app_id.extend(kept);
            }
            "HTTPS_FRONTEND_HEAD" => {
                let kept = self.frontend(&source, &lines, "*:443", "haproxy.bind_https");
                self.head.https.extend(kept);
            }
            // Read with the labels that it is for.
            "HTTP_BACKEND_ACL_ALLOW_DENY" | "TCP_BACKEND_ACL_ALLOW_DENY" | "HTTP_BACKEND_REDIR" => {}
            _ if is_grouped => {
                for line in &lines {
                    if !self.stands(&source, line, GROUPED) {
                        self.tell(format!(
                            "{source}, {}",
                            line.refused("is not used: one frontend has all certificates (HAPROXY_{n}_SSL_CERT), and asks for those of clients by host")
                        ));
                    }
                }
            }
            _ => self.tell(format!("{source} is not used, nor does marathon-lb use it")),
        }
        Ok(())
    }

    fn head(&mut self, source: &str, lines: &[Line]) {
        let mut section = "";
        for line in lines {
            if SECTIONS.contains(&line.first()) {
                section = match (line.first(), line.words.get(1).map(String::as_str)) {
                    ("global", _) => "global",
                    ("defaults", _) => "defaults",
                    ("listen" | "frontend", Some("stats")) => "stats",
                    _ => "own",
                };
                if section == "own" {
                    self.head.sections.push(own_section(line));
                }
                continue;
            }
            let known = match section {
                "global" => GLOBAL,
                "defaults" => DEFAULTS,
                "stats" => STATS,
                _ => &[],
            };
            if self.stands(source, line, known) {
                continue;
            }
            match section {
                "global" => self.head.global.push(line.text()),
                "defaults" => self.head.defaults.push(line.text()),
                "stats" => self.head.stats.push(line.text()),
                "own" => self.head.sections.push(format!("    {}", line.text())),
                _ => self.tell(format!("{source}, {}", line.refused("stands in no section; it is left out"))),
            }
        }
    }

    /// The lines of a shared frontend but for its name, its mode and its address.
    fn frontend(&mut self, source: &str, lines: &[Line], address: &str, key: &str) -> Vec<String> {
        let mut kept = Vec::new();
        for line in lines {
            match (line.first(), line.rest(1)) {
                ("frontend", [_]) | ("mode", _) => {}
                ("bind", [at, words @ ..]) => {
                    let more: Vec<String> = words
                        .iter()
                        .filter(|word| !matches!(word.as_str(), "ssl" | "@certificates@"))
                        .map(|word| line::text(std::slice::from_ref(word)))
                        .collect();
                    let has_certificate = more.iter().any(|word| word == "crt" || word == "crt-list");
                    let taken = key == "haproxy.bind_https" && at == address && !has_certificate;
                    if taken {
                        self.head.https_bind.extend(more);
                    } else if at != address || !more.is_empty() {
                        let also = if has_certificate { " and tls.certificates" } else { "" };
                        self.tell(format!(
                            "{source}, {}",
                            line.refused(&format!("is not used: its place is {key}{also}"))
                        ));
                    }
                }
                _ => kept.push(line.text()),
            }
        }
        kept
    }
}

/// The first line of a section of the operator's own. Every proxy says which defaults it has.
fn own_section(line: &Line) -> String {
    let is_proxy = matches!(line.first(), "frontend" | "backend" | "listen");
    let has_defaults = line.words.iter().any(|word| word == "from");
    format!("{}{}", line.text(), if is_proxy && !has_defaults { " from common" } else { "" })
}
