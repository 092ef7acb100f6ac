//! Values of labels, parsed into what cannot do harm; each error says what is expected.

use std::net::IpAddr;
use std::path::Path;

use ipnet::IpNet;

use crate::model::{Login, crypt::check_hash};
use crate::services::criterion;

/// The algorithms that need no argument (configuration manual, section 4.2, `balance`).
const BALANCE: [&str; 7] = ["roundrobin", "static-rr", "leastconn", "first", "source", "random", "uri"];

/// What a label guards a port by; more addresses than any label needs.
const NETWORKS_MAX: usize = 500;

/// Items between commas, trimmed.
pub(super) fn list(value: &str) -> Vec<String> {
    value.split(',').map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect()
}

/// One word.
pub(super) fn name(value: &str) -> Result<String, String> {
    let value = value.trim();
    let known = |c: char| c.is_ascii_alphanumeric() || "/-._".contains(c);
    if value.is_empty() || !value.chars().all(known) {
        return Err("expected a name of letters, digits and /-._".to_owned());
    }
    Ok(value.to_owned())
}

/// A date and time, as text that sorts by time.
pub(super) fn date(value: &str) -> Result<String, String> {
    let value = value.trim();
    let day = value.get(..10).and_then(|day| day.parse::<jiff::civil::Date>().ok());
    if day.is_none() {
        return Err("expected a date and time like 2024-01-31T12:00:00".to_owned());
    }
    Ok(value.replacen(' ', "T", 1))
}

/// marathon-lb's booleans: true, t, yes, y in any case; all else is false, and told where it does not look like it.
pub(super) fn flag(value: &str, flag: &mut bool) -> Result<(), String> {
    match value.trim().to_ascii_lowercase().as_str() {
        "true" | "t" | "yes" | "y" => *flag = true,
        "false" | "f" | "no" | "n" | "0" | "" => *flag = false,
        _ => {
            *flag = false;
            return Err("expected true or false (t, f, yes, no, y, n); it counts as false".to_owned());
        }
    }
    Ok(())
}

/// An algorithm of `balance`.
pub(in crate::services) fn balance(value: &str) -> Result<String, String> {
    let value = value.trim();
    let lower = value.to_ascii_lowercase();
    let argument = |name: &str| value.get(name.len()..)?.strip_prefix('(')?.strip_suffix(')');
    let known = BALANCE.contains(&lower.as_str())
        || (lower.starts_with("random(")
            && argument("random").is_some_and(|draws| draws.parse::<u8>().is_ok_and(|draws| draws > 0)));
    if known {
        return Ok(lower);
    }
    let token = |name: &&str| {
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
    };
    match argument("hdr").filter(|_| lower.starts_with("hdr(")).filter(token) {
        Some(header) => Ok(format!("hdr({header})")),
        None => Err(format!("expected one of {}, random(N), hdr(NAME)", BALANCE.join(", "))),
    }
}

/// What servers speak.
pub(super) fn protocol(value: &str) -> Result<super::Speaks, String> {
    match value.trim().to_ascii_lowercase().as_str() {
        "h2" => Ok(super::Speaks::H2),
        "https" => Ok(super::Speaks::Https),
        _ => Err("expected h2 or https".to_owned()),
    }
}

/// A path that is more than `/`.
pub(super) fn inner_path(value: &str) -> Result<String, String> {
    let path = criterion::path(value)?;
    if path.is_empty() {
        return Err("expected a path longer than \"/\"".to_owned());
    }
    Ok(path)
}

/// Where a client is sent: a path or a URL, as a value of a map.
pub(super) fn target(value: &str) -> Result<String, String> {
    let value = value.trim();
    let known = |c: char| c.is_ascii_alphanumeric() || "/-._~%+=@!,:*$&()?[]".contains(c);
    let leads = ["/", "http://", "https://"].iter().any(|start| value.starts_with(start));
    if !leads || value.len() > 2048 || !value.chars().all(known) {
        return Err(
            "expected a path (\"/welcome\") or a URL with http:// or https://, without spaces, quotes, \"#\" and \";\""
                .to_owned(),
        );
    }
    Ok(value.to_owned())
}

/// Addresses and networks, as HAProxy's `src` takes them.
pub(super) fn networks(value: &str) -> Result<Vec<String>, String> {
    let expected = |word: &str| {
        format!(
            "{word:?} is neither an address nor a network; expected them as in \"10.0.0.0/8 192.168.7.1\""
        )
    };
    let parsed: Result<Vec<String>, String> = value
        .split_whitespace()
        .map(|word| {
            let address = word.parse::<IpAddr>().map(|address| address.to_string());
            let network = word.parse::<IpNet>().map(|network| network.to_string());
            address.ok().or(network.ok()).ok_or_else(|| expected(word))
        })
        .collect();
    match parsed {
        Ok(networks) if networks.is_empty() => Err(expected("")),
        Ok(networks) if networks.len() > NETWORKS_MAX => {
            Err(format!("expected at most {NETWORKS_MAX} addresses and networks"))
        }
        other => other,
    }
}

/// An address to listen on; `None` for every one.
pub(in crate::services) fn address(value: &str) -> Result<Option<String>, String> {
    match value.trim() {
        "*" => Ok(None),
        text => match text.trim_matches(['[', ']']).parse::<IpAddr>() {
            Ok(IpAddr::V6(address)) => Ok(Some(format!("[{address}]"))),
            Ok(IpAddr::V4(address)) => Ok(Some(address.to_string())),
            Err(_) => Err("expected an address, or *".to_owned()),
        },
    }
}

/// A word behind the address of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::services) enum BindWord {
    Word(String),
    /// A file inside `tls.dir`.
    File(String),
}

/// Words of `bind` that need no argument (configuration manual, section 5.1).
const BIND_FLAGS: [&str; 15] = [
    "accept-proxy",
    "defer-accept",
    "force-tlsv12",
    "force-tlsv13",
    "no-alpn",
    "no-sslv3",
    "no-tls-tickets",
    "no-tlsv10",
    "no-tlsv11",
    "no-tlsv12",
    "prefer-client-ciphers",
    "strict-sni",
    "tfo",
    "v4v6",
    "v6only",
];
/// Words of `bind` with one argument, a number or names with `:`, `,`, `-`, `+` and `!` between them.
const BIND_WITH_ARGUMENT: [&str; 11] = [
    "alpn",
    "backlog",
    "ciphers",
    "ciphersuites",
    "curves",
    "ecdhe",
    "maxconn",
    "mss",
    "ssl-max-ver",
    "ssl-min-ver",
    "verify",
];

/// The words behind the address of a listener: only those that change nothing but how it listens.
pub(in crate::services) fn bind_options(value: &str) -> Result<Vec<BindWord>, String> {
    let mut words = value.split_whitespace();
    let mut options = Vec::new();
    while let Some(word) = words.next() {
        if BIND_FLAGS.contains(&word) {
            options.push(BindWord::Word(word.to_owned()));
            continue;
        }
        if word != "ca-file" && !BIND_WITH_ARGUMENT.contains(&word) {
            return Err(format!(
                "{word:?} is not taken; expected words of {}, or with an argument {}, ca-file",
                BIND_FLAGS.join(", "),
                BIND_WITH_ARGUMENT.join(", ")
            ));
        }
        let argument = words.next().ok_or_else(|| format!("expected an argument behind {word}"))?;
        options.push(BindWord::Word(word.to_owned()));
        if word == "ca-file" {
            options.push(BindWord::File(file(argument)?));
            continue;
        }
        let known = |c: char| c.is_ascii_alphanumeric() || ":,-+!._/@=".contains(c);
        let versions = ["TLSv1.2", "TLSv1.3"];
        if !argument.chars().all(known)
            || (word.starts_with("ssl-") && !versions.contains(&argument))
            || (word == "verify" && !["none", "optional", "required"].contains(&argument))
        {
            return Err(format!(
                "{argument:?} is not taken behind {word}; expected what HAProxy's manual says, TLS 1.2 at least"
            ));
        }
        options.push(BindWord::Word(argument.to_owned()));
    }
    let asks = options.contains(&BindWord::Word("required".to_owned()));
    if asks && !options.iter().any(|word| matches!(word, BindWord::File(_))) {
        return Err("expected a ca-file beside \"verify required\"".to_owned());
    }
    Ok(options)
}

/// Words with the name of a file in place of its path inside `tls.dir`, which is how marathon-lb has it.
pub(in crate::services) fn named(value: &str, dir: Option<&Path>) -> String {
    let inside =
        |word: &str| dir.and_then(|dir| Path::new(word).strip_prefix(dir).ok()?.to_str().map(str::to_owned));
    let words = value.split_whitespace().map(|word| inside(word).unwrap_or_else(|| word.to_owned()));
    words.collect::<Vec<_>>().join(" ")
}

/// The name of a file inside `tls.dir`.
pub(in crate::services) fn file(value: &str) -> Result<String, String> {
    let name = value.trim();
    let known = |c: char| c.is_ascii_alphanumeric() || "._-+@".contains(c);
    if name.is_empty() || name.starts_with('.') || !name.chars().all(known) {
        return Err(
            "expected the name of a file inside tls.dir (or its path there), of letters, digits and ._-+@"
                .to_owned(),
        );
    }
    Ok(name.to_owned())
}

/// `realm:user:hash`. No error repeats the value.
pub(super) fn login(value: &str) -> Result<Login, String> {
    let parts: Vec<&str> = value.trim().split(':').collect();
    let [realm, user, hash] = parts[..] else {
        return Err("expected realm:user:hash, three parts".to_owned());
    };
    let word = |text: &str, most: usize| {
        !text.is_empty() && text.chars().count() <= most && !text.chars().any(char::is_control)
    };
    if !word(realm, 128) {
        return Err("expected a realm of 1 to 128 characters".to_owned());
    }
    if !word(user, 64) || user.chars().any(char::is_whitespace) {
        return Err("expected a user of 1 to 64 characters, without spaces".to_owned());
    }
    check_hash(hash)?;
    Ok(Login { realm: realm.to_owned(), user: user.to_owned(), hash: hash.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_inside_tls_dir_is_named_by_its_path_too() {
        let dir = Some(Path::new("/etc/tls/"));
        let file = |value: &str| file(&named(value, dir));
        for value in ["shop.pem", "/etc/tls/shop.pem", " /etc//tls/./shop.pem"] {
            assert_eq!(file(value).unwrap(), "shop.pem", "{value}");
        }
        for value in [
            "/etc/tls",
            "/etc/tls/",
            "/etc/tls/../shadow",
            "/etc/tls/sub/x.pem",
            "/etc/tlsx/x.pem",
            "/etc/x.pem",
            "/etc/tls/.x",
        ] {
            assert!(file(value).is_err(), "{value}");
        }
        assert!(super::file(&named("/etc/tls/shop.pem", None)).is_err());
        assert_eq!(named("verify required ca-file /etc/tls/x.pem", dir), "verify required ca-file x.pem");
    }

    #[test]
    fn addresses_and_networks_are_what_they_look_like() {
        assert_eq!(networks("10.0.0.0/8  ::1\t1.2.3.4").unwrap(), ["10.0.0.0/8", "::1", "1.2.3.4"]);
        for bad in ["", "10.0.0.0/33", "localhost", "10.0.0.1,10.0.0.2", "-f /etc/passwd", "10.0.0.1\nx"] {
            assert!(networks(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_a_listener_is_told_is_a_list_of_known_words() {
        let words = |text| bind_options(text).map(|words| words.len());
        assert_eq!(words("ciphers AES128+EECDH:!aNULL force-tlsv12 no-sslv3").unwrap(), 4);
        assert_eq!(words("verify required ca-file clients.pem").unwrap(), 4);
        for bad in [
            "process 1",
            "uid 0",
            "crt /etc/shadow",
            "ca-file /etc/shadow",
            "ca-file ../x",
            "ciphers",
            "ssl-min-ver TLSv1.0",
            "force-tlsv10",
            "verify maybe",
            "verify required",
            "alpn h2\nbackend x",
            "alpn \"h2\"",
        ] {
            let read = bind_options(bad);
            assert!(read.as_ref().is_err() || !format!("{read:?}").contains("\\n"), "{bad:?}");
        }
        assert!(bind_options("alpn h2\nbackend x").is_err());
    }

    #[test]
    fn an_algorithm_is_one_of_the_known_words() {
        for (text, word) in
            [("LeastConn", "leastconn"), ("random(2)", "random(2)"), ("hdr(X-User)", "hdr(X-User)")]
        {
            assert_eq!(balance(text).unwrap(), word);
        }
        for bad in ["fastest", "hdr()", "hdr(a b)", "random(0)", "roundrobin\nx", "url_param x", ""] {
            assert!(balance(bad).is_err(), "{bad:?}");
        }
    }
}
