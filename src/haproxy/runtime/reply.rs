//! What HAProxy's words mean.

/// What HAProxy said to one command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It is done, or was so already.
    Done,
    /// HAProxy refused, in its words.
    Refused(String),
    /// Words that are not known here: look before deciding.
    Unknown(String),
}

/// How a line begins that says it is done. Recorded from 2.6.12 and 3.0.11; those about backends, which came with 3.4, are
/// from its management guide. Everything else that is done is done in silence.
const DONE: [&str; 13] = [
    "IP changed from '",
    "port changed from '",
    "no need to change the addr",
    "no need to change the port",
    "nothing changed",
    "New server registered.",
    "Server deleted.",
    "New version created: ",
    "Done.",
    "New backend registered.",
    "Backend published.",
    "Backend unpublished.",
    "Backend deleted.",
];

/// What a line holds that says no. Severity says the same of most, but not behind the master's socket, where it cannot be
/// asked for; and 2.6 gives an address or a port that it did not take as a warning beside what it did take.
const REFUSED: [&str; 37] = [
    "Already exists",
    "Backend does not support dynamic servers",
    "Backend is using a static LB",
    "Backend must",
    "Can't connect to the target CLI",
    "Can't find",
    "Empty weight string",
    "Failed.",
    "Health check was not configured",
    "Interrupted.",
    "Invalid addr",
    "Key not found",
    "Missing value for key",
    "No such ",
    "Only a backend",
    "Only servers in maintenance",
    "Permission denied",
    "Proxy is disabled",
    "Require ",
    "Server still has connections",
    "Unknown command",
    "Unknown map identifier",
    "Update for the current server address family",
    "Update to the addr family",
    "Usage: ",
    "Version number",
    "Wait delay expired",
    "Weight can only",
    "weight can only",
    "can't switch",
    "command is too big",
    "command line is too big",
    "entry not found",
    "expects ",
    "is not accepted for dynamic server",
    "problem converting port",
    "unknown keyword",
];

impl Reply {
    /// Reads an answer, with or without `set severity-output number`: silence is done, 0 to 3 are errors. The words of 4 to 7
    /// have to be known, since 2.6 gives `Invalid addr` as a warning and an unknown command as a remark.
    #[must_use]
    pub fn of(block: &str) -> Self {
        let block = block.trim();
        if block.is_empty() {
            return Self::Done;
        }
        let (severity, words) = severity(block);
        if severity.is_some_and(|severity| severity <= 3) || REFUSED.iter().any(|word| words.contains(word)) {
            return Self::Refused(words.to_owned());
        }
        // Warnings of a server's words may stand before the line that says it is there.
        let is_done = |part: &str| DONE.iter().any(|word| part.starts_with(word));
        match words.lines().last() {
            Some(last) if last.split(", ").all(is_done) => Self::Done,
            _ => Self::Unknown(words.to_owned()),
        }
    }

    /// True where what was to go or to be changed is not there (`del map`, `set map`, `del server`).
    #[must_use]
    pub fn is_absent(&self) -> bool {
        let Self::Refused(words) = self else { return false };
        ["entry not found", "Key not found", "No such server"].iter().any(|word| words.contains(word))
    }
}

/// The severity that stands before an answer, and the words behind it.
pub(super) fn severity(block: &str) -> (Option<u8>, &str) {
    let split = block.strip_prefix('[').and_then(|rest| rest.split_once("]: "));
    match split.and_then(|(number, words)| Some((number.parse().ok()?, words))) {
        Some((number @ 0..=7, words)) => (Some(number), words),
        _ => (None, block),
    }
}

/// The answers in a text: each ends with an empty line.
pub(super) fn blocks(answer: &str) -> impl Iterator<Item = String> {
    let mut lines = answer.lines();
    std::iter::from_fn(move || {
        let mut block = String::new();
        loop {
            match lines.next() {
                None => return (!block.is_empty()).then(|| std::mem::take(&mut block)),
                Some("") => return Some(std::mem::take(&mut block)),
                Some(line) => {
                    block.push_str(line);
                    block.push('\n');
                }
            }
        }
    })
}

/// Whether 2.6 ends some answers to this command without an empty line, so that it has to be the last of its line.
pub(super) fn ends_unmarked(command: &str) -> bool {
    command.starts_with("add server ") || command.starts_with("del server ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(words: &str) -> bool {
        Reply::of(words) == Reply::Done
    }

    fn refused(words: &str) -> bool {
        matches!(Reply::of(words), Reply::Refused(_))
    }

    #[test]
    fn answers_are_told_apart_by_their_empty_lines_and_read_by_severity() {
        let answer = "\nName: HAProxy\nPid: 7\n\n\n[3]: No such server.\n\n[4]: no need to change the addr\n\n\
                      [6]: Unknown command, but maybe\n  show\n\n?\n\n";
        let replies: Vec<Reply> = blocks(answer).skip(2).map(|block| Reply::of(&block)).collect();
        assert_eq!(replies[0], Reply::Done);
        assert_eq!(replies[1], Reply::Refused("No such server.".to_owned()));
        assert_eq!(replies[2], Reply::Done);
        assert!(matches!(replies[3], Reply::Refused(_)) && matches!(replies[4], Reply::Unknown(_)));
        assert_eq!(replies.len(), 5);
    }

    #[test]
    fn an_address_or_port_that_was_not_taken_is_refused_although_it_is_only_a_warning() {
        let by = "by 'stats socket command'";
        assert!(done(&format!(
            "[4]: IP changed from '127.0.0.1' to '127.0.0.2', port changed from '1' to '7' {by}"
        )));
        assert!(done(&format!("[4]: no need to change the addr, no need to change the port {by}")));
        assert!(done("[4]: nothing changed"));
        assert!(refused(&format!("[4]: Invalid addr 'nonsense' {by}")));
        assert!(refused(&format!(
            "[4]: no need to change the addr, problem converting port 'x' to an int {by}"
        )));
        assert!(matches!(
            Reply::of(&format!("[4]: IP changed from 'a' to 'b', new words {by}")),
            Reply::Unknown(_)
        ));
    }

    #[test]
    fn words_without_severity_are_known_too() {
        assert!(done("New server registered.\n") && done("Server deleted.\n") && done("Done."));
        assert!(done("a warning of some keyword\nNew server registered."));
        for words in [
            "No such server.",
            "Proxy is disabled.",
            "Already exists a server with the same name in backend.",
            "Can't find the target PID matching the prefix '@!9'",
            "Interrupted.",
        ] {
            assert!(refused(words), "{words}");
        }
        assert!(matches!(Reply::of("It rains."), Reply::Unknown(_)));
        assert!(matches!(Reply::of("[9]: Done."), Reply::Unknown(_)));
    }

    #[test]
    fn what_is_gone_already_is_seen() {
        assert!(
            Reply::of("[3]: Key not found.").is_absent() && Reply::of("[3]: entry not found.").is_absent()
        );
        assert!(!Reply::of("[3]: Proxy is disabled.").is_absent() && !Reply::Done.is_absent());
    }

    #[test]
    fn no_bytes_make_the_parsers_panic() {
        let mut random = fastrand::Rng::with_seed(7);
        let pieces = [
            "[3]: ",
            "\n",
            "\n\n",
            "[",
            "]: ",
            "Pid: ",
            "# ",
            ",",
            " ",
            "Stopping: 1",
            "9999999999999",
            "é",
            "\u{0}",
        ];
        for _ in 0..20_000 {
            let mut bytes = Vec::new();
            for _ in 0..random.usize(..12) {
                if random.bool() {
                    bytes.extend(random.choice(pieces).unwrap_or_default().as_bytes());
                } else {
                    bytes.push(random.u8(..));
                }
            }
            let text = String::from_utf8_lossy(&bytes);
            assert!(blocks(&text).count() <= text.lines().count());
            let _any = blocks(&text).map(|block| Reply::of(&block)).collect::<Vec<_>>();
            let _any = (
                crate::haproxy::runtime::Info::parse(&text),
                crate::haproxy::runtime::Processes::parse(&text),
            );
            let _any = crate::haproxy::servers::parse_states(&format!(
                "# be_name srv_name srv_addr srv_port srv_admin_state\n{text}"
            ));
            let _any = crate::haproxy::servers::parse_uses(&format!(
                "# pxname,svname,scur,qcur,used_conn_cur,idle_conn_cur\n{text}"
            ));
            let _any = crate::haproxy::runtime::Features::parse(&text);
        }
    }
}
