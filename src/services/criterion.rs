//! What a request has to look like, from text that a person or a label gave: parsed into what cannot do harm.

use crate::model::{RouteMatch, RuleRoute};

/// More words than any criterion needs; HAProxy's line takes 64.
const ACL_WORDS_MAX: usize = 60;

/// What reaches outside of the request, or changes it: the environment, code, keys, variables.
const FORBIDDEN: [&str; 4] = ["env(", "lua.", "set-var(", "jwt_verify("];

/// A host in lower case, exact or `*.parent`.
pub(super) fn host(text: &str) -> Result<String, String> {
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
pub(super) fn path(text: &str) -> Result<String, String> {
    let path = text.trim();
    let known = |c: char| c.is_ascii_alphanumeric() || "/-._~%+=@!,:*$&()".contains(c);
    if !path.starts_with('/') || path.len() > 1024 || !path.chars().all(known) {
        return Err(format!(
            "{text:?} is not a path; expected one that begins with \"/\", without spaces, as in \"/api\""
        ));
    }
    Ok(path.trim_end_matches('/').to_owned())
}

/// A route of host and path, of which at least one is given.
pub(super) fn host_path(host_text: Option<&str>, path_text: Option<&str>) -> Result<RouteMatch, String> {
    Ok(RouteMatch::HostPath {
        host: host_text.map(host).transpose()?,
        path: path_text.map(path).transpose()?.unwrap_or_default(),
        any_case: false,
    })
}

/// The criterion of a rule's route.
pub(super) fn of_rule(route: &RuleRoute) -> Result<RouteMatch, String> {
    match (&route.acl, &route.host, &route.path) {
        (Some(_), Some(_), _) | (Some(_), _, Some(_)) => {
            Err("a route of its rule has acl and host or path; it is one or the other".to_owned())
        }
        (Some(text), None, None) => acl(text).map(RouteMatch::Acl),
        (None, None, None) => Err("a route of its rule has neither host nor path nor acl".to_owned()),
        (None, host_text, path_text) => host_path(host_text.as_deref(), path_text.as_deref())
            .map_err(|error| format!("a route of its rule: {error}")),
    }
}

/// The text of one ACL criterion. It becomes the rest of an `acl` line, so it may not end that line, nor read a file, a
/// variable of the environment, a map or code (configuration manual, section 7.1).
fn acl(text: &str) -> Result<String, String> {
    let text = text.trim_matches(' ');
    let refused = |what: &str| Err(format!("the acl {text:?} of its rule is refused: {what}"));
    if text.is_empty() {
        return refused("it is empty");
    }
    if text.chars().any(|c| c.is_control() || (c.is_whitespace() && c != ' ')) {
        return refused("it holds a control character");
    }
    if text.contains(['$', '"', '\'', '\\', '`', '#']) {
        return refused("quotes, backslashes, \"$\" and \"#\" are not allowed");
    }
    let words: Vec<&str> = text.split(' ').filter(|word| !word.is_empty()).collect();
    if words.len() > ACL_WORDS_MAX {
        return refused("it has too many words");
    }
    let calls_map = |word: &str| {
        let after_name =
            |at: usize| word[at + 3..].trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_');
        word.match_indices("map").any(|(at, _)| after_name(at).starts_with('('))
    };
    let reads = |word: &&str| {
        let lower = word.to_ascii_lowercase();
        matches!(*word, "-f" | "-M") || FORBIDDEN.iter().any(|call| lower.contains(call)) || calls_map(&lower)
    };
    if words.iter().any(reads) {
        return refused("files, maps, keys, the environment and code may not be read, nor variables set");
    }
    Ok(words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_lowered_and_wildcards_stand_for_one_label() {
        assert_eq!(host("Shop.Example.com").unwrap(), "shop.example.com");
        assert_eq!(host("*.example.com").unwrap(), "*.example.com");
        for bad in ["", "a b", "a.*.com", "*", "a\nbackend x", "http://x", "x:80", ".x", "x.", "a;b", "a#b"] {
            assert!(host(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_path_begins_with_a_slash_and_loses_the_one_at_its_end() {
        assert_eq!(path("/api/").unwrap(), "/api");
        assert_eq!(path("/").unwrap(), "");
        for bad in ["api", "", "/a b", "/a\nb", "/a;b", "/a#b", "/a\\b", "/a\"b"] {
            assert!(path(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_acl_may_not_leave_its_line_or_read_anything() {
        assert_eq!(acl(" hdr(host) -i  example.com ").unwrap(), "hdr(host) -i example.com");
        assert_eq!(acl("path_beg -i /a /b").unwrap(), "path_beg -i /a /b");
        assert!(acl("hdr(host) -i maps.example.com").is_ok());
        assert_eq!(acl("hdr(x) -m sub y").unwrap(), "hdr(x) -m sub y");
        for bad in [
            "src -f /etc/shadow",
            "src \"$SECRET\"",
            "path -M -f x",
            "hdr(host) a\nbackend x",
            "hdr(host) a\r",
            "env(HOME) -m found",
            "path,map(/etc/passwd) x",
            "lua.f",
            "a\u{0}",
            "path $HOME",
            "path,map_str(x) y",
            "",
            "hdr(host),set-var(txn.backend) -m found",
            "path,unset-var(txn.x) -m found",
        ] {
            assert!(acl(bad).is_err(), "{bad:?}");
        }
        assert!(acl(&"a ".repeat(61)).is_err());
    }
}
