//! The Tera templates: strict, escaped, byte-stable.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tera::{Context, Kwargs, State, Tera};

use super::lines::Lines;
use super::maps::{MapName, Maps};
use super::{SERVERS_MARK, Shape};
use crate::config::{StatsUser, TemplateConfig};
use crate::model::{RawHead, Service};

const HEAD: &str = "head.cfg";
const ROUTES: &str = "routes.cfg";
const LINE: &str = "line.cfg";
pub(super) const SERVICE: &str = "service.cfg";
const MAP: &str = "map";
/// Entries that the template of a map draws at once.
const MAP_PIECE: usize = 1_000;

const BUILT_IN: [(&str, &str); 5] = [
    (HEAD, include_str!("../../templates/head.cfg")),
    (ROUTES, include_str!("../../templates/routes.cfg")),
    (LINE, include_str!("../../templates/line.cfg")),
    (SERVICE, include_str!("../../templates/service.cfg")),
    (MAP, include_str!("../../templates/map")),
];

/// A template that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// It cannot be read from disk.
    #[error("template {path} cannot be read: {cause}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        cause: io::Error,
    },
    /// It is not a template, or uses something that does not exist.
    #[error("{}", one_line(.0))]
    Template(#[from] tera::Error),
    /// It leaves away what keeps somebody out.
    #[error(
        "{template} does not draw {guard}: the service would be open; it is not served until the template draws it"
    )]
    Guard {
        /// The template.
        template: String,
        /// What it leaves away.
        guard: &'static str,
    },
}

/// Tera's report shows the line with a mark under it; kept whole, since the place is what a person needs.
fn one_line(error: &tera::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        text.push_str("; ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}

/// What the head is rendered from.
#[derive(Clone, Debug, Serialize, PartialEq)]
pub struct HeadContext {
    /// The runtime socket.
    pub socket: String,
    /// Where HAProxy sends its log lines; empty: nowhere.
    pub log_socket: String,
    /// The least level of those lines: `notice`, or `info` for one line a request.
    pub log_level: &'static str,
    /// The chroot; empty where HAProxy is not started as root.
    pub chroot: String,
    /// The user that a HAProxy started as root drops to; empty where it is not.
    pub user: String,
    /// The group beside it.
    pub group: String,
    /// Threads; 0: HAProxy decides.
    pub threads: u32,
    /// The most connections; 0: HAProxy decides.
    pub maxconn: u32,
    /// Seconds an old worker may go on.
    pub hard_stop_after: u64,
    /// How many reloads an old worker may outlive.
    pub max_old_workers: u32,
    /// Milliseconds, by the name of HAProxy's timeout.
    pub timeouts: BTreeMap<&'static str, u128>,
    /// The address of the HTTP frontend.
    pub bind_http: String,
    /// The address of the HTTPS frontend.
    pub bind_https: String,
    /// The port of the HTTP frontend, where who names it is sent to [`Self::https_port`]; else 0.
    pub http_port: u16,
    /// The port of the HTTPS frontend, where it is there and not the one that https means; else 0.
    pub https_port: u16,
    /// The address of the app-id frontend; empty: none.
    pub bind_app_id: String,
    /// The address of the statistics; empty: none.
    pub bind_stats: String,
    /// True where the statistics are listened on at loopback only.
    pub stats_local: bool,
    /// Who may log in there.
    pub stats_users: Vec<StatsUser>,
    /// The socket on which Causeway answers for marathon-lb.
    pub marathon_lb_socket: String,
    /// Addresses with the ranges of service ports.
    pub service_port_binds: Vec<String>,
    /// True where there are certificates.
    pub certificates: bool,
    /// Files of the certificates that labels name, each once.
    pub service_certificates: Vec<String>,
    /// The first certificate of the configuration, inside a generation; for hosts that bring none along.
    pub default_certificate: String,
    /// Hosts whose clients have to show a certificate, on the shared frontend for TLS.
    pub client_hosts: Vec<ClientHosts>,
    /// Networks of proxies whose word on a request's way counts, with spaces between them.
    pub trusted_proxies: String,
    /// The socket of the frontend that says where a request would go; empty: none.
    pub why_socket: String,
    /// Whether the routing is for that frontend, which passes nothing on; the head says so where it is.
    pub only_asked: bool,
    /// What stands before the path of a map or a page: nothing, or the mark of the generation.
    pub dir: &'static str,
    /// What the operator's templates of marathon-lb add.
    pub raw: RawHead,
    /// What the raw text of services adds to the shared frontends: it leads to them.
    pub raw_routes: RawHead,
}

/// Hosts whose clients have to show a certificate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ClientHosts {
    /// The certificate of the hosts.
    pub certificate: String,
    /// The authorities that sign those of the clients.
    pub ca: String,
    /// The hosts.
    pub hosts: Vec<String>,
}

#[derive(Serialize)]
struct MapEntry<'a> {
    key: &'a str,
    value: &'a str,
}

/// The templates, parsed.
#[derive(Debug)]
pub struct Templates {
    tera: Tera,
    /// The name of the single-file template, if the operator has one.
    whole: Option<String>,
    /// Nothing but what Causeway itself writes says anything of servers.
    plain: bool,
    /// The text of services is drawn by a template of the operator's.
    custom: bool,
    texts: BTreeMap<String, String>,
}

/// Templates as they are kept with a generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptTemplates {
    whole: Option<String>,
    texts: BTreeMap<String, String>,
}

impl TryFrom<KeptTemplates> for Templates {
    type Error = TemplateError;

    /// Parses templates that were kept.
    fn try_from(kept: KeptTemplates) -> Result<Self, TemplateError> {
        Self::parse(kept.texts, kept.whole)
    }
}

impl Templates {
    /// Loads the built-in templates and the operator's over them.
    ///
    /// # Errors
    /// A file that cannot be read or is no template.
    pub fn load(config: &TemplateConfig) -> Result<Self, TemplateError> {
        let read = |path: &std::path::Path| {
            std::fs::read_to_string(path)
                .map_err(|cause| TemplateError::Read { path: path.display().to_string(), cause })
        };
        let mut texts: BTreeMap<String, String> =
            BUILT_IN.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        if let Some(dir) = &config.dir {
            for name in BUILT_IN.map(|(name, _)| name) {
                let path = dir.join(name);
                if path.exists() {
                    texts.insert(name.to_owned(), read(&path)?);
                }
            }
        }
        let whole = config.file.as_ref().map(|path| path.display().to_string());
        if let Some(path) = &config.file {
            texts.insert(path.display().to_string(), read(path)?);
        }
        Self::parse(texts, whole)
    }

    fn parse(texts: BTreeMap<String, String>, whole: Option<String>) -> Result<Self, TemplateError> {
        let built_in = |name: &str| BUILT_IN.iter().find(|(known, _)| *known == name).map(|(_, text)| *text);
        let plain = !texts.values().any(|text| text.contains("default-server"))
            && texts.get(SERVICE).is_some_and(|text| text.contains("service.backend.balance"));
        let custom = whole.is_some() || texts.get(SERVICE).map(String::as_str) != built_in(SERVICE);
        let mut tera = Tera::new();
        tera.set_escape_fn(escape);
        tera.register_function("servers", Servers);
        let suffixes: Vec<String> = texts.keys().cloned().collect();
        tera.autoescape_on(suffixes);
        tera.add_raw_templates(texts.clone())?;
        Ok(Self { tera, whole, plain, custom, texts })
    }

    /// The templates, to be kept with a generation.
    #[must_use]
    pub fn kept(&self) -> KeptTemplates {
        KeptTemplates { whole: self.whole.clone(), texts: self.texts.clone() }
    }

    /// Checks that everything the templates name exists, by rendering an example.
    ///
    /// # Errors
    /// What does not.
    pub fn prove(&self, head: &HeadContext, example: &Service) -> Result<(), TemplateError> {
        self.head(head, &Lines::default(), &[example])?;
        self.service(example, Some("*:1"), false)?;
        self.map(&Maps::default(), MapName::Hosts, &mut io::sink()).map_err(tera::Error::message)?;
        Ok(())
    }

    /// What the operator's templates keep from being done at run time, in words.
    ///
    /// # Errors
    /// As [`Self::prove`].
    pub fn notices(&self, head: &HeadContext, example: &Service) -> Result<Vec<String>, TemplateError> {
        let mut notices = Vec::new();
        let head_text = self.head(head, &Lines::default(), &[example])?;
        let name = self.whole.as_deref();
        let (servers, where_to) = match name {
            Some(name) => (Arc::clone(&head_text), name),
            None => (self.service(example, None, false)?, SERVICE),
        };
        if !servers.contains(SERVERS_MARK) {
            notices.push(format!(
                "{where_to} does not draw its servers with {{{{ servers(service=service) }}}}: each change of servers is a reload"
            ));
        }
        for map in MapName::ALL.into_iter().filter(|map| !head_text.contains(map.file())) {
            let is_off = (map == MapName::Ports && head.service_port_binds.is_empty())
                || (map == MapName::Apps && head.bind_app_id.is_empty())
                // It is there as soon as a line of a rule is.
                || map == MapName::Ranks;
            if !is_off {
                let name = name.unwrap_or(HEAD);
                notices.push(format!(
                    "{name} does not route through {}: what its entries say has no effect, or is a reload",
                    map.file()
                ));
            }
        }
        notices.extend(self.undrawn_guards(head, example));
        Ok(notices)
    }

    /// Whether the operator's template draws services.
    pub(super) fn is_custom(&self) -> bool {
        self.custom
    }

    /// The name of the operator's one template, where it makes the whole text.
    pub(super) fn whole_name(&self) -> Option<&str> {
        self.whole.as_deref()
    }

    /// Whether a server that is added while HAProxy runs is what its line in the text would make of it: not where one template
    /// of the operator's makes the whole text, where `default-server` says more of servers, since that does not count for
    /// those that are added (management guide, 9.3), or where a template chooses the balance itself.
    #[must_use]
    pub fn let_add_servers(&self) -> bool {
        self.whole.is_none() && self.plain
    }

    /// True where one template makes the whole text.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.whole.is_some()
    }

    /// The head; with a single-file template the whole text, from all services.
    ///
    /// # Errors
    /// An undefined name, with template and line; a value with a control character.
    pub fn head(
        &self,
        head: &HeadContext,
        lines: &Lines,
        services: &[&Service],
    ) -> Result<Shape, TemplateError> {
        let mut context = Context::from_serialize(head)?;
        context.insert("lines", lines);
        if self.whole.is_some() {
            context.insert("services", services);
        }
        let name = self.whole.as_deref().unwrap_or(HEAD);
        let mut text = self.tera.render(name, &context)?;
        if !text.ends_with('\n') {
            text.push('\n');
        }
        Ok(text.into())
    }

    /// The text of one service, with a mark where its servers go. A spare is a service that nobody has yet.
    ///
    /// # Errors
    /// An undefined name, with template and line; a value with a control character.
    pub fn service(
        &self,
        service: &Service,
        own_bind: Option<&str>,
        spare: bool,
    ) -> Result<Shape, TemplateError> {
        let mut context = Context::new();
        context.insert("service", service);
        context.insert("spare", &spare);
        context.insert("own_bind", own_bind.unwrap_or_default());
        Ok(self.tera.render(SERVICE, &context)?.into())
    }

    /// Writes the text of one map, a piece of it at a time: the template draws some entries, then the next.
    ///
    /// # Errors
    /// An undefined name, with template and line; a value with a control character; a writer that does not take it.
    pub fn map(&self, maps: &Maps, map: MapName, out: &mut dyn Write) -> io::Result<()> {
        let mut entries = maps.entries(map).map(|(key, value)| MapEntry { key, value }).peekable();
        loop {
            let piece: Vec<MapEntry<'_>> = entries.by_ref().take(MAP_PIECE).collect();
            let mut context = Context::new();
            context.insert("map", &map);
            context.insert("entries", &piece);
            let text = self.tera.render(MAP, &context).map_err(|error| io::Error::other(one_line(&error)))?;
            out.write_all(text.as_bytes())?;
            if entries.peek().is_none() {
                return Ok(());
            }
        }
    }
}

/// `servers(service=service)`: the server lines, which change most, are filled in behind the template.
struct Servers;

impl tera::Function<tera::TeraResult<String>> for Servers {
    fn call(&self, arguments: Kwargs, _state: &State) -> tera::TeraResult<String> {
        let service: tera::Value = arguments.must_get("service")?;
        let name = service.get_from_path("backend.name").and_then(tera::Value::as_str).map(str::to_owned);
        let name = name.ok_or_else(|| tera::Error::message("servers() wants service=… of a service"))?;
        Ok(format!("{SERVERS_MARK}{name}{SERVERS_MARK}"))
    }

    fn is_safe(&self) -> bool {
        true
    }
}

/// Escapes a value as a word of HAProxy's configuration (section 2.2 of its manual). A control character would end the
/// line and start a directive of its own: it is refused.
fn escape(value: &str, out: &mut dyn Write) -> io::Result<()> {
    for byte in value.as_bytes() {
        match byte {
            0..=0x1f | 0x7f => {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a value holds a control character"));
            }
            b' ' | b'#' | b'\\' | b'"' | b'\'' => out.write_all(&[b'\\', *byte])?,
            _ => out.write_all(&[*byte])?,
        }
    }
    Ok(())
}
