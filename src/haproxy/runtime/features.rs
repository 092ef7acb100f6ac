//! What a worker can do: asked, since version numbers say nothing of what a distribution has patched or left out.

/// What a worker can do at run time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// `add server`: 2.6 and later, in backends with a dynamic balance.
    pub add_server: bool,
    /// `del server`. 2.6 has it, without fixes for crashes that others met: see [`Self::dynamic_servers`].
    pub del_server: bool,
    /// `add server help`, which lists the keywords that a dynamic server takes: from 3.2 on.
    pub add_server_help: bool,
    /// `add backend`: from 3.4 on.
    pub add_backend: bool,
    /// `wait … srv-removable`: from 3.0 on.
    pub wait: bool,
}

impl Features {
    /// The line of commands that tells it; any worker answers it, in a fifth of a millisecond.
    pub const QUESTION: &'static str = "help;add server help";

    /// Reads the answer to [`Self::QUESTION`]. What is not understood is not there.
    #[must_use]
    pub fn parse(answer: &str) -> Self {
        let has = |command: &str| answer.lines().any(|line| line.trim_start().starts_with(command));
        Self {
            add_server: has("add server <"),
            del_server: has("del server <"),
            add_server_help: has("List of keywords supported for dynamic server"),
            add_backend: has("add backend "),
            wait: has("wait "),
        }
    }

    /// Whether servers can be added and deleted without a second thought: HAProxy's own mark of it is that it documents
    /// what they take (`add server help`, 3.2), which came after the fixes of `del server`.
    #[must_use]
    pub fn dynamic_servers(self) -> bool {
        self.add_server && self.del_server && self.wait && self.add_server_help
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELP: &str = "The following commands are valid at this level:\n  \
        add map [@<ver>] <map> <key> <val>      : add a map entry (payload supported instead of key/val)\n  \
        add server <bk>/<srv>                   : create a new server\n  \
        del server <bk>/<srv>                   : remove a dynamically added server\n  \
        show backend                            : list backends in the current running config\n";
    const UNKNOWN: &str = "\nRequire 'backend/server'.\n";

    #[test]
    fn each_version_is_taken_for_what_it_says_it_can_do() {
        let all = Features { add_server: true, del_server: true, ..Features::default() };
        // Recorded from 2.6.12 and 3.0.11; tests/runtime_socket has them whole.
        assert_eq!(Features::parse(&format!("{HELP}{UNKNOWN}")), all);
        let wait = "  wait {-h|<delay_ms>} cond [args...]     : wait the specified delay or condition (-h to see list)\n";
        let all = Features { wait: true, ..all };
        assert_eq!(Features::parse(&format!("{HELP}{wait}{UNKNOWN}")), all);
        assert!(!all.dynamic_servers());
        // As 3.2.26 and 3.4.7 say it.
        let listed = "\nList of keywords supported for dynamic server:\nbackup\ncheck\ninit-state\n";
        let all = Features { add_server_help: true, ..all };
        assert_eq!(Features::parse(&format!("{HELP}{wait}{listed}")), all);
        assert!(all.dynamic_servers());
        let backend = "  add backend <backend>                   : add a new backend (see doc)\n";
        let all = Features { add_backend: true, ..all };
        assert_eq!(Features::parse(&format!("{HELP}{backend}{wait}{listed}")), all);
        for nothing in ["", "\n", "Permission denied\n\n", "Unknown command: 'help'"] {
            assert_eq!(Features::parse(nothing), Features::default());
        }
    }
}
