//! The 53 templates of marathon-lb, and what becomes of each here. `docs/raw.md` is written from here.

/// A template.
#[derive(Debug)]
pub(in crate::services) struct Template {
    /// The name without `HAPROXY_`.
    pub(in crate::services) name: &'static str,
    /// True where a label of a port can say it too.
    pub(in crate::services) of_port: bool,
    /// True where its text has placeholders, and doubled braces.
    pub(in crate::services) formatted: bool,
    /// Where its lines go, or what does the same.
    #[cfg_attr(not(test), allow(dead_code, reason = "the page is written by a test"))]
    pub(in crate::services) here: &'static str,
}

const fn of_port(name: &'static str, here: &'static str) -> Template {
    Template { name, of_port: true, formatted: true, here }
}

const fn of_port_plain(name: &'static str, here: &'static str) -> Template {
    Template { name, of_port: true, formatted: false, here }
}

const fn global(name: &'static str, here: &'static str) -> Template {
    Template { name, of_port: false, formatted: false, here }
}

const fn global_formatted(name: &'static str, here: &'static str) -> Template {
    Template { name, of_port: false, formatted: true, here }
}

const HTTP: &str = "routes on the HTTP frontend: a changed criterion is used there, behind the maps; other lines are done in the backend for requests from there; logins are `AUTH`'s";
const HTTPS: &str = "the same on the HTTPS frontend";
const NO_MAP: &str = "nothing, as in marathon-lb where it is a label: the maps are Causeway's own";
const NO_GROUPS: &str = "nothing: one frontend for TLS has a certificate for each host (`SSL_CERT`), and asks for those of clients by host";
const NEVER: &str = "nothing: marathon-lb never uses it either";

/// All of them.
pub(in crate::services) const ALL: &[Template] = &[
    global(
        "HEAD",
        "`global` and `defaults` line by line, but for what has a key of its own; `listen stats` into the frontend of the statistics; other sections as they are",
    ),
    global("HTTP_FRONTEND_HEAD", "the HTTP frontend, before its routes; its `bind` is `haproxy.bind_http`"),
    global(
        "HTTP_FRONTEND_APPID_HEAD",
        "the app-id frontend, before its routes; its `bind` is `haproxy.bind_app_id`",
    ),
    global_formatted(
        "HTTPS_FRONTEND_HEAD",
        "the HTTPS frontend, before its routes; its `bind` is `haproxy.bind_https`, and more words of it are taken over; certificates are `tls.certificates`",
    ),
    global("HTTPS_GROUPED_FRONTEND_HEAD", NO_GROUPS),
    global_formatted("HTTPS_GROUPED_VHOST_FRONTEND_ACL", NO_GROUPS),
    global_formatted("HTTPS_GROUPED_VHOST_BACKEND_HEAD", NO_GROUPS),
    global_formatted("HTTPS_GROUPED_VHOST_FRONTEND_HEAD", NO_GROUPS),
    global(
        "HTTP_BACKEND_ACL_ALLOW_DENY",
        "what keeps out who is not in `BACKEND_NETWORK_ALLOWED_ACL`, in http mode",
    ),
    global("TCP_BACKEND_ACL_ALLOW_DENY", "the same in tcp mode"),
    global_formatted("HTTP_BACKEND_REDIR", "instead of the redirect of `HTTP_BACKEND_REDIR`, in the backend"),
    of_port(
        "USERLIST_HEAD",
        "more users and groups in the user list of `AUTH`, `user_{backend}`; their hashes are looked at as `AUTH`'s is",
    ),
    of_port(
        "FRONTEND_HEAD",
        "a frontend of its own for the service port; words behind the address are those of `BIND_OPTIONS`",
    ),
    of_port("FRONTEND_BACKEND_GLUE", "the same frontend: where it leads, always to its own backend"),
    of_port(
        "BACKEND_HEAD",
        "the backend; `balance` as in `BALANCE`, or as it stands; `default-server` into each server's line",
    ),
    of_port_plain(
        "BACKEND_HSTS_OPTIONS",
        "the backend, with `USE_HSTS`, instead of the header that Causeway sets",
    ),
    of_port_plain(
        "BACKEND_HTTP_OPTIONS",
        "the backend, in http mode; `X-Forwarded-For`, `-Port` and `-Proto` are set in any case",
    ),
    of_port_plain(
        "BACKEND_STICKY_OPTIONS",
        "the backend, with `STICKY`; a cookie has values of its own for each task (`dynamic`)",
    ),
    of_port(
        "HTTP_BACKEND_PROXYPASS_GLUE",
        "the backend, with `HTTP_BACKEND_PROXYPASS_PATH`, instead of what Causeway does for it; `reqirep` of the default stands for that",
    ),
    of_port(
        "HTTP_BACKEND_REVPROXY_GLUE",
        "the backend, with `HTTP_BACKEND_REVPROXY_PATH`, likewise; `rspirep` of the default stands for it",
    ),
    of_port(
        "HTTP_BACKEND_NETWORK_ALLOWED_ACL",
        "which clients are the ACL `network_allowed`, with `BACKEND_NETWORK_ALLOWED_ACL` in http mode",
    ),
    of_port("TCP_BACKEND_NETWORK_ALLOWED_ACL", "the same in tcp mode"),
    of_port("BACKEND_HTTP_HEALTHCHECK_OPTIONS", "the backend, in http mode, where HAProxy checks (`CHECKS`)"),
    of_port("BACKEND_TCP_HEALTHCHECK_OPTIONS", "the same in tcp mode"),
    of_port(
        "BACKEND_SERVER_HTTP_HEALTHCHECK_OPTIONS",
        "each server's line, in http mode, instead of Causeway's words for checks, where HAProxy checks (`CHECKS`)",
    ),
    of_port("BACKEND_SERVER_TCP_HEALTHCHECK_OPTIONS", "the same in tcp mode"),
    of_port(
        "BACKEND_SERVER_OPTIONS",
        "more words in each server's line; its name and its address are Causeway's",
    ),
    of_port(
        "BACKEND_REDIRECT_HTTP_TO_HTTPS",
        "the backend, for requests from the HTTP frontend, with `REDIRECT_TO_HTTPS`, instead of its redirect",
    ),
    of_port("BACKEND_REDIRECT_HTTP_TO_HTTPS_WITH_PATH", "the same with `PATH`"),
    of_port("HTTP_FRONTEND_ACL", HTTP),
    of_port("HTTP_FRONTEND_ACL_WITH_AUTH", HTTP),
    of_port("HTTP_FRONTEND_ACL_WITH_PATH", HTTP),
    of_port("HTTP_FRONTEND_ACL_WITH_AUTH_AND_PATH", HTTP),
    of_port("HTTP_FRONTEND_ACL_ONLY", HTTP),
    of_port("HTTP_FRONTEND_ACL_ONLY_WITH_PATH", HTTP),
    of_port("HTTP_FRONTEND_ACL_ONLY_WITH_PATH_AND_AUTH", HTTP),
    of_port("HTTP_FRONTEND_ROUTING_ONLY", HTTP),
    of_port("HTTP_FRONTEND_ROUTING_ONLY_WITH_AUTH", HTTP),
    of_port("HTTP_FRONTEND_ROUTING_ONLY_WITH_PATH", HTTP),
    of_port("HTTP_FRONTEND_ROUTING_ONLY_WITH_PATH_AND_AUTH", HTTP),
    of_port("HTTPS_FRONTEND_ACL", HTTPS),
    of_port("HTTPS_FRONTEND_ACL_WITH_AUTH", HTTPS),
    of_port("HTTPS_FRONTEND_ACL_WITH_PATH", HTTPS),
    of_port("HTTPS_FRONTEND_ACL_WITH_AUTH_AND_PATH", HTTPS),
    of_port("HTTPS_FRONTEND_ACL_ONLY_WITH_PATH", HTTPS),
    of_port("HTTP_FRONTEND_APPID_ACL", "the same on the app-id frontend"),
    of_port("MAP_HTTP_FRONTEND_ACL", NO_MAP),
    of_port("MAP_HTTP_FRONTEND_ACL_ONLY", NO_MAP),
    of_port("MAP_HTTP_FRONTEND_APPID_ACL", NO_MAP),
    of_port("MAP_HTTPS_FRONTEND_ACL", NO_MAP),
    global("HTTPS_FRONTEND_ROUTING_ONLY_WITH_PATH_AND_AUTH", NEVER),
    global("HTTPS_FRONTEND_AUTH_ACL_ONLY", NEVER),
    global("HTTPS_FRONTEND_AUTH_REQUEST_ONLY", NEVER),
];

/// A template by its name without `HAPROXY_`.
pub(in crate::services) fn find(name: &str) -> Option<&'static Template> {
    ALL.iter().find(|template| template.name == name)
}
