//! HAProxy's configuration as it may be shown: without the secrets in it. The template, labels and rules may hold some.

use std::borrow::Cow;

/// What stands where a secret was.
const MASK: &str = "(not shown)";
/// Words behind which the next word is a secret (configuration manual: `user` of a userlist, 3.4).
const SECRET_NEXT: [&str; 3] = ["password", "insecure-password", "secret"];
/// Headers whose value is a secret.
const SECRET_HEADERS: [&str; 4] = ["authorization", "proxy-authorization", "x-api-key", "x-auth-token"];

/// A configuration, or a difference of two, as people may see it.
#[must_use]
pub fn without_secrets(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        shown.push_str(&masked_line(line));
    }
    shown
}

fn masked_line(line: &str) -> Cow<'_, str> {
    let lower = line.to_ascii_lowercase();
    let words = ["password", "secret", "auth", "x-api-key", "://"];
    if !words.iter().any(|word| lower.contains(word)) {
        return Cow::Borrowed(line);
    }
    let mut shown = String::with_capacity(line.len());
    // Everything behind a header that holds a secret is its value.
    let (mut hide_next, mut hide_rest, mut of_stats) = (false, false, false);
    for piece in line.split_inclusive([' ', '\t', '\n']) {
        let word = piece.trim_end();
        let space = &piece[word.len()..];
        let plain = word.trim_matches(['"', '\'', ',']).to_ascii_lowercase();
        if word.is_empty() {
            shown.push_str(space);
            continue;
        }
        if hide_rest || std::mem::take(&mut hide_next) {
            shown.push_str(MASK);
        } else {
            shown.push_str(&without_userinfo(word));
            // `stats auth user:password`; `http-request auth` has no secret.
            hide_next = SECRET_NEXT.contains(&plain.as_str()) || (of_stats && plain == "auth");
            hide_rest = SECRET_HEADERS.contains(&plain.trim_end_matches(':'));
        }
        of_stats = plain == "stats";
        shown.push_str(space);
    }
    Cow::Owned(shown)
}

/// A URL without its user and password.
fn without_userinfo(word: &str) -> Cow<'_, str> {
    let masked = word.split_once("://").and_then(|(scheme, rest)| {
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let (_, host) = authority.rsplit_once('@')?;
        Some(format!("{scheme}://{MASK}@{host}{path}"))
    });
    masked.map_or(Cow::Borrowed(word), Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_and_nothing_else_is() {
        for (line, expected) in [
            ("    user admin password $5$x$abc", "    user admin password (not shown)"),
            (
                "  user admin  insecure-password  hunter2 # x",
                "  user admin  insecure-password  (not shown) # x",
            ),
            ("    stats auth admin:hunter2", "    stats auth (not shown)"),
            (
                "    http-request set-header Authorization \"Basic aHVudGVyMg==\"",
                "    http-request set-header Authorization (not shown) (not shown)",
            ),
            ("    http-check send hdr X-Api-Key abc", "    http-check send hdr X-Api-Key (not shown)"),
            (
                "    redirect location https://u:p@x.example.com/a",
                "    redirect location https://(not shown)@x.example.com/a",
            ),
            (
                "    redirect location https://x.example.com/a@b",
                "    redirect location https://x.example.com/a@b",
            ),
            ("    server slot1 10.0.0.1:80 weight 5", "    server slot1 10.0.0.1:80 weight 5"),
            (
                "    http-request auth realm x if !{ http_auth(users_a) }",
                "    http-request auth realm x if !{ http_auth(users_a) }",
            ),
            ("backend h_key_0 from http", "backend h_key_0 from http"),
        ] {
            assert_eq!(without_secrets(&format!("{line}\n")), format!("{expected}\n"));
        }
    }
}
