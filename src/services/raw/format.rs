//! The placeholders of marathon-lb's templates: Python's `str.format`, as far as its templates use it.

use std::collections::BTreeMap;

/// The values of placeholders, by name.
pub(super) type Values = BTreeMap<&'static str, String>;

/// Fills in the placeholders of a template; doubled braces are single ones.
///
/// # Errors
/// A placeholder that the template does not have, or a brace that is not doubled: marathon-lb would have stopped there.
pub(super) fn format(text: &str, values: &Values) -> Result<String, String> {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        filled.push_str(&rest[..at]);
        let brace = &rest[at..=at];
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix(brace) {
            filled.push_str(brace);
            rest = after;
        } else if brace == "}" {
            return Err(
                "a \"}\" stands alone; a brace that is meant is doubled, as in {{ ssl_fc }}".to_owned()
            );
        } else {
            let Some((name, after)) = rest.split_once('}') else {
                return Err(
                    "a \"{\" is not closed; a brace that is meant is doubled, as in {{ ssl_fc }}".to_owned()
                );
            };
            match values.get(name) {
                Some(value) => filled.push_str(value),
                None => return Err(unknown(name, values)),
            }
            rest = after;
        }
    }
    filled.push_str(rest);
    Ok(filled)
}

fn unknown(name: &str, values: &Values) -> String {
    let word = |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') && !name.is_empty();
    if !word(name) {
        return "braces that are meant are doubled, as in {{ ssl_fc }}".to_owned();
    }
    let known: Vec<String> = values.keys().map(|known| format!("{{{known}}}")).collect();
    match known.is_empty() {
        true => format!("there is no {{{name}}} in this template, nor any other"),
        false => format!("there is no {{{name}}} in this template; it has {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_filled_in_and_doubled_braces_are_single_ones() {
        let values = Values::from([("backend", "h_a_0".to_owned()), ("hostname", "a.x".to_owned())]);
        for (text, filled) in [
            (
                "use_backend {backend} if {{ ssl_fc_sni {hostname} }}",
                "use_backend h_a_0 if { ssl_fc_sni a.x }",
            ),
            ("{{{backend}}}", "{h_a_0}"),
            ("{{{{", "{{"),
            ("plain", "plain"),
        ] {
            assert_eq!(format(text, &values).unwrap(), filled);
        }
        for (text, why) in [
            ("{foo}", "there is no {foo} in this template; it has {backend}, {hostname}"),
            ("if { ssl_fc }", "doubled"),
            ("if !{ssl_fc", "not closed"),
            ("a }", "stands alone"),
            ("{}", "doubled"),
            ("{backend!r}", "doubled"),
        ] {
            assert!(format(text, &values).unwrap_err().contains(why), "{text}");
        }
        assert!(format("{x}", &Values::new()).unwrap_err().contains("nor any other"));
    }
}
