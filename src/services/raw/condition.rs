//! Conditions of lines (configuration manual, section 7.2): what stands behind `if`, and the ACLs that it names.

use std::collections::BTreeMap;

use super::line::Line;

/// What has to hold, one list of terms or another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Condition(pub(super) Vec<Vec<String>>);

/// A line without its condition, and the condition, where it has one.
///
/// # Errors
/// An `unless` of more than one term, which has no form that another term can be added to.
pub(super) fn split(line: &Line) -> Result<(Vec<String>, Option<Condition>), String> {
    let mut depth = 0_usize;
    let mut at = None;
    for (index, word) in line.words.iter().enumerate() {
        match word.as_str() {
            "{" | "!{" => depth += 1,
            "}" => depth = depth.saturating_sub(1),
            "if" | "unless" if depth == 0 && index > 0 => at = Some(index),
            _ => {}
        }
    }
    let Some(at) = at else { return Ok((line.words.clone(), None)) };
    let (statement, behind) = line.words.split_at(at);
    let mut alternatives = vec![Vec::new()];
    for word in behind.iter().skip(1) {
        if depth_of(&alternatives) == 0 && (word == "or" || word == "||") {
            alternatives.push(Vec::new());
        } else if let Some(last) = alternatives.last_mut() {
            last.push(word.clone());
        }
    }
    if alternatives.iter().any(Vec::is_empty) {
        return Err(line.refused("has an empty condition"));
    }
    if behind.first().is_some_and(|word| word == "unless") {
        let negated = |terms: &[Vec<String>]| match terms {
            [terms] if is_single(terms) => {
                let mut terms = terms.clone();
                let first = terms.first_mut()?;
                *first = match first.strip_prefix('!') {
                    Some(bare) => bare.to_owned(),
                    None => format!("!{first}"),
                };
                Some(terms)
            }
            _ => None,
        };
        let Some(terms) = negated(&alternatives) else {
            return Err(line.refused("has an \"unless\" of several terms; write it with \"if\""));
        };
        alternatives = vec![terms];
    }
    Ok((statement.to_vec(), Some(Condition(alternatives))))
}

fn depth_of(alternatives: &[Vec<String>]) -> usize {
    let words = alternatives.last().into_iter().flatten();
    let (opened, closed) = words.fold((0_usize, 0_usize), |(opened, closed), word| match word.as_str() {
        "{" | "!{" => (opened + 1, closed),
        "}" => (opened, closed + 1),
        _ => (opened, closed),
    });
    opened.saturating_sub(closed)
}

fn is_single(terms: &[String]) -> bool {
    terms.len() == 1
        || (terms.first().is_some_and(|word| word == "{" || word == "!{")
            && terms.iter().position(|word| word == "}") == Some(terms.len() - 1))
}

impl Condition {
    /// The names of ACLs in it.
    pub(super) fn names(&self) -> Vec<&str> {
        let mut names = Vec::new();
        for terms in &self.0 {
            let mut inside = false;
            for word in terms {
                match word.as_str() {
                    "{" | "!{" => inside = true,
                    "}" => inside = false,
                    "!" => {}
                    name if !inside => names.push(name.trim_start_matches('!')),
                    _ => {}
                }
            }
        }
        names
    }

    /// The same with other names, where there is one, and with terms before each alternative.
    pub(super) fn with(&self, before: &[&str], names: &BTreeMap<String, String>) -> Vec<String> {
        let mut words = Vec::new();
        for terms in &self.0 {
            if !words.is_empty() {
                words.push("||".to_owned());
            }
            words.extend(before.iter().map(|word| (*word).to_owned()));
            let mut inside = false;
            for word in terms {
                inside = match word.as_str() {
                    "{" | "!{" => true,
                    "}" => false,
                    _ => inside,
                };
                let bare = word.trim_start_matches('!');
                match names.get(bare).filter(|_| !inside) {
                    Some(name) => words.push(format!("{}{name}", &word[..word.len() - bare.len()])),
                    None => words.push(word.clone()),
                }
            }
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_is_taken_apart_and_put_together_again() {
        let names = BTreeMap::from([("a".to_owned(), "own::a".to_owned())]);
        for (text, statement, condition) in [
            (
                "redirect prefix /x if !a { path /if or } || b",
                "redirect prefix /x",
                "F !own::a { path /if or } || F b",
            ),
            ("http-request deny unless a", "http-request deny", "F !own::a"),
            ("http-request deny unless { src 10.0.0.1 }", "http-request deny", "F !{ src 10.0.0.1 }"),
            ("http-request deny unless !a", "http-request deny", "F own::a"),
        ] {
            let line = Line { number: 1, words: text.split(' ').map(str::to_owned).collect() };
            let (before, found) = split(&line).unwrap();
            assert_eq!(before.join(" "), statement);
            assert_eq!(found.unwrap().with(&["F"], &names).join(" "), condition);
        }
        for bad in ["http-request deny unless a b", "http-request deny if", "http-request deny if a or"] {
            let line = Line { number: 1, words: bad.split(' ').map(str::to_owned).collect() };
            assert!(split(&line).is_err(), "{bad}");
        }
    }
}
