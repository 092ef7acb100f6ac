//! Every label that is understood: what it takes, what it means, and what reads it. `docs/labels.md` is written from here.

use super::values;
use super::{AppLabels, PortLabels};
use crate::config::Checks;
use crate::model::Mode;

/// A label. Its value is read by the function that stands beside its description, so that the two cannot drift apart.
#[cfg_attr(not(test), allow(dead_code, reason = "the page is written, and the values are tried, by tests"))]
pub(super) struct Label<R: 'static> {
    /// The name without `HAPROXY_` and without the index of the port.
    pub(super) name: &'static str,
    /// What the value looks like.
    pub(super) value: &'static str,
    /// What is true where there is no such label.
    pub(super) default: &'static str,
    /// What it does.
    pub(super) meaning: &'static str,
    /// A value that can be used.
    pub(super) example: &'static str,
    /// A value that cannot.
    pub(super) bad: &'static str,
    /// Reads a value, or says what is expected.
    pub(super) read: R,
}

type OfApp = fn(&mut AppLabels, &str) -> Result<(), String>;
type OfPort = fn(&mut PortLabels, &str) -> Result<(), String>;

/// The labels of an app.
pub(super) const OF_APP: &[Label<OfApp>] = &[
    Label {
        name: "GROUP",
        value: "comma list",
        default: "none",
        meaning: "the groups of the app; see `labels.groups`",
        example: "internal,external",
        bad: "",
        read: |app, value| {
            app.groups = values::list(value);
            Ok(())
        },
    },
    Label {
        name: "DEPLOYMENT_GROUP",
        value: "a name",
        default: "none",
        meaning: "apps of one parent group with the same name here are versions of one service (blue and green): the routes and ports of the oldest, the tasks of all",
        example: "shop",
        bad: "two words",
        read: |_, value| values::name(value).map(drop),
    },
    Label {
        name: "DEPLOYMENT_STARTED_AT",
        value: "a date and time, `2024-01-31T12:00:00`",
        default: "before every date",
        meaning: "which version is the newer",
        example: "2024-01-31T12:00:00.123",
        bad: "yesterday",
        read: |app, value| {
            app.started_at = Some(values::date(value)?);
            Ok(())
        },
    },
    Label {
        name: "DEPLOYMENT_TARGET_INSTANCES",
        value: "a whole number",
        default: "1",
        meaning: "how many tasks the newer version is to have: so many of the older one are drained as there are healthy new ones above what is still missing. Counts with DEPLOYMENT_NEW_INSTANCES only, as in marathon-lb",
        example: "4",
        bad: "many",
        read: |app, value| {
            app.target_instances = Some(value.trim().parse().map_err(|_| "expected a whole number")?);
            Ok(())
        },
    },
    Label {
        name: "DEPLOYMENT_NEW_INSTANCES",
        value: "a whole number",
        default: "none",
        meaning: "how many tasks of the newer version the deployment stops at; above 0 two versions serve side by side, and of them the one that was scaled last is the newer",
        example: "2",
        bad: "few",
        read: |app, value| {
            app.new_instances = Some(value.trim().parse().map_err(|_| "expected a whole number")?);
            Ok(())
        },
    },
    Label {
        name: "DEPLOYMENT_PARENTS",
        value: "comma list of groups",
        default: "none",
        meaning: "the parent groups of the other versions, where they are not in the app's own: versions of different parents are one service only if each names the parents of all others. Not of marathon-lb",
        example: "/blue,/green",
        bad: "blue",
        read: |_, value| match values::list(value).iter().all(|group| group.starts_with('/')) {
            true => Ok(()),
            false => Err("expected ids of groups, as in \"/blue,/green\"".to_owned()),
        },
    },
];

/// Labels that only marathon-lb's deployment tool reads or writes: known, and without effect here.
pub(super) const OF_TOOLS: &[&str] = &["APP_ID", "DEPLOYMENT_ALT_PORT", "DEPLOYMENT_COLOUR"];

/// The labels of a port, `HAPROXY_{n}_…`.
pub(super) const OF_PORT: &[Label<OfPort>] = &[
    Label {
        name: "VHOST",
        value: "comma list of hosts",
        default: "none",
        meaning: "requests for these hosts lead to this port; `*.example.com` stands for one label. Matched without the port and in any case",
        example: "shop.example.com,*.shop.example.com",
        bad: "shop example",
        read: PortLabels::read_vhosts,
    },
    Label {
        name: "PATH",
        value: "paths, separated by spaces; `-i` before them: in any case",
        default: "every path",
        meaning: "with `VHOST`: only these paths of the hosts; without: these paths of every host that nobody claims. A path ends at a `/` or at the end of the URL's path: `/api` is not `/apiary`",
        example: "-i /api /v2",
        bad: "api",
        read: PortLabels::read_paths,
    },
    Label {
        name: "BACKEND_WEIGHT",
        value: "a whole number",
        default: "0",
        meaning: "the order of the port's routes, not of its servers: of two routes that take the same request, the one with the higher weight wins, however long its path",
        example: "10",
        bad: "high",
        read: |port, value| {
            let weight = value.trim().parse().map_err(|_| "expected a whole number")?;
            port.weight = Some(weight);
            Ok(())
        },
    },
    Label {
        name: "REDIRECT_TO_HTTPS",
        value: "`true` or `false`",
        default: "false",
        meaning: "requests for its hosts and paths on the HTTP frontend are sent to https (301). A client that names the port of `haproxy.bind_http` in its `Host`, where that is not 80, is sent to the port of `haproxy.bind_https`; every other one to no port, which is 443, whatever those binds are: something before HAProxy may have it. Its service port and the app-id port are not touched. With `tls.certificates` empty, TLS has to end before this HAProxy (`haproxy.trusted_proxies`)",
        example: "true",
        bad: "maybe",
        read: |port, value| values::flag(value, &mut port.to_https),
    },
    Label {
        name: "USE_HSTS",
        value: "`true` or `false`",
        default: "false",
        meaning: "answers over TLS say `Strict-Transport-Security: max-age=15768000` (RFC 6797 forbids it elsewhere)",
        example: "true",
        bad: "on demand",
        read: |port, value| values::flag(value, &mut port.hsts),
    },
    Label {
        name: "HTTP_BACKEND_REDIR",
        value: "a path or URL",
        default: "none",
        meaning: "a request for `/` is sent there (301)",
        example: "/welcome",
        bad: "welcome page",
        read: |port, value| {
            port.root = Some(values::target(value)?);
            Ok(())
        },
    },
    Label {
        name: "HTTP_BACKEND_PROXYPASS_PATH",
        value: "a path",
        default: "none",
        meaning: "this prefix is taken off the path before the server sees it, and the server is told the vhost as its `Host`, where there is exactly one",
        example: "/shop",
        bad: "shop",
        read: |port, value| {
            port.strip = Some(values::inner_path(value)?);
            Ok(())
        },
    },
    Label {
        name: "HTTP_BACKEND_REVPROXY_PATH",
        value: "a path",
        default: "none",
        meaning: "put before the path of an answer's `Location` that leads to the server itself or to one of the vhosts, unless it is there already",
        example: "/shop",
        bad: "shop",
        read: |port, value| {
            port.location = Some(values::inner_path(value)?);
            Ok(())
        },
    },
    Label {
        name: "STICKY",
        value: "`true` or `false`",
        default: "false",
        meaning: "a client stays with its server, by the cookie `mesosphere_server_id`. Its value comes of the server's address and port, so that it is the same on every node",
        example: "true",
        bad: "sometimes",
        read: |port, value| values::flag(value, &mut port.sticky),
    },
    Label {
        name: "AUTH",
        value: "`realm:user:hash`",
        default: "nobody has to log in",
        meaning: "HTTP's basic authentication on every way in: both shared frontends, the service port, the app-id port. The hash is one of crypt(3) that takes less than 5 ms: DES, `$1$`, `$5$` and `$6$` up to 10000 rounds, `$2…$` up to a cost of 6, `$y$j75$` and `$y$j85$`. In tcp mode it cannot be done",
        example: "Shop:joe:$6$abcdefgh$yVfUwsw5T.JApa8POvClA1pQ5peiq97DUNyXCZN5IrF.BMSkiaLQ5kvpuEm/VQ1Tvh/KV2TcaWh8qinoW5dhA1",
        bad: "Shop:joe",
        read: |port, value| port.guard(values::login(value), |port, login| port.login = Some(login)),
    },
    Label {
        name: "BACKEND_NETWORK_ALLOWED_ACL",
        value: "addresses and networks, separated by spaces",
        default: "everybody",
        meaning: "only clients from there are let in, on every way in; others get 403, or in tcp mode no connection",
        example: "10.0.0.0/8 192.168.7.1 2001:db8::/32",
        bad: "10.0.0.0/33",
        read: |port, value| port.guard(values::networks(value), |port, allowed| port.allowed = allowed),
    },
    Label {
        name: "GROUP",
        value: "comma list",
        default: "`HAPROXY_GROUP`",
        meaning: "replaces `HAPROXY_GROUP` for this port",
        example: "external",
        bad: "",
        read: |port, value| {
            port.groups = Some(values::list(value));
            Ok(())
        },
    },
    Label {
        name: "ENABLED",
        value: "`true` or `false`",
        default: "true, or false with `labels.strict`",
        meaning: "whether the port is served",
        example: "true",
        bad: "perhaps",
        read: |port, value| {
            let mut enabled = false;
            let read = values::flag(value, &mut enabled);
            port.enabled = Some(enabled);
            read
        },
    },
    Label {
        name: "PORT",
        value: "1 to 65535",
        default: "the service port that Marathon gave",
        meaning: "the service port",
        example: "10104",
        bad: "abc",
        read: |port, value| {
            let number = value.trim().parse().ok().filter(|port| *port > 0);
            port.port = Some(number.ok_or("expected a port from 1 to 65535")?);
            Ok(())
        },
    },
    Label {
        name: "BIND_ADDR",
        value: "an address, or `*`",
        default: "`haproxy.bind_service_ports`",
        meaning: "the service port is listened on at this address only",
        example: "10.0.0.42",
        bad: "everywhere",
        read: |port, value| {
            port.address = values::address(value)?;
            Ok(())
        },
    },
    Label {
        name: "BIND_OPTIONS",
        value: "words of HAProxy's `bind`: `accept-proxy`, `alpn`, `backlog`, `ca-file`, `ciphers`, `ciphersuites`, `curves`, `defer-accept`, `ecdhe`, `force-tlsv12`, `force-tlsv13`, `maxconn`, `mss`, `no-…`, `prefer-client-ciphers`, `ssl-max-ver`, `ssl-min-ver`, `strict-sni`, `tfo`, `v4v6`, `v6only`, `verify`",
        default: "none",
        meaning: "how the service port listens. A `ca-file` is the name of a file inside `tls.dir`, or its path there. With `verify required ca-file …` clients have to show a certificate, on the service port and on the HTTPS frontend for the hosts of the port; those hosts answer 421 in clear, by the app-id port, and where the name of the TLS connection (SNI) is not the `Host`",
        example: "ciphers AES128+EECDH force-tlsv12",
        bad: "user root",
        read: |port, value| match values::bind_options(value) {
            Ok(options) => {
                port.bind_options = options;
                Ok(())
            }
            // What was to ask clients for certificates asks nobody.
            Err(expected) => {
                port.closed |= ["verify", "ca-file"].iter().any(|word| value.contains(word));
                Err(expected)
            }
        },
    },
    Label {
        name: "SSL_CERT",
        value: "the name of a PEM file inside `tls.dir`, or its path there",
        default: "none",
        meaning: "the service port speaks TLS with this certificate, and the hosts of the port have it on the HTTPS frontend, chosen by the name that the client asks for (SNI). Where it cannot be used, the service port is not listened on",
        example: "shop.pem",
        bad: "/etc/shadow",
        read: |port, value| {
            port.tls = true;
            port.certificate = Some(values::file(value)?);
            Ok(())
        },
    },
    Label {
        name: "MODE",
        value: "`http` or `tcp`",
        default: "`http` where a host or path leads to the port or its own health check is HTTP, else `tcp`",
        meaning: "whether requests are understood, or bytes passed on",
        example: "http",
        bad: "udp",
        read: |port, value| {
            port.mode = Some(match value.trim().to_ascii_lowercase().as_str() {
                "http" => Mode::Http,
                "tcp" => Mode::Tcp,
                _ => return Err("expected http or tcp".to_owned()),
            });
            Ok(())
        },
    },
    Label {
        name: "BALANCE",
        value: "`roundrobin`, `static-rr`, `leastconn`, `first`, `source`, `random`, `random(N)`, `uri` or `hdr(NAME)`",
        default: "`roundrobin`",
        meaning: "which server gets the next request (or connection)",
        example: "leastconn",
        bad: "fastest",
        read: |port, value| {
            port.balance = Some(values::balance(value)?);
            Ok(())
        },
    },
    Label {
        name: "BACKEND_PROTO",
        value: "`h2` or `https`",
        default: "HTTP/1.1 in clear",
        meaning: "what the servers speak: HTTP/2 in clear, or TLS, verified by `tls.ca` where that is set",
        example: "h2",
        bad: "spdy",
        read: |port, value| {
            port.protocol = Some(values::protocol(value)?);
            Ok(())
        },
    },
    Label {
        name: "CHECKS",
        value: "`marathon`, `haproxy` or `both`",
        default: "`labels.checks`",
        meaning: "whose word on the health of its tasks counts. HAProxy's checks are those of the app for this port: HTTP by their path, HTTPS over TLS, TCP by connecting; for a COMMAND, Marathon's word counts",
        example: "both",
        bad: "mesos",
        read: |port, value| {
            port.checks = Some(match value.trim().to_ascii_lowercase().as_str() {
                "marathon" => Checks::Marathon,
                "haproxy" => Checks::Haproxy,
                "both" => Checks::Both,
                _ => return Err("expected marathon, haproxy or both".to_owned()),
            });
            Ok(())
        },
    },
    Label {
        name: "BACKEND_HEALTHCHECK_PORT_INDEX",
        value: "the index of a port; -1 is the last",
        default: "the port itself",
        meaning: "the health check of another port of the app counts for this one: where that is HTTP, so is the mode",
        example: "1",
        bad: "first",
        read: |port, value| {
            port.health_index = Some(value.trim().parse().map_err(|_| "expected the index of a port")?);
            Ok(())
        },
    },
];

/// The label that a name comes nearest to, in full.
pub(super) fn nearest(name: &str) -> Option<String> {
    let rest = name.strip_prefix("HAPROXY_").unwrap_or(name);
    let word = rest.trim_start_matches(|c: char| c.is_ascii_digit()).trim_start_matches('_');
    let indexed = word.len() < rest.len();
    let score = |name: &'static str, index, own: bool| {
        (strsim::jaro_winkler(name, word) - if own { 0.0 } else { 0.01 }, name, index)
    };
    let of_app = OF_APP.iter().map(|label| score(label.name, "", !indexed));
    let known = of_app.chain(OF_PORT.iter().map(|label| score(label.name, "{n}_", indexed)));
    let (score, name, index) = known.max_by(|one, other| one.0.total_cmp(&other.0))?;
    (score > 0.8).then(|| format!("HAPROXY_{index}{name}"))
}
