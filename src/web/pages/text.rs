//! Configurations and differences as a page has them: line by line, with a name for each line, folded by section.

use std::fmt::Write as _;

use serde::Serialize;
use tera::{Kwargs, State, Value};

use super::templates::escaped;

/// Lines of a difference that a page shows.
const DIFFERENCE: usize = 4_000;
/// Lines of sections that a page shows at once; the last section is whole.
const LINES: usize = 1_500;

/// A section of a configuration.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Section {
    /// Its first line, and the comment above it.
    pub(super) name: String,
    /// The number of its first line.
    pub(super) first: usize,
    /// The number of its last line.
    pub(super) last: usize,
    /// Its lines, numbered and named, as a page has them.
    pub(super) html: String,
}

/// A part of a configuration.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Cut {
    /// The sections.
    pub(super) sections: Vec<Section>,
    /// How many there are that were asked for.
    pub(super) found: usize,
    /// How many there are in all.
    pub(super) total: usize,
    /// How many lines there are in all.
    pub(super) lines: usize,
}

/// Cuts a configuration into its sections: those in which a text occurs, from the so-manieth on.
pub(super) fn cut(text: &str, wanted: &str, from: usize) -> Cut {
    let wanted = wanted.trim().to_lowercase();
    let lines: Vec<&str> = text.lines().collect();
    let mut cut = Cut { lines: lines.len(), ..Cut::default() };
    let starts = starts(&lines);
    let mut shown = 0;
    for (index, start) in starts.iter().enumerate() {
        let end = starts.get(index + 1).copied().unwrap_or(lines.len());
        let begin = if index == 0 { 0 } else { *start };
        let body = &lines[begin..end];
        cut.total += 1;
        if wanted.is_empty() || body.iter().any(|line| line.to_lowercase().contains(&wanted)) {
            if cut.found >= from && shown < LINES {
                shown += body.len();
                cut.sections.push(section(body, begin));
            }
            cut.found += 1;
        }
    }
    cut
}

/// Where sections begin: at a line that is not indented, or at the comment right above it.
fn starts(lines: &[&str]) -> Vec<usize> {
    let is_head = |line: &str| !line.is_empty() && !line.starts_with([' ', '\t', '#']);
    let mut starts = Vec::new();
    for (at, _) in lines.iter().enumerate().filter(|(_, line)| is_head(line)) {
        let comments = lines[..at].iter().rev().take_while(|line| line.starts_with('#')).count();
        let start = at - comments;
        starts.push(start);
    }
    starts
}

fn section(body: &[&str], begin: usize) -> Section {
    let is_head = |line: &&&str| !line.is_empty() && !line.starts_with([' ', '\t', '#']);
    let name = body.iter().find(is_head).copied().unwrap_or_default();
    let comment = body.iter().find_map(|line| line.strip_prefix("# ")).filter(|line| line.starts_with('/'));
    let name = match comment {
        Some(comment) => format!("{name} · {comment}"),
        None => name.to_owned(),
    };
    let empty = body.iter().rev().take_while(|line| line.is_empty()).count();
    let body = &body[..body.len() - empty];
    let mut html = String::new();
    for (line, number) in body.iter().zip(begin + 1..) {
        let class = if line.trim_start().starts_with('#') { " class=\"quiet\"" } else { "" };
        let _infallible = write!(
            html,
            "<span id=\"L{number}\"{class}><a href=\"#L{number}\">{number}</a>{}\n</span>",
            escaped(line)
        );
    }
    Section { name, first: begin + 1, last: begin + body.len(), html }
}

/// A unified difference: what goes and what comes, by sign and by colour.
pub(super) fn diff(text: &str, _: Kwargs, _: &State) -> Value {
    let mut html = String::from("<pre class=\"diff\" tabindex=\"0\" aria-label=\"Difference\">");
    for line in text.lines().take(DIFFERENCE) {
        let class = match line.as_bytes() {
            [b'+', b'+', b'+', ..] | [b'-', b'-', b'-', ..] => "file",
            [b'+', ..] => "add",
            [b'-', ..] => "del",
            [b'@', ..] => "hunk",
            _ => "same",
        };
        let _infallible = write!(html, "<span class=\"{class}\">{}\n</span>", escaped(line));
    }
    let left = text.lines().count().saturating_sub(DIFFERENCE);
    if left > 0 {
        let _infallible = writeln!(html, "<span class=\"hunk\">and {left} more lines</span>");
    }
    html.push_str("</pre>");
    Value::safe_string(&html)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# made by\nglobal\n    x\n\ndefaults a\n    y <b>\n\n# /shop/web port 0\nbackend h_shop\n    server slot1 1:2\n";

    #[test]
    fn a_configuration_is_cut_at_its_sections_and_every_line_keeps_its_number() {
        let whole = cut(TEXT, "", 0);
        let shown: Vec<(&str, usize, usize)> =
            whole.sections.iter().map(|each| (each.name.as_str(), each.first, each.last)).collect();
        assert_eq!(
            shown,
            [("global", 1, 3), ("defaults a", 5, 6), ("backend h_shop · /shop/web port 0", 8, 10)]
        );
        assert_eq!((whole.found, whole.total, whole.lines), (3, 3, 10));
        assert!(whole.sections[1].html.contains("id=\"L6\"") && whole.sections[1].html.contains("&lt;b&gt;"));
        let found = cut(TEXT, "SHOP", 0);
        assert_eq!((found.sections.len(), found.found, found.sections[0].first), (1, 1, 8));
        assert_eq!(cut(TEXT, "", 2).sections.len(), 1);
        let long = "backend h_x\n    y\n".repeat(LINES);
        assert_eq!((cut(&long, "", 0).sections.len(), cut(&long, "", 0).found), (LINES / 2, LINES));
    }
}
