//! What the configuration gives to the text: the context of the head, the pages of errors.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use nix::unistd::geteuid;

use crate::config::{Config, HaproxyMode, split_bind};
use crate::haproxy::inquiry;
use crate::haproxy::managed::{Jail, log_socket};
use crate::haproxy::service_ports::ServicePorts;
use crate::model::RawHead;
use crate::render::{DIR_MARK, HeadContext};
use crate::services::raw;
use crate::web::marathon_lb;

const PAGE_404: &str = include_str!("../../templates/errors/404.html");
const PAGE_503: &str = include_str!("../../templates/errors/503.html");
/// HAProxy's limit for a page is the size of its buffer, less the reserve for headers.
const PAGE_MAX: usize = 15_000;

/// The context of the head.
#[must_use]
pub fn head(config: &Config, jail: Option<&Jail>, ports: &ServicePorts) -> HeadContext {
    let haproxy = &config.haproxy;
    let managed = haproxy.mode == HaproxyMode::Managed;
    let jail = jail.filter(|_| managed);
    let path = |path: &Path| path.display().to_string();
    let text = |text: &str| text.to_owned();
    let certificates = !config.tls.certificates.is_empty() && !haproxy.bind_https.is_empty();
    // Who names our own port came without anything before us that has other ones.
    let port = |bind: &str| split_bind(bind).map_or(0, |(_, port)| port);
    let named = match (port(&haproxy.bind_http), port(&haproxy.bind_https)) {
        (http, https) if certificates && http != 80 && https != 443 => (http, https),
        _ => (0, 0),
    };
    HeadContext {
        socket: path(&haproxy.socket),
        log_socket: if managed { path(&log_socket(haproxy, jail)) } else { String::new() },
        chroot: jail.map(|jail| path(&jail.chroot)).unwrap_or_default(),
        log_level: if config.log.asks_for_requests() { "info" } else { "notice" },
        user: if geteuid().is_root() { text(&haproxy.user) } else { String::new() },
        group: if geteuid().is_root() { text(&haproxy.group) } else { String::new() },
        threads: haproxy.threads,
        maxconn: haproxy.maxconn,
        hard_stop_after: haproxy.hard_stop_after.as_secs(),
        max_old_workers: haproxy.max_old_workers,
        timeouts: BTreeMap::from([
            ("connect", haproxy.timeout_connect.as_millis()),
            ("client", haproxy.timeout_client.as_millis()),
            ("server", haproxy.timeout_server.as_millis()),
            ("tunnel", haproxy.timeout_tunnel.as_millis()),
            ("http_keep_alive", haproxy.timeout_http_keep_alive.as_millis()),
            ("http_request", haproxy.timeout_http_request.as_millis()),
        ]),
        bind_http: text(&haproxy.bind_http),
        bind_https: text(&haproxy.bind_https),
        http_port: named.0,
        https_port: named.1,
        bind_app_id: text(&haproxy.bind_app_id),
        bind_stats: text(&haproxy.bind_stats),
        stats_local: haproxy.stats_are_local(),
        // A file that went bad since the start lets nobody in.
        stats_users: haproxy.stats_users().unwrap_or_default(),
        marathon_lb_socket: path(&marathon_lb::socket(haproxy, jail).for_haproxy),
        service_port_binds: if config.labels.service_ports { ports.binds() } else { Vec::new() },
        certificates,
        service_certificates: Vec::new(),
        default_certificate: String::new(),
        client_hosts: Vec::new(),
        trusted_proxies: haproxy.trusted_proxies.join(" "),
        why_socket: inquiry::socket(haproxy).map(|socket| path(&socket)).unwrap_or_default(),
        only_asked: false,
        dir: if managed { "" } else { DIR_MARK },
        raw: raw::head::of(&config.labels).0,
        raw_routes: RawHead::default(),
    }
}

/// The pages of errors, by their path in a generation.
///
/// # Errors
/// A file that cannot be read, or a page that is too large for HAProxy.
pub fn pages(config: &Config) -> Result<BTreeMap<String, Bytes>> {
    let mut files = BTreeMap::new();
    let errors = &config.haproxy.errors;
    for (name, own, built_in) in
        [("404", &errors.not_found, PAGE_404), ("503", &errors.unavailable, PAGE_503)]
    {
        let page = match own {
            Some(path) => {
                std::fs::read(path).with_context(|| format!("haproxy.errors.{name}: {}", path.display()))?
            }
            None => built_in.as_bytes().to_vec(),
        };
        if page.len() > PAGE_MAX {
            bail!(
                "haproxy.errors.{name}: the page has {} bytes; HAProxy takes at most {PAGE_MAX}",
                page.len()
            );
        }
        files.insert(format!("errors/{name}.html"), page.into());
    }
    Ok(files)
}
