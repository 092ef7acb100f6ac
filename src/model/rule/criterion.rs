//! Typed criteria: what a request has to look like, parsed into what cannot do harm.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::acl::quoted;

/// One thing that a request has to have. The texts are as they were written until [`Criterion::parsed`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Criterion {
    /// The host, or `*.parent` for one label below it.
    Host(String),
    /// A path prefix; it ends at a `/` or at the end of the URL's path.
    Path(String),
    /// The path, exactly.
    PathExact(String),
    /// A header.
    Header(HeaderCriterion),
    /// The method, in capitals.
    Method(String),
    /// The client's address: a network (`10.0.0.0/8`), or one address.
    Source(String),
}

/// A header that a request has to have.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HeaderCriterion {
    /// Its name.
    pub name: String,
    /// Its value, whatever its case; not set: any value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

impl Criterion {
    /// The same criterion with its value checked and in its one form: hosts in lower case, a path prefix without the `/`
    /// at its end.
    ///
    /// # Errors
    /// Which value cannot be used, and what is expected.
    pub fn parsed(&self) -> Result<Self, String> {
        Ok(match self {
            Self::Host(text) => Self::Host(host(text)?),
            Self::Path(text) => Self::Path(path(text)?),
            Self::PathExact(text) => {
                path(text)?;
                Self::PathExact(text.trim().to_owned())
            }
            Self::Header(header) => Self::Header(header.parsed()?),
            Self::Method(text) => Self::Method(method(text)?),
            Self::Source(text) => Self::Source(network(text)?),
        })
    }

    /// The name of its kind, as rules write it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Host(_) => "host",
            Self::Path(_) => "path",
            Self::PathExact(_) => "path_exact",
            Self::Header(_) => "header",
            Self::Method(_) => "method",
            Self::Source(_) => "source",
        }
    }

    /// The criterion of an `acl` line that comes closest; the value has been parsed.
    #[must_use]
    pub fn acl(&self) -> String {
        let (start, value) = self.acl_parts();
        if value.is_empty() { start } else { format!("{start} {value}") }
    }

    /// Fetch and flags, and the pattern: criteria with an equal start can stand on one line.
    fn acl_parts(&self) -> (String, String) {
        let start = |text: &str| text.to_owned();
        match self {
            Self::Host(host) => match host.strip_prefix('*') {
                Some(parent) => (start("hdr_end(host) -i"), quoted(parent)),
                None => (start("hdr(host) -i"), quoted(host)),
            },
            Self::Path(path) if path.is_empty() => (start("path_beg"), start("/")),
            Self::Path(path) => (start("path_beg"), quoted(path)),
            Self::PathExact(path) => (start("path"), quoted(path)),
            Self::Header(HeaderCriterion { name, value: Some(value) }) => {
                (format!("hdr({name}) -i"), quoted(value))
            }
            Self::Header(HeaderCriterion { name, value: None }) => {
                (format!("hdr({name}) -m found"), String::new())
            }
            Self::Method(method) => (start("method"), quoted(method)),
            Self::Source(network) => (start("src"), quoted(network)),
        }
    }
}

/// One criterion of an `acl` line that holds when one of these does; `None` where they ask different things.
pub(super) fn any_acl(criteria: &[Criterion]) -> Option<String> {
    let (start, first) = criteria.first()?.acl_parts();
    let mut text = format!("{start} {first}");
    for criterion in &criteria[1..] {
        let (other, value) = criterion.acl_parts();
        if other != start || value.is_empty() {
            return None;
        }
        text.push(' ');
        text.push_str(&value);
    }
    Some(text)
}

impl HeaderCriterion {
    fn parsed(&self) -> Result<Self, String> {
        // RFC 9110, 5.1: a token; fewer are allowed here, since HAProxy writes the name between brackets.
        let known = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let name = self.name.trim();
        if name.is_empty() || name.len() > 64 || !name.chars().all(known) {
            return Err(format!("{name:?} is not the name of a header; expected one like \"X-Team\""));
        }
        if let Some(value) = &self.value {
            let known = |c: char| c.is_ascii_graphic() || c == ' ';
            if value.is_empty()
                || value.len() > 256
                || !value.chars().all(known)
                || value.contains(['\'', '$', '`'])
                // HAProxy would take it for a flag, of which one reads a file (configuration manual, 7.1).
                || value.starts_with('-')
            {
                return Err(format!(
                    "{value:?} is no value of a header that can be asked for; expected printable ASCII that does not begin with \"-\", \
                     without \"'\", \"`\" and \"$\""
                ));
            }
        }
        Ok(Self { name: name.to_owned(), value: self.value.clone() })
    }
}

/// A host in lower case, exact or `*.parent`.
///
/// # Errors
/// It is not one.
pub fn host(text: &str) -> Result<String, String> {
    let host = text.trim().to_ascii_lowercase();
    let name = host.strip_prefix("*.").unwrap_or(&host);
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if name.is_empty()
        || host.len() > 253
        || !name.chars().all(known)
        || name.starts_with('.')
        || name.ends_with('.')
    {
        return Err(format!(
            "{text:?} is not a host name; expected one like \"shop.example.com\" or \"*.example.com\" (other scripts as xn--…)"
        ));
    }
    Ok(host)
}

/// A path prefix without the `/` at its end; empty stands for every path.
///
/// # Errors
/// It is not one.
pub fn path(text: &str) -> Result<String, String> {
    let path = text.trim();
    let known = |c: char| c.is_ascii_alphanumeric() || "/-._~%+=@!,:*$&()".contains(c);
    if !path.starts_with('/') || path.len() > 1024 || !path.chars().all(known) {
        return Err(format!(
            "{text:?} is not a path; expected one that begins with \"/\", without spaces, as in \"/api\""
        ));
    }
    Ok(path.trim_end_matches('/').to_owned())
}

fn method(text: &str) -> Result<String, String> {
    let method = text.trim().to_ascii_uppercase();
    if method.is_empty() || method.len() > 32 || !method.chars().all(|c| c.is_ascii_uppercase() || c == '-') {
        return Err(format!("{text:?} is not a method; expected one like \"GET\""));
    }
    Ok(method)
}

fn network(text: &str) -> Result<String, String> {
    let text = text.trim();
    let wrong =
        || format!("{text:?} is not a network; expected one like \"10.0.0.0/8\" or \"2001:db8::/32\"");
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| wrong())?;
    let most: u8 = if address.is_ipv4() { 32 } else { 128 };
    match bits {
        None => Ok(address.to_string()),
        Some(bits) if !bits.is_empty() && bits.chars().all(|c| c.is_ascii_digit()) => {
            let bits = bits.parse::<u8>().ok().filter(|bits| *bits <= most).ok_or_else(wrong)?;
            Ok(format!("{address}/{bits}"))
        }
        Some(_) => Err(wrong()),
    }
}
