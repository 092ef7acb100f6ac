//! What workers and their master say of themselves.

/// What a worker says of itself (`show info`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// The worker's process id.
    pub pid: i32,
    /// The generation it has loaded, from `description`.
    pub generation: Option<u64>,
    /// True where it only finishes what it has.
    pub stopping: bool,
    /// HAProxy's version.
    pub version: String,
}

impl Info {
    /// Reads the answer to `show info`; `None` where it is not one.
    #[must_use]
    pub fn parse(answer: &str) -> Option<Self> {
        let value = |key: &str| Self::value(answer, key);
        Some(Self {
            pid: value("Pid")?.parse().ok()?,
            generation: value("description").and_then(crate::haproxy::generations::number_of),
            stopping: value("Stopping") == Some("1"),
            version: value("Version").unwrap_or_default().to_owned(),
        })
    }

    /// One value of the answer to `show info`.
    #[must_use]
    pub fn value<'a>(answer: &'a str, key: &str) -> Option<&'a str> {
        answer.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": ")).map(str::trim)
    }
}

/// What the master says of its processes (`show proc`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Processes {
    /// The master's process id.
    pub master: i32,
    /// Reloads that failed, as the master counts them.
    pub failed_reloads: u32,
    /// The workers that take connections.
    pub workers: Vec<i32>,
    /// Workers of before, which only finish what they have.
    pub old_workers: Vec<i32>,
}

impl Processes {
    /// Reads the answer to `show proc`; `None` where it is not one.
    #[must_use]
    pub fn parse(answer: &str) -> Option<Self> {
        let mut processes = Self::default();
        let mut old = false;
        for line in answer.lines() {
            if let Some(heading) = line.strip_prefix("# ") {
                old = heading.contains("old");
                continue;
            }
            let words: Vec<&str> = line.split_whitespace().collect();
            let Some(Ok(pid)) = words.first().map(|word| word.parse::<i32>()) else { continue };
            match words.get(1) {
                Some(&"master") => {
                    processes.master = pid;
                    processes.failed_reloads = line
                        .split_once("[failed: ")
                        .and_then(|(_, rest)| rest.split(']').next()?.parse().ok())
                        .unwrap_or(0);
                }
                Some(&"worker") if old => processes.old_workers.push(pid),
                Some(&"worker") => processes.workers.push(pid),
                _ => {}
            }
        }
        (processes.master != 0).then_some(processes)
    }
}

/// Which worker is spoken to. A reload or a restart by anybody makes another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch {
    /// The worker's process id.
    pub pid: i32,
    /// The generation it has loaded.
    pub generation: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_worker_says_of_itself_is_read() {
        let answer =
            "Name: HAProxy\nVersion: 2.6.12-1+deb12u4\nPid: 11242\nStopping: 0\ndescription: gen-7\n\n";
        let info =
            Info { pid: 11242, generation: Some(7), stopping: false, version: "2.6.12-1+deb12u4".to_owned() };
        assert_eq!(Info::parse(answer), Some(info));
        assert_eq!(Info::parse("Unknown command"), None);
    }

    #[test]
    fn the_masters_table_tells_new_workers_from_old_ones() {
        let answer = "#<PID>          <type>          <reloads>       <uptime>        <version>      \n\
            11241           master          1 [failed: 2]   0d00h00m03s     2.6.12-1+deb12u4\n# workers\n\
            11351           worker          0               0d00h00m01s     2.6.12-1+deb12u4\n# old workers\n\
            11242           worker          1               0d00h00m03s     2.6.12-1+deb12u4\n# programs\n\n";
        let expected =
            Processes { master: 11241, failed_reloads: 2, workers: vec![11351], old_workers: vec![11242] };
        assert_eq!(Processes::parse(answer), Some(expected));
        assert_eq!(Processes::parse(""), None);
    }
}
