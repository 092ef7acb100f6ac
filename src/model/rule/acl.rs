//! The text of an HAProxy criterion, from people: hostile until proven. It becomes the rest of an `acl` line, so it may
//! neither end that line nor read a file, a map, the environment or code (configuration manual, section 7.1).

use super::Meaning;
use super::criterion::{self, Criterion};

/// More words than any criterion needs; HAProxy's line takes 64.
const WORDS_MAX: usize = 60;
/// Longer than any criterion; HAProxy's line takes 2048 bytes.
const BYTES_MAX: usize = 1800;

/// What reaches outside of the request, or changes something: environment, code, keys, variables.
const FORBIDDEN: [&str; 4] = ["env(", "lua.", "set-var(", "jwt_verify("];

/// Proves a criterion harmless, and writes it so that HAProxy reads the words that were looked at and no others.
///
/// # Errors
/// What is refused, and why.
pub fn harmless(text: &str) -> Result<String, String> {
    let words = checked_words(text)?;
    Ok(words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" "))
}

/// What a criterion's text asks of a request: typed where it is of a single form that we know, else the text itself.
///
/// # Errors
/// What is refused, and why.
pub fn meaning(text: &str) -> Result<Meaning, String> {
    let words = checked_words(text)?;
    Ok(match typed(&words) {
        Some(mut criteria) if criteria.len() == 1 => Meaning::All(vec![criteria.remove(0)]),
        Some(criteria) => Meaning::Any(criteria),
        None => Meaning::Acl(words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")),
    })
}

/// The criteria that `&&` joins; `None` where there is no `&&`.
///
/// # Errors
/// A part that is not of a form that is understood, or that is refused: HAProxy itself knows no `&&` here.
pub fn conjunction(text: &str) -> Result<Option<Vec<Criterion>>, String> {
    let words = checked_words(text)?;
    if !words.iter().any(|word| word == "&&") {
        return Ok(None);
    }
    let mut all = Vec::new();
    for part in words.split(|word| word == "&&") {
        match typed(part) {
            Some(mut criteria) if criteria.len() == 1 => all.push(criteria.remove(0)),
            _ => {
                return Err(format!(
                    "{:?} is not understood; with && each part is one of hdr(host), hdr(NAME), path_beg, path, method or src, \
                     with one value",
                    part.join(" ")
                ));
            }
        }
    }
    Ok(Some(all))
}

fn checked_words(text: &str) -> Result<Vec<String>, String> {
    let refused = |what: &str| Err(format!("the acl {text:?} is refused: {what}"));
    if text.len() > BYTES_MAX {
        return Err(format!("the acl is refused: it has more than {BYTES_MAX} bytes"));
    }
    if text.chars().any(|c| c.is_control() || (c.is_whitespace() && c != ' ')) {
        return refused("it holds a control character");
    }
    if text.contains(['$', '`']) {
        return refused("\"$\" and \"`\" are not allowed");
    }
    let words = match words(text) {
        Ok(words) => words,
        Err(what) => return refused(what),
    };
    if words.is_empty() {
        return refused("it is empty");
    }
    if words.len() > WORDS_MAX {
        return refused("it has too many words");
    }
    // An escape can write what the text itself does not show.
    if words.iter().any(|word| word.chars().any(|c| c.is_control() || matches!(c, '\'' | '$' | '`'))) {
        return refused("quotes, \"$\" and control characters are not allowed inside a word");
    }
    if words.iter().any(|word| reads(word)) {
        return refused("files, maps, keys, the environment and code may not be read, nor variables set");
    }
    Ok(words)
}

fn reads(word: &str) -> bool {
    let lower = word.to_ascii_lowercase();
    let calls_map = |at: usize| {
        let rest = &lower[at + 3..];
        rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_').starts_with('(')
    };
    // HAProxy takes a flag for one only when nothing follows it; what follows would be a mistake of the writer.
    word.starts_with("-f")
        || word.starts_with("-M")
        || FORBIDDEN.iter().any(|call| lower.contains(call))
        || lower.match_indices("map").any(|(at, _)| calls_map(at))
}

/// The words as HAProxy reads them (configuration manual, section 2.2): quotes join, a backslash takes one character as it
/// is. Forms of the backslash that stand for other characters are refused.
fn words(text: &str) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            ' ' => words.extend(word.take()),
            '#' if word.is_none() => return Err("\"#\" begins a comment"),
            '#' => return Err("\"#\" needs quotes around it"),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        Some('\'') => break,
                        Some(c) => word.push(c),
                        None => return Err("a quote is not closed"),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        Some('"') => break,
                        Some('\\') => word.push_str(&escape(chars.next(), &['"', '\\'])?),
                        Some(c) => word.push(c),
                        None => return Err("a quote is not closed"),
                    }
                }
            }
            '\\' => {
                let taken = escape(chars.next(), &[' ', '"', '\'', '\\', '#'])?;
                word.get_or_insert_default().push_str(&taken);
            }
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

/// What a backslash and the character after it stand for; before any other than `plain` ones HAProxy keeps it.
fn escape(next: Option<char>, plain: &[char]) -> Result<String, &'static str> {
    match next {
        None => Err("a backslash ends it"),
        Some(c) if plain.contains(&c) => Ok(c.to_string()),
        Some('n' | 'r' | 't' | 'x') => Err("\\n, \\r, \\t and \\x are not allowed"),
        Some(c) => Ok(format!("\\{c}")),
    }
}

/// A word as HAProxy reads it back: inside single quotes nothing has a meaning of its own. The word holds no such quote.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_graphic() && !"\"'\\#`$".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word.to_owned() } else { format!("'{word}'") }
}

/// The criteria, one of which has to hold, that words of a single known form come to.
fn typed(words: &[String]) -> Option<Vec<Criterion>> {
    let (fetch, rest) = words.split_first()?;
    let ignores_case = rest.first().is_some_and(|word| word == "-i");
    let values = if ignores_case { &rest[1..] } else { rest };
    let values = if values.first().is_some_and(|word| word == "--") { &values[1..] } else { values };
    if values.is_empty() || values.iter().any(|value| value.starts_with('-')) {
        return None;
    }
    let header = |name: &str| {
        name.strip_prefix("hdr(").or(name.strip_prefix("req.hdr("))?.strip_suffix(')').map(str::to_owned)
    };
    let mut criteria = Vec::new();
    for value in values {
        match fetch.as_str() {
            "hdr(host)" | "req.hdr(host)" | "hdr(Host)" | "req.hdr(Host)" => {
                criteria.push(Criterion::Host(value.clone()));
            }
            // A name without a dot is a part of many hosts to HAProxy.
            "hdr_dom(host)" | "hdr_dom(Host)" if value.contains('.') => {
                criteria.push(Criterion::Host(value.clone()));
                criteria.push(Criterion::Host(format!("*.{value}")));
            }
            "path_beg" if !ignores_case => criteria.push(Criterion::Path(value.clone())),
            "path" if !ignores_case => criteria.push(Criterion::PathExact(value.clone())),
            "method" => criteria.push(Criterion::Method(value.clone())),
            "src" => criteria.push(Criterion::Source(value.clone())),
            name => {
                let name = header(name)?;
                let value = ignores_case.then(|| value.clone())?;
                criteria.push(Criterion::Header(criterion::HeaderCriterion { name, value: Some(value) }));
            }
        }
    }
    // A wildcard has no meaning to HAProxy here, and a value that we cannot take is left to HAProxy to judge.
    if values.iter().any(|value| value.contains('*')) {
        return None;
    }
    criteria.iter().map(|criterion| criterion.parsed().ok()).collect()
}
