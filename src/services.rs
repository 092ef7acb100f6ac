//! Pure: an app, its rule and its labels become services, or problems. Every dialect ends in the same [`Service`].

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use sha1::{Digest, Sha1};

use crate::config::{Checks, Config, HaproxyMode, LabelOrder, LabelsConfig, PortRange};
use crate::haproxy::certificates;
use crate::model::{
    App, AppId, AppPort, Backend, Marks, Mode, Problem, ProblemKind, Route, RouteMatch, Rule, Server,
    Service, ServiceId, Task, TaskState,
};
use crate::render::DIR_MARK;
use crate::wording::counted;

pub mod claims;
mod criterion;
pub mod deployment;
pub mod exposure;
mod health;
mod labels;
mod policy;
pub mod raw;
mod treatment;

pub use labels::explained::{Explained, explained};
use labels::{AppLabels, PortLabels};
use policy::Policy;

/// What an app comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppServices {
    /// Its services, before claims are settled.
    pub services: Vec<Service>,
    /// What is wrong with its labels and its rule.
    pub problems: Vec<Problem>,
}

/// What the configuration says of services.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    pub(crate) labels: LabelsConfig,
    /// The file of the authorities that verify servers which speak TLS.
    ca: Option<String>,
    /// The directory of the certificates that labels name, as HAProxy reads it.
    pub(crate) tls_dir: Option<PathBuf>,
    /// The same as the operator has it, `tls.dir`.
    pub(crate) tls_files: Option<PathBuf>,
    policy: Policy,
    /// Who may have raw text, and the operator's own.
    raw: raw::Terms,
    /// Where HAProxy and Causeway listen; a server there would be themselves.
    own: Vec<(Option<IpAddr>, PortRange)>,
}

impl From<&Config> for Terms {
    fn from(config: &Config) -> Self {
        // HAProxy reads the copies of a generation.
        let dir = if config.haproxy.mode == HaproxyMode::Managed { "" } else { DIR_MARK };
        Self {
            labels: config.labels.clone(),
            ca: config.tls.ca.as_ref().map(|_| format!("{dir}{}", certificates::AUTHORITIES)),
            tls_dir: config.tls.dir.as_ref().map(|_| PathBuf::from(format!("{dir}{}", certificates::NAMED))),
            tls_files: config.tls.dir.clone(),
            policy: Policy::from(&config.policy),
            raw: raw::Terms::from(&config.labels),
            own: config.listeners(),
        }
    }
}

impl From<&LabelsConfig> for Terms {
    fn from(labels: &LabelsConfig) -> Self {
        Self { labels: labels.clone(), raw: raw::Terms::from(labels), ..Self::default() }
    }
}

impl Terms {
    /// Whether the operator lets an app have what leads to it.
    pub(crate) fn allows(&self, app: &AppId, matches: &RouteMatch) -> bool {
        let route = Route::new(matches.clone());
        self.policy.allows_route(app, &route)
    }

    /// Whose word on the health of an app's tasks counts, where its port says so, or for all.
    pub(crate) fn checks(&self, app: &App, port_index: usize) -> Checks {
        let labels = AppLabels::parse(app, None, &mut Vec::new());
        labels.port(port_index).checks.unwrap_or(self.labels.checks)
    }

    /// Takes out servers that are HAProxy or Causeway themselves: on this machine's loopback, at a port of theirs.
    fn without_own(&self, service: &mut Service, problems: &mut Vec<Problem>) {
        let own = |server: &Server| {
            let (address, port) = (server.endpoint.ip(), server.endpoint.port());
            let listens = |(host, ports): &(Option<IpAddr>, PortRange)| {
                host.is_none_or(|host| host == address) && ports.contains(port)
            };
            address.is_loopback() && self.own.iter().any(listens)
        };
        for server in service.servers.iter().filter(|server| own(server)) {
            problems.push(Problem::of(
                &service.id.app,
                ProblemKind::Host,
                format!("task {} would be reached at {}, where HAProxy or Causeway listens", server.task, server.endpoint),
                "it gets no requests, which would go round in circles; give the agent an address that other hosts reach, or the task another port",
            ));
        }
        service.servers.retain(|server| !own(server));
    }
}

/// Builds the services of one app. `watched` lets HAProxy itself check the servers, whatever the labels say: the
/// scheduler's word on them is in doubt.
#[must_use]
pub fn of(app: &App, rule: Option<&Rule>, terms: &Terms, watched: bool) -> AppServices {
    let config = &terms.labels;
    let mut problems = Vec::new();
    let labels = AppLabels::parse(app, terms.tls_files.as_deref(), &mut problems);
    let tcp_port = bamboo_tcp_port(app, &mut problems);
    // Bamboo's template has it for every app without a record, whatever else it gives to the app.
    let default_rule = config.default_rule && !labels.any && rule.is_none();
    let selected = labels.any || tcp_port.is_some() || rule.is_some() || default_rule;
    if !selected && !config.groups.iter().any(|group| group == "*") {
        return AppServices::default();
    }
    let builder = Builder { app, terms, rule, default_rule, watched };
    let mut services = Vec::new();
    for (index, port) in app.ports.iter().enumerate() {
        let port_labels = labels.port(index);
        if builder.serves(&labels, port_labels) && builder.can_carry(index, port, port_labels, &mut problems)
        {
            services.push(builder.service(index, port, port_labels, &mut problems));
        }
    }
    if let Some(port) = tcp_port.filter(|_| builder.in_groups(&labels, &PortLabels::default())) {
        services.push(builder.bamboo_tcp(port));
    }
    for service in &mut services {
        terms.policy.apply(service, &mut problems);
    }
    if let Some(rule) = rule {
        rule_problems(app, rule, &services, &mut problems);
    }
    labels.check_indexes(app, &mut problems);
    if let Some(service) = services.iter_mut().find(|service| service.backend.mode == Mode::Http) {
        service.app_id_route = true;
    }
    for service in services.iter_mut().filter(|service| service.id.port_index < app.ports.len()) {
        raw::apply(app, labels.port(service.id.port_index), terms, service, &mut problems);
    }
    for service in &mut services {
        terms.without_own(service, &mut problems);
    }
    no_server_problem(app, &services, &mut problems);
    AppServices { services, problems }
}

/// Gives the services of an app what rules say to templates. A value that could end a line is left out.
pub fn configure(found: &mut AppServices, app: &AppId, mut config: BTreeMap<String, String>) {
    config.retain(|key, value| {
        let harmless = !key.chars().chain(value.chars()).any(char::is_control);
        if !harmless && !found.services.is_empty() {
            found.problems.push(Problem::of(
                app,
                ProblemKind::Rule,
                format!("config key {key:?} of its rule, or of one of its groups, holds a control character"),
                "it is left out, as if it were not there: correct the rule",
            ));
        }
        harmless
    });
    for service in &mut found.services {
        service.config.clone_from(&config);
    }
}

struct Builder<'a> {
    app: &'a App,
    terms: &'a Terms,
    rule: Option<&'a Rule>,
    default_rule: bool,
    watched: bool,
}

impl Builder<'_> {
    fn serves(&self, labels: &AppLabels, port: &PortLabels) -> bool {
        port.enabled.unwrap_or(!self.terms.labels.strict) && self.in_groups(labels, port)
    }

    fn in_groups(&self, labels: &AppLabels, port: &PortLabels) -> bool {
        let wanted = &self.terms.labels.groups;
        let groups = port.groups.as_ref().unwrap_or(&labels.groups);
        wanted.is_empty() || wanted.iter().any(|group| group == "*" || groups.contains(group))
    }

    fn can_carry(
        &self,
        index: usize,
        port: &AppPort,
        labels: &PortLabels,
        problems: &mut Vec<Problem>,
    ) -> bool {
        if port.udp_only && !labels.vhosts.is_empty() {
            problems.push(Problem::of(
                &self.app.id,
                ProblemKind::Label,
                format!("port {index} takes UDP only, and has labels for HTTP"),
                "HAProxy carries no UDP; the port is not served: declare it tcp",
            ));
        }
        !port.udp_only
    }

    fn service(
        &self,
        index: usize,
        port: &AppPort,
        labels: &PortLabels,
        problems: &mut Vec<Problem>,
    ) -> Service {
        let routes = self.routes(index, labels, problems);
        let health = health::of(self.app, index, labels, problems);
        let asks_http = health.is_some_and(health::Check::asks_http);
        let routed = labels.routed || !routes.is_empty();
        let mode = labels.mode.unwrap_or(if routed || asks_http { Mode::Http } else { Mode::Tcp });
        if mode == Mode::Tcp && !routes.is_empty() {
            problems.push(Problem::of(
                &self.app.id,
                ProblemKind::Label,
                format!("port {index} has routes by host or path, and mode tcp"),
                "in tcp mode only its service port leads to it: set the mode to http, or take the routes away",
            ));
        }
        let config = &self.terms.labels;
        let assigned = || ip_per_task_port(&self.app.id, port.container_port?, config.ip_per_task_ports);
        let own = port.service_port.or_else(assigned);
        let port = labels.port.or(own).filter(|_| config.service_ports || labels.port.is_some());
        let bind = treatment::bind(&self.app.id, index, labels, self.terms.tls_dir.as_deref(), problems);
        let mut backend = self.backend(index, mode, labels.balance.as_deref().unwrap_or("roundrobin"));
        backend.extras =
            treatment::extras(&self.app.id, index, mode, labels, self.terms.ca.as_ref(), problems).into();
        // Clients were to show certificates, and nobody can say which.
        backend.extras.closed |= bind.is_err() && labels.asks_clients();
        let of_hosts =
            |file: Option<String>| file.filter(|_| mode == Mode::Http && !labels.vhosts.is_empty());
        let dir = self.terms.tls_dir.as_deref();
        let certificate = of_hosts(treatment::certificate(labels, dir));
        let client_ca = of_hosts(treatment::client_ca(labels, dir));
        let checks = labels.checks.unwrap_or(config.checks);
        let mut by_marathon = true;
        if checks != Checks::Marathon
            && let Some(check) = health
        {
            match check.watch(&self.app.id, index, problems) {
                Some(watch) => {
                    backend.check = true;
                    backend.watch = watch;
                    by_marathon = checks == Checks::Both;
                }
                None => by_marathon = true,
            }
        }
        Service {
            id: self.id(index),
            port: port.filter(|_| bind.is_ok()),
            routes: if mode == Mode::Http { routes } else { Vec::new() },
            app_id_route: false,
            marks: treatment::marks(&self.app.id, index, mode, labels, problems),
            certificate,
            client_ca,
            bind: bind.ok().flatten().filter(|_| port.is_some()),
            backend,
            config: BTreeMap::new(),
            instances: self.app.instances,
            servers: self.servers(index, by_marathon),
        }
    }

    /// Bamboo's template listens on `BAMBOO_TCP_PORT` beside everything else: one more port of the app.
    fn bamboo_tcp(&self, port: u16) -> Service {
        let index = self.app.ports.len();
        Service {
            id: self.id(index),
            port: Some(port),
            routes: Vec::new(),
            app_id_route: false,
            marks: Marks::default(),
            bind: None,
            certificate: None,
            client_ca: None,
            backend: self.backend(index, Mode::Tcp, "leastconn"),
            config: BTreeMap::new(),
            instances: self.app.instances,
            servers: self.servers(0, true),
        }
    }

    fn id(&self, port_index: usize) -> ServiceId {
        ServiceId { app: self.app.id.clone(), port_index }
    }

    fn backend(&self, index: usize, mode: Mode, balance: &str) -> Backend {
        let backend = Backend::new(backend_name(&self.id(index), mode), mode, balance);
        Backend { check: self.watched, ..backend }
    }

    fn routes(&self, index: usize, labels: &PortLabels, problems: &mut Vec<Problem>) -> Vec<Route> {
        let mut weight = labels.weight.unwrap_or_default();
        if weight == 0 && !labels.paths.is_empty() && self.terms.labels.order == LabelOrder::MarathonLb {
            weight = 1;
        }
        let rule = self.rule;
        let replaced = rule.is_some_and(|rule| rule.replace);
        let of_labels = labels.matches(self.terms.labels.paths).into_iter().filter(|_| !replaced);
        let mut routes: Vec<Route> =
            of_labels.map(|matches| Route { weight, ..Route::new(matches) }).collect();
        for route in rule.iter().flat_map(|rule| &rule.routes).filter(|route| route.port == index) {
            let order = rule.and_then(|rule| rule.order);
            let of_rule = |matches| Route { from_rule: true, order, ..Route::new(matches) };
            match criterion::of_rule(route) {
                Ok(matches) => routes.extend(matches.into_iter().map(of_rule)),
                Err(message) => problems.push(Problem::of(
                    &self.app.id,
                    ProblemKind::Rule,
                    message,
                    "this route is left out, the others are served: correct the rule",
                )),
            }
        }
        if self.default_rule && index == 0 {
            match criterion::path(self.app.id.as_str()) {
                Ok(path) => {
                    let path = criterion::ending(&path, self.terms.labels.paths);
                    routes.push(Route::new(RouteMatch::Default(path)));
                }
                Err(message) => problems.push(Problem::of(
                    &self.app.id,
                    ProblemKind::App,
                    format!("the default rule cannot use its id: {message}"),
                    "give the app a label or a rule",
                )),
            }
        }
        routes.sort();
        routes.dedup();
        routes.shrink_to_fit();
        routes
    }

    /// The tasks that get requests: those that Marathon finds healthy, or all that run where HAProxy finds out.
    fn servers(&self, index: usize, by_marathon: bool) -> Vec<Server> {
        let endpoint = |task: &Task| task.endpoints.get(index).copied().flatten();
        let server = |task: &Task| Some(Server { task: task.id.clone(), endpoint: endpoint(task)? });
        let mut servers: Vec<Server> = if by_marathon {
            self.app.serving().filter_map(server).collect()
        } else {
            self.app.running().filter_map(server).collect()
        };
        servers.shrink_to_fit();
        servers
    }
}

/// The service port of a port that is reached at the task's own address, as marathon-lb gives it at the first try: by the hash
/// of app and port, so that every node has the same. Where two get the same one, claims settle who has it.
fn ip_per_task_port(app: &AppId, port: u16, range: PortRange) -> Option<u16> {
    let span = range.last.checked_sub(range.first).filter(|span| *span > 0)?;
    let hash = Sha1::digest(format!("{app}-{port}-0"));
    let number = u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]);
    u16::try_from(number % u32::from(span)).ok()?.checked_add(range.first)
}

/// The name of a backend: `h_` or `t_`, by which the service-port frontend tells HTTP, the app id, the port index.
/// Marathon's ids hold no `_`, so that `_` for `/` keeps two apps apart; whatever else is not allowed in a name is
/// written as its code.
#[must_use]
pub fn backend_name(id: &ServiceId, mode: Mode) -> String {
    use std::fmt::Write as _;
    let mut name = String::from(if mode == Mode::Http { "h_" } else { "t_" });
    for c in id.app.as_str().trim_start_matches('/').chars() {
        match c {
            '/' => name.push('_'),
            c if c.is_ascii_alphanumeric() || c == '.' || c == '-' => name.push(c),
            c => {
                let _infallible = write!(name, ":{:x}:", u32::from(c));
            }
        }
    }
    let _infallible = write!(name, "_{}", id.port_index);
    name
}

fn bamboo_tcp_port(app: &App, problems: &mut Vec<Problem>) -> Option<u16> {
    let text = app.env.get("BAMBOO_TCP_PORT")?;
    match text.trim().parse::<u16>() {
        Ok(port) if port > 0 => Some(port),
        _ => {
            problems.push(Problem::of(
                &app.id,
                ProblemKind::Label,
                format!("BAMBOO_TCP_PORT = {text:?} is not a port"),
                "expected a number from 1 to 65535; no TCP port is bound for it",
            ));
            None
        }
    }
}

fn rule_problems(app: &App, rule: &Rule, services: &[Service], problems: &mut Vec<Problem>) {
    for route in &rule.routes {
        if !services.iter().any(|service| service.id.port_index == route.port) {
            problems.push(Problem::of(
                &app.id,
                ProblemKind::Rule,
                format!(
                    "a route of its rule leads to port index {}, which the app does not serve",
                    route.port
                ),
                format!(
                    "the app declares {}, counted from 0: correct the rule",
                    counted(app.ports.len(), "port")
                ),
            ));
        }
    }
}

fn no_server_problem(app: &App, services: &[Service], problems: &mut Vec<Problem>) {
    let started = app.tasks.values().any(|task| task.state != TaskState::Starting);
    if !started
        || app.instances == 0
        || services.is_empty()
        || services.iter().any(|service| !service.servers.is_empty())
    {
        return;
    }
    problems.push(Problem::of(
        &app.id,
        ProblemKind::NoServer,
        "none of its tasks may get requests",
        "clients get 503 until a task is running, healthy and ready, with a port that can be reached",
    ));
}
