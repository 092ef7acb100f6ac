//! Raw text as HAProxy reads it: lines of words (configuration manual, section 2.2), and what no word may be.

/// More than any template needs.
const BYTES_MAX: usize = 16_384;
/// HAProxy takes 64 words a line (`MAX_LINE_ARGS`).
const WORDS_MAX: usize = 60;
/// HAProxy takes 2048 bytes a line.
const LINE_MAX: usize = 1800;

/// What reads files, the environment or keys, runs code, or changes what belongs to everybody. Looked for in every word.
const FORBIDDEN: [(&str, &str); 12] = [
    ("env(", "reads the environment"),
    ("lua.", "runs code"),
    ("jwt_verify(", "reads a file"),
    ("add-acl(", "changes lists that belong to everybody"),
    ("del-acl(", "changes lists that belong to everybody"),
    ("set-map(", "changes maps that belong to everybody"),
    ("del-map(", "changes maps that belong to everybody"),
    ("set-var(proc.", "sets a variable that belongs to everybody"),
    ("set-var-fmt(proc.", "sets a variable that belongs to everybody"),
    ("unset-var(proc.", "sets a variable that belongs to everybody"),
    ("external-check", "runs a program"),
    ("@generation@", "is a mark of Causeway's own"),
];

/// One line: its words, as HAProxy reads them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Which line of the text, from 1.
    pub(super) number: usize,
    /// At least one.
    pub(super) words: Vec<String>,
}

impl Line {
    /// The first word.
    pub(super) fn first(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    /// The words from the `from`th on.
    pub(super) fn rest(&self, from: usize) -> &[String] {
        self.words.get(from..).unwrap_or_default()
    }

    /// Whether its words are these.
    pub(super) fn is(&self, words: &str) -> bool {
        self.words.iter().map(String::as_str).eq(words.split(' '))
    }

    /// What is wrong with it, with its place. Its words are not shown but the first: there may be a password among them.
    pub(super) fn refused(&self, why: &str) -> String {
        format!("line {} ({:?}) {why}", self.number, self.first())
    }

    /// The line as HAProxy is to read it.
    pub(super) fn text(&self) -> String {
        text(&self.words)
    }
}

/// Words as HAProxy is to read them back.
pub(super) fn text(words: &[String]) -> String {
    words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
}

/// A word so that HAProxy reads just that: inside single quotes nothing has a meaning of its own.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_graphic() && !"\"'\\#`$".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    if !word.contains('\'') {
        return format!("'{word}'");
    }
    let mut text = String::from("\"");
    for c in word.chars() {
        if matches!(c, '"' | '\\' | '$') {
            text.push('\\');
        }
        text.push(c);
    }
    text.push('"');
    text
}

/// The lines of a text, without those that are empty or a comment.
///
/// # Errors
/// A character or a word that is not taken, with its line.
pub(super) fn lines(text: &str) -> Result<Vec<Line>, String> {
    if text.len() > BYTES_MAX {
        return Err(format!("it has more than {BYTES_MAX} bytes"));
    }
    let mut lines = Vec::new();
    for (text, number) in text.replace("\r\n", "\n").split('\n').zip(1..) {
        let refused = |why: &str| format!("line {number} {why}");
        if text.len() > LINE_MAX {
            return Err(refused("is longer than HAProxy takes"));
        }
        if !text.chars().all(|c| c.is_ascii_graphic() || c == ' ' || c == '\t') {
            return Err(refused(
                "holds a control character or one that is not ASCII, which may look like a space; write others as \\xHH",
            ));
        }
        let words = words(&text.replace('\t', " ")).map_err(refused)?;
        if words.len() > WORDS_MAX {
            return Err(refused("has more words than HAProxy takes"));
        }
        if !words.is_empty() {
            lines.push(Line { number, words });
        }
    }
    Ok(lines)
}

/// The words as HAProxy reads them: quotes join, and a backslash takes some characters as they are.
fn words(text: &str) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars().peekable();
    let mut double = false;
    while let Some(c) = chars.next() {
        match c {
            ' ' if !double => words.extend(word.take()),
            '#' if !double => break,
            '\'' if !double => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        Some('\'') => break,
                        Some(c) => word.push(c),
                        None => return Err("has a quote that is not closed"),
                    }
                }
            }
            '"' => {
                double = !double;
                word.get_or_insert_default();
            }
            '$' if double => {
                if chars.peek().is_some_and(|c| c.is_ascii_alphabetic() || matches!(c, '_' | '{' | '.')) {
                    return Err("names a variable of the environment; a \"$\" that is meant is written \\$");
                }
                word.get_or_insert_default().push('$');
            }
            '\\' => {
                let taken = match chars.peek() {
                    None => return Err("ends with a backslash"),
                    Some('n' | 'r') => return Err("holds \\n or \\r, which would end a line"),
                    Some('t') => '\t',
                    Some('x') => {
                        chars.next();
                        let digits: String = chars.by_ref().take(2).collect();
                        word.get_or_insert_default().push(by_code(&digits)?);
                        continue;
                    }
                    Some(c @ (' ' | '\\' | '#' | '\'' | '"')) => *c,
                    Some('$') if double => '$',
                    Some(_) => {
                        word.get_or_insert_default().push('\\');
                        continue;
                    }
                };
                chars.next();
                word.get_or_insert_default().push(taken);
            }
            c => word.get_or_insert_default().push(c),
        }
    }
    if double {
        return Err("has a quote that is not closed");
    }
    words.extend(word);
    if words.iter().any(|word| word.contains(char::is_control)) {
        return Err("holds a control character");
    }
    Ok(words)
}

/// The character of two hexadecimal digits.
fn by_code(digits: &str) -> Result<char, &'static str> {
    match u8::from_str_radix(digits, 16) {
        Ok(code) if digits.len() == 2 && (0x20..0x7f).contains(&code) => Ok(char::from(code)),
        _ => Err("holds \\xHH of a character that is not printed ASCII"),
    }
}

/// Proves that a line reads no file, runs nothing and touches nothing of anybody else's. What it may begin with is another
/// question.
///
/// # Errors
/// Why not, with its place.
pub(super) fn prove_harmless(line: &Line) -> Result<(), String> {
    if line.first().starts_with('.') {
        return Err(line.refused("begins with a dot: it would decide on the text of others"));
    }
    for word in &line.words {
        let lower = word.to_ascii_lowercase();
        if lower == "-f" || word == "-M" || lower.starts_with("-f/") {
            return Err(line.refused("reads a file"));
        }
        if let Some((_, why)) = FORBIDDEN.iter().find(|(part, _)| lower.contains(part)) {
            return Err(line.refused(why));
        }
        if calls_map(&lower) {
            return Err(line.refused("looks something up in a map, which is a file"));
        }
    }
    let second = line.words.get(1).map(String::as_str).unwrap_or_default();
    let answers = line.first() == "http-error"
        || line.words.iter().any(|word| matches!(word.as_str(), "return" | "deny" | "tarpit"));
    let reads = |word: &String| matches!(word.as_str(), "file" | "lf-file" | "errorfile" | "errorfiles");
    if answers && line.words.iter().any(reads) {
        return Err(line.refused("reads a file; an answer's body can be a string"));
    }
    if line.words.iter().any(|word| word == "use-service" || word == "send-spoe-group") {
        return Err(line.refused("gives the request to code or to what belongs to everybody"));
    }
    if line.first() == "option" && second == "transparent" {
        return Err(line.refused("lets a client choose the server's address"));
    }
    if line.first() == "filter" && second != "compression" {
        return Err(line.refused("loads a filter that is not compression"));
    }
    if line.first() == "log" && !is_log_target(second) {
        return Err(line.refused("logs to something that is neither global nor an address and a port"));
    }
    Ok(())
}

fn is_log_target(word: &str) -> bool {
    word == "global"
        || word.rsplit_once(':').is_some_and(|(host, port)| {
            let known = |c: char| c.is_ascii_alphanumeric() || ".-:[]".contains(c);
            !host.is_empty() && host.chars().all(known) && port.parse::<u16>().is_ok()
        })
}

/// Whether a converter that reads a map is called.
fn calls_map(lower: &str) -> bool {
    lower.match_indices("map").any(|(at, _)| {
        let begins = lower[..at].chars().next_back().is_none_or(|c| !c.is_ascii_alphanumeric() && c != '_');
        let rest = &lower[at + 3..];
        let named = rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_');
        begins && (rest.starts_with(['(', '_'])) && named.starts_with('(')
    })
}
