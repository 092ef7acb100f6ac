//! What a line may begin with, section by section, and the words of a server (configuration manual of HAProxy 2.6, sections
//! 3.4, 4.1 and 5.2). What reads files, runs programs, names servers or belongs to everybody is on none of these lists.

use super::line::Line;

/// A section that text can be for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    /// The frontend of one service's port.
    Frontend,
    /// The backend of one service.
    Backend,
    /// What a line of a shared frontend may be, to be done in the backend.
    Moved,
}

const BOTH: &[&str] = &[
    "acl",
    "compression",
    "description",
    "errorloc",
    "errorloc302",
    "errorloc303",
    "filter",
    "force-persist",
    "http-after-response",
    "http-error",
    "http-request",
    "http-response",
    "ignore-persist",
    "log",
    "log-tag",
    "option",
    "redirect",
    "stick-table",
    "tcp-request",
    "timeout",
];
const FRONTEND: &[&str] = &[
    "backlog",
    "capture",
    "clitcpka-cnt",
    "clitcpka-idle",
    "clitcpka-intvl",
    "declare",
    "default_backend",
    "error-log-format",
    "log-format",
    "log-format-sd",
    "maxconn",
    "monitor",
    "monitor-uri",
    "rate-limit",
    "unique-id-format",
    "unique-id-header",
    "use_backend",
];
const BACKEND: &[&str] = &[
    "balance",
    "cookie",
    "dynamic-cookie-key",
    "fullconn",
    "hash-balance-factor",
    "hash-type",
    "http-check",
    "http-reuse",
    "http-send-name-header",
    "max-keep-alive-queue",
    "persist",
    "retries",
    "retry-on",
    "source",
    "srvtcpka-cnt",
    "srvtcpka-idle",
    "srvtcpka-intvl",
    "stick",
    "tcp-check",
    "tcp-response",
];
const MOVED: &[&str] = &["http-after-response", "http-request", "http-response", "redirect"];
/// What older versions of HAProxy took, and what says the same now.
const GONE: &[(&str, &str)] = &[
    ("rspadd", "http-response add-header"),
    ("rspirep", "http-response replace-header"),
    ("rsprep", "http-response replace-header"),
    ("rspdel", "http-response del-header"),
    ("rspidel", "http-response del-header"),
    ("rspideny", "http-response deny"),
    ("reqadd", "http-request add-header"),
    ("reqirep", "http-request replace-path, replace-uri or replace-header"),
    ("reqrep", "http-request replace-path, replace-uri or replace-header"),
    ("reqdel", "http-request del-header"),
    ("reqidel", "http-request del-header"),
    ("reqideny", "http-request deny"),
    ("block", "http-request deny"),
    ("appsession", "stick"),
    ("server", "HAPROXY_{n}_BACKEND_SERVER_OPTIONS; servers come of the tasks"),
    ("server-template", "HAPROXY_{n}_BACKEND_SERVER_OPTIONS; servers come of the tasks"),
    ("errorfile", "http-error with a string"),
];

/// Refuses a line that does not begin with a word of its section.
///
/// # Errors
/// What is wrong, with its place.
pub(super) fn check(section: Section, line: &Line) -> Result<(), String> {
    let first = match line.first() {
        "no" | "default" => line.words.get(1).map_or("", String::as_str),
        first => first,
    };
    let (listed, name) = match section {
        Section::Frontend => ([BOTH, FRONTEND], "a frontend"),
        Section::Backend => ([BOTH, BACKEND], "a backend"),
        Section::Moved => ([MOVED, &[]], "a frontend that many share"),
    };
    if listed.iter().any(|list| list.contains(&first)) {
        return Ok(());
    }
    Err(match GONE.iter().find(|(gone, _)| *gone == first) {
        Some((_, instead)) => line.refused(&format!("is not taken; use {instead}")),
        None => line.refused(&format!("does not begin with a word that is taken in {name}")),
    })
}

/// Words of a server without an argument.
const SERVER_FLAGS: &[&str] = &[
    "allow-0rtt",
    "backup",
    "check",
    "check-send-proxy",
    "check-ssl",
    "check-via-socks4",
    "force-sslv3",
    "force-tlsv10",
    "force-tlsv11",
    "force-tlsv12",
    "force-tlsv13",
    "no-backup",
    "no-check",
    "no-check-ssl",
    "no-send-proxy",
    "no-send-proxy-v2",
    "no-ssl",
    "no-ssl-reuse",
    "no-sslv3",
    "no-tls-tickets",
    "no-tlsv10",
    "no-tlsv11",
    "no-tlsv12",
    "no-tlsv13",
    "no-verifyhost",
    "non-stick",
    "send-proxy",
    "send-proxy-v2",
    "send-proxy-v2-ssl",
    "send-proxy-v2-ssl-cn",
    "ssl",
    "ssl-reuse",
    "stick",
    "tfo",
    "tls-tickets",
];
/// Words of a server with one.
const SERVER_WITH_ARGUMENT: &[&str] = &[
    "alpn",
    "check-alpn",
    "check-proto",
    "check-sni",
    "ciphers",
    "ciphersuites",
    "downinter",
    "error-limit",
    "fall",
    "fastinter",
    "inter",
    "log-proto",
    "max-reuse",
    "maxconn",
    "maxqueue",
    "minconn",
    "observe",
    "on-error",
    "on-marked-down",
    "on-marked-up",
    "pool-low-conn",
    "pool-max-conn",
    "pool-purge-delay",
    "port",
    "proto",
    "proxy-v2-options",
    "redir",
    "rise",
    "slowstart",
    "sni",
    "ssl-max-ver",
    "ssl-min-ver",
    "tcp-ut",
    "verify",
    "verifyhost",
    "ws",
];
/// Words of a server with the name of a file inside `tls.dir`.
const SERVER_FILES: &[&str] = &["ca-file", "crl-file", "crt"];

/// Takes the words of a server, each with a space before it. `file` makes the path of a name.
///
/// # Errors
/// The word that is not taken.
pub(super) fn server(
    words: &[String],
    line: &Line,
    file: impl Fn(&str) -> Result<String, String>,
) -> Result<String, String> {
    let mut taken = String::new();
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        let file_word = SERVER_FILES.contains(&word.as_str());
        if !file_word
            && !SERVER_FLAGS.contains(&word.as_str())
            && !SERVER_WITH_ARGUMENT.contains(&word.as_str())
        {
            let why = match word.as_str() {
                "weight" => "weights are set while HAProxy runs",
                "cookie" => "each task has a cookie of its own already, where HAPROXY_{n}_STICKY is true",
                _ => "it is not one that all servers of a backend can share",
            };
            return Err(line.refused(&format!("gives servers the word {word:?}, which is not taken: {why}")));
        }
        taken.push(' ');
        taken.push_str(word);
        if SERVER_FLAGS.contains(&word.as_str()) {
            continue;
        }
        let Some(argument) = rest.next() else {
            return Err(line.refused(&format!("gives servers {word:?} without a value")));
        };
        let argument = match file_word {
            true => {
                file(argument).map_err(|why| line.refused(&format!("names a file by {word:?}: {why}")))?
            }
            false => argument.clone(),
        };
        taken.push(' ');
        taken.push_str(&super::line::text(&[argument]));
    }
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services::raw::line::{lines, prove_harmless};

    /// What a section says to a text: the lines as HAProxy gets them, or why not.
    fn taken(section: Section, text: &str) -> Result<Vec<String>, String> {
        let lines = lines(text)?;
        lines.iter().try_for_each(|line| prove_harmless(line).and_then(|()| check(section, line)))?;
        Ok(lines.iter().map(Line::text).collect())
    }

    #[test]
    fn what_stays_in_its_section_is_taken_word_for_word() {
        for (section, text, read) in [
            (
                Section::Backend,
                "  http-request set-header X-A b # why\r\n\r\n  # nothing",
                "http-request set-header X-A b",
            ),
            (Section::Backend, "\ttimeout\tserver 5m", "timeout server 5m"),
            (Section::Backend, "no option forwardfor", "no option forwardfor"),
            (
                Section::Backend,
                r#"http-request set-header X "a b\"c'""#,
                r#"http-request set-header X "a b\"c'""#,
            ),
            (
                Section::Backend,
                r"http-request replace-path ^/(.*)\.x$ /\1",
                r"http-request replace-path '^/(.*)\.x$' '/\1'",
            ),
            (Section::Backend, r"http-request set-header X a\ b\x23", "http-request set-header X 'a b#'"),
            (Section::Backend, r#"http-request set-header X "/a$""#, "http-request set-header X '/a$'"),
            (
                Section::Backend,
                "http-request set-path %[path,regsub(^/mapped,/)]",
                "http-request set-path %[path,regsub(^/mapped,/)]",
            ),
            (Section::Backend, "log 10.0.0.1:514 local0", "log 10.0.0.1:514 local0"),
            (Section::Frontend, "capture request header Host len 32", "capture request header Host len 32"),
        ] {
            assert_eq!(taken(section, text).unwrap(), [read]);
        }
    }

    #[test]
    fn what_would_leave_its_section_or_reach_for_more_is_refused() {
        for (section, text, why) in [
            (Section::Backend, ".if 1", "dot"),
            (Section::Backend, "\".endif\"", "dot"),
            (Section::Backend, "'.notice' x", "dot"),
            (Section::Backend, "\\x2eif", "dot"),
            (Section::Backend, "backend other", "word that is taken in a backend"),
            (Section::Backend, "frontend other", "word that is taken in a backend"),
            (Section::Backend, "'global'", "word that is taken in a backend"),
            (Section::Backend, "program x", "word that is taken in a backend"),
            (Section::Backend, "no server x", "servers come of the tasks"),
            (Section::Backend, "lua-load /x", "word that is taken"),
            (Section::Backend, "stats enable", "word that is taken"),
            (Section::Backend, "bind :80", "word that is taken"),
            (Section::Frontend, "bind :80", "word that is taken in a frontend"),
            (Section::Frontend, "balance source", "word that is taken in a frontend"),
            (Section::Backend, "use-server x if TRUE", "word that is taken"),
            (Section::Backend, "errorfile 503 /x", "http-error"),
            (Section::Backend, "http-error status 503 errorfile /x", "reads a file"),
            (Section::Backend, "http-request return status 200 'file' /etc/passwd", "reads a file"),
            (Section::Backend, "http-request deny errorfiles x", "reads a file"),
            (Section::Backend, "acl x src -f /etc/passwd", "reads a file"),
            (Section::Backend, "acl x src \"-f\" /etc/passwd", "reads a file"),
            (Section::Backend, r"acl x src \x2df /etc/passwd", "reads a file"),
            (Section::Backend, "acl x path -M -f /x", "reads a file"),
            (Section::Backend, "http-request set-header X %[path,map(/x)]", "map"),
            (Section::Backend, "http-request set-header X %[path,map_str_int(/x)]", "map"),
            (Section::Backend, "http-request set-header X %[env(PATH)]", "environment"),
            (Section::Backend, "http-request set-header X \"$PATH\"", "environment"),
            (Section::Backend, "http-request set-header X \"${PATH}\"", "environment"),
            (Section::Backend, "http-request lua.x", "code"),
            (Section::Backend, "http-request use-service prometheus-exporter", "code"),
            (Section::Backend, "http-request set-map(maps/hosts.map) x y", "changes maps"),
            (Section::Backend, "http-request set-var(proc.x) int(1)", "variable"),
            (Section::Backend, "option external-check", "program"),
            (Section::Backend, "external-check command /bin/sh", "program"),
            (Section::Backend, "filter spoe config /x", "filter"),
            (Section::Backend, "log /dev/log local0", "logs to"),
            (Section::Backend, "reqirep ^x y", "http-request replace-path"),
            (Section::Backend, "acl x\u{a0}y path /", "not ASCII"),
            (Section::Backend, "acl\u{2028}x path /", "not ASCII"),
            (Section::Backend, "acl x\u{200b} path /", "not ASCII"),
            (Section::Backend, "acl x path /\rbackend y", "control"),
            (Section::Backend, "acl x path /\0", "control"),
            (Section::Backend, r"http-request set-header X a\nb", "end a line"),
            (Section::Backend, r"http-request set-header X a\x0ab", "printed"),
            (Section::Backend, "http-request set-header X 'a", "not closed"),
            (Section::Backend, "http-request set-header X \"a", "not closed"),
            (Section::Backend, "http-request set-header X a\\", "backslash"),
            (Section::Moved, "acl x path /", "frontend that many share"),
            (Section::Moved, "timeout client 1d", "frontend that many share"),
        ] {
            let refused = taken(section, text).unwrap_err();
            assert!(refused.contains(why) && refused.starts_with("line 1 "), "{text:?}: {refused}");
        }
    }

    #[test]
    fn the_words_of_servers_are_those_that_all_of_a_backend_can_share() {
        let line = Line { number: 1, words: vec!["server".to_owned()] };
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let file = |name: &str| crate::services::raw::in_dir(name, Some(std::path::Path::new("/tls")));
        let of = |text: &str| server(&words(text), &line, file);
        assert_eq!(of("maxconn 10 send-proxy slowstart 5s").unwrap(), " maxconn 10 send-proxy slowstart 5s");
        assert_eq!(
            of("ssl verify required ca-file x.pem").unwrap(),
            " ssl verify required ca-file /tls/x.pem"
        );
        assert_eq!(of("ssl crt /tls/x.pem").unwrap(), " ssl crt /tls/x.pem");
        for (text, why) in [
            ("weight 5", "while HAProxy runs"),
            ("cookie x", "STICKY"),
            ("disabled", "share"),
            ("agent-check", "share"),
            ("maxconn", "without a value"),
            ("ca-file /etc/shadow", "tls.dir"),
            ("ca-file ../x", "tls.dir"),
        ] {
            assert!(of(text).unwrap_err().contains(why), "{text}");
        }
    }
}
