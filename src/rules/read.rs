//! Rules in a file: our TOML, our JSON, Bamboo's JSON.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::Value;

use crate::model::{AppId, Rule};
use crate::rules::file::parse;
use crate::rules::zookeeper::payload::rule_of_config;

/// A record as Bamboo's `/api/services` shows it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Record {
    id: String,
    #[serde(default)]
    acl: String,
    #[serde(default)]
    config: Option<BTreeMap<String, String>>,
}

/// Reads all rules of a file, whoever changed them left out: whoever writes them now does.
///
/// # Errors
/// The file cannot be read, or holds something that is no rule: none of it is used then.
pub(crate) fn rules(file: &Path) -> Result<Vec<Rule>> {
    let (name, text) = if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("standard input")?;
        ("standard input".to_owned(), text)
    } else {
        let name = file.display().to_string();
        let text = std::fs::read_to_string(file).with_context(|| name.clone())?;
        (name, text)
    };
    of_text(&text).with_context(|| name.clone())
}

/// Reads all rules of a text, whoever changed them left out.
///
/// # Errors
/// It holds something that is no rule, or no rule at all: none of it is used then.
pub(crate) fn of_text(text: &str) -> Result<Vec<Rule>> {
    let mut rules = if text.trim_start().starts_with('{') || text.trim_start().starts_with("[{") {
        of_json(text)
    } else {
        of_toml(text)
    }?;
    for rule in &mut rules {
        rule.changed = None;
    }
    if rules.is_empty() {
        bail!("it holds no rule");
    }
    Ok(rules)
}

fn of_toml(text: &str) -> Result<Vec<Rule>> {
    let read = parse(text).map_err(anyhow::Error::msg)?;
    // What is read from elsewhere is refused by the API, where it is refused, with all mistakes.
    if let Some(problem) = read.problems.first() {
        bail!("{problem}");
    }
    Ok(read.rules.into_iter().map(|each| each.rule).collect())
}

fn of_json(text: &str) -> Result<Vec<Rule>> {
    let value: Value = serde_json::from_str(text)?;
    let (list, fields) = match value {
        Value::Array(list) => (list, serde_json::Map::new()),
        Value::Object(mut fields) => match fields.remove("rules") {
            Some(Value::Array(list)) => (list, serde_json::Map::new()),
            Some(_) => bail!("rules: expected a list"),
            None if fields.contains_key("app") => (vec![Value::Object(fields)], serde_json::Map::new()),
            None => (Vec::new(), fields),
        },
        _ => bail!("it holds neither rules nor Bamboo's services"),
    };
    let mut rules = list.into_iter().map(of_shown).collect::<Result<Vec<Rule>>>()?;
    for (id, record) in fields {
        let record: Record =
            serde_json::from_value(record).with_context(|| format!("{id} is no service of Bamboo's"))?;
        let mut config = record.config.unwrap_or_default();
        if !record.acl.is_empty() {
            config.insert("Acl".to_owned(), record.acl);
        }
        rules.push(rule_of_config(&AppId::new(&record.id), config));
    }
    Ok(rules)
}

/// A rule as the API shows it, or as the rules file has it.
fn of_shown(mut value: Value) -> Result<Rule> {
    if let Some(fields) = value.as_object_mut() {
        fields.remove("version");
        fields.remove("why");
        if let Some(routes) = fields.remove("routes") {
            fields.insert("route".to_owned(), routes);
        }
        fields.retain(|_, value| !value.is_null());
    }
    serde_json::from_value(value).context("a rule cannot be understood")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_json_and_bamboos_come_to_the_same_rules() {
        let ours = r#"{"rules":[{"app":"/a","enabled":true,"order":null,"replace":false,"config":{"k":"v"},
            "routes":[{"acl":"hdr(host) -i a.com"}],"changed":{"by":"x","at":"y"},"version":"7"}]}"#;
        let bamboos =
            r#"{"/a":{"Id":"/a","Acl":"hdr(host) -i a.com","Config":{"Acl":"hdr(host) -i a.com","k":"v"}}}"#;
        let without_change = |mut rule: Rule| {
            rule.changed = None;
            rule
        };
        let ours: Vec<Rule> = of_json(ours).unwrap().into_iter().map(without_change).collect();
        assert_eq!(ours, of_json(bamboos).unwrap());
        assert_eq!(
            of_toml(
                "[[rule]]\napp = \"a\"\nconfig = { k = \"v\" }\n[[rule.route]]\nacl = \"hdr(host) -i a.com\""
            )
            .unwrap(),
            ours
        );
        for wrong in ["{\"x\":1}", "{\"rules\":{}}", "[1]", "[{\"app\":\"/a\",\"other\":1}]"] {
            assert!(of_json(wrong).is_err(), "{wrong}");
        }
        assert!(of_toml("[[rule]]\napp = 1").is_err());
    }
}
