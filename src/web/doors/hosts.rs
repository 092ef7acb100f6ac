//! The names that a server on loopback answers to.

use std::net::IpAddr;

use axum::extract::Request;
use http::header;

/// Whether a request was meant for this host: names loopback, or one of `names`. Every page that a browser on this host shows can
/// reach loopback, under a name of its own that its DNS made to point here; and it sends that name.
pub(super) fn is_for_us(request: &Request, names: &[String]) -> bool {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().ok(),
        _ => None,
    };
    let ours = |host: &str| is_ours(host, names);
    // A target with a host of its own outweighs the header (RFC 9112, section 3.2.2).
    host.is_some_and(ours) && request.uri().authority().is_none_or(|target| ours(target.as_str()))
}

/// Whether `host` or `host:port` is a name of loopback, or one of `names`.
fn is_ours(host: &str, names: &[String]) -> bool {
    let Ok(authority) = host.parse::<http::uri::Authority>() else { return false };
    if authority.as_str().contains('@') {
        return false;
    }
    let name = authority.host();
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost")
        || address.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
        || names.iter().any(|ours| ours.eq_ignore_ascii_case(name))
}
