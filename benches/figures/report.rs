//! What was measured, as a table with the aim beside it.

use std::time::Duration;

/// One line of a table.
struct Figure {
    what: String,
    measured: String,
    aim: String,
    /// None: only to compare.
    holds: Option<bool>,
}

/// The figures of one bench.
pub(crate) struct Table {
    title: String,
    figures: Vec<Figure>,
}

impl Table {
    pub(crate) fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), figures: Vec::new() }
    }

    /// A figure with its aim.
    pub(crate) fn judged(&mut self, what: &str, measured: impl Into<String>, aim: &str, holds: bool) {
        self.add(what, measured.into(), aim, Some(holds));
    }

    /// A figure without one.
    pub(crate) fn told(&mut self, what: &str, measured: impl Into<String>) {
        self.add(what, measured.into(), "", None);
    }

    fn add(&mut self, what: &str, measured: String, aim: &str, holds: Option<bool>) {
        self.figures.push(Figure { what: what.to_owned(), measured, aim: aim.to_owned(), holds });
    }

    /// How many aims there are, and how many hold.
    pub(crate) fn aims(&self) -> (usize, usize) {
        let judged = self.figures.iter().filter_map(|figure| figure.holds);
        judged.fold((0, 0), |(all, held), holds| (all + 1, held + usize::from(holds)))
    }

    pub(crate) fn print(&self) {
        let width = |text: fn(&Figure) -> &str| {
            self.figures.iter().map(|figure| text(figure).chars().count()).max().unwrap_or(0)
        };
        let (what, measured) = (width(|figure| &figure.what), width(|figure| &figure.measured));
        say(&format!("\n## {}", self.title));
        for figure in &self.figures {
            let verdict = match figure.holds {
                Some(true) => format!("aim {}: holds", figure.aim),
                Some(false) => format!("aim {}: MISSED", figure.aim),
                None => String::new(),
            };
            let line = format!("  {:what$}  {:measured$}  {verdict}", figure.what, figure.measured);
            say(line.trim_end());
        }
    }
}

pub(crate) fn say(line: &str) {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    let _closed = writeln!(out, "{line}").and_then(|()| out.flush());
}

pub(crate) fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Durations in order, to take the middle or the end of.
pub(crate) struct Sorted(Vec<Duration>);

impl Sorted {
    /// None of nothing.
    pub(crate) fn of(mut times: Vec<Duration>) -> Option<Self> {
        times.sort_unstable();
        (!times.is_empty()).then_some(Self(times))
    }

    /// The duration below which so many of a hundred are, in milliseconds.
    pub(crate) fn percentile_ms(&self, percent: usize) -> f64 {
        ms(self.0[(self.0.len() - 1) * percent / 100])
    }
}

/// The median of at least one figure.
pub(crate) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}
