//! Editing the file as a person left it: only the rule in question is touched, and in it only what differs.

use toml_edit::{ArrayOfTables, DocumentMut, InlineTable, Item, Table};

use crate::model::{AppId, Rule};

/// What a file of ours begins with.
const HEADING: &str = "# Rules: see docs/rules.md\n";

/// The text with the rule replaced, added at the end, or (`None`) taken away.
///
/// # Errors
/// The text is not what a rules file holds.
pub(super) fn edit(text: &str, app: &AppId, rule: Option<&Rule>) -> Result<String, String> {
    let text = if text.is_empty() { HEADING } else { text };
    let mut document: DocumentMut = parse(text)?;
    let rest = document.trailing().as_str().unwrap_or_default().to_owned();
    if document.get("rule").is_some_and(|rules| !rules.is_array_of_tables()) {
        unfold(&mut document);
    }
    let rules = document.entry("rule").or_insert(Item::ArrayOfTables(ArrayOfTables::new()));
    let rules = rules.as_array_of_tables_mut().ok_or("`rule` is not a list; write [[rule]]")?;
    let is_its =
        |table: &Table| table.get("app").and_then(Item::as_str).is_some_and(|id| AppId::new(id) == *app);
    let place = rules.iter().position(is_its);
    match (place, rule) {
        (Some(place), None) => {
            rules.remove(place);
        }
        (None, None) => {}
        (Some(place), Some(rule)) => {
            let new = table_of(rule)?;
            if let Some(old) = rules.get_mut(place) {
                merge(old, new);
            }
        }
        (None, Some(rule)) => {
            let mut new = table_of(rule)?;
            // What stands behind the last rule stays there.
            new.decor_mut().set_prefix(format!("{rest}\n"));
            rules.push(new);
            document.set_trailing("");
        }
    }
    let edited = document.to_string();
    // A file without a byte would not be believed.
    Ok(if edited.is_empty() { HEADING.to_owned() } else { edited })
}

fn parse(text: &str) -> Result<DocumentMut, String> {
    text.parse().map_err(|error: toml_edit::TomlError| error.message().to_owned())
}

/// `rule = [{…}]` says the same as `[[rule]]`.
fn unfold(document: &mut DocumentMut) {
    let tables: Option<Vec<Table>> = document.get("rule").and_then(Item::as_array).and_then(|array| {
        array.iter().map(|value| value.as_inline_table().cloned().map(InlineTable::into_table)).collect()
    });
    if let Some(tables) = tables {
        document.insert("rule", Item::ArrayOfTables(tables.into_iter().collect()));
    }
}

fn table_of(rule: &Rule) -> Result<Table, String> {
    let text = toml::to_string(rule).map_err(|error| error.to_string())?;
    let mut table = parse(&text)?.into_table();
    // Its tables were numbered in a text of their own; they follow the rule they belong to.
    forget_positions(&mut table);
    Ok(table)
}

fn forget_positions(table: &mut Table) {
    table.set_position(None);
    for (_, item) in table.iter_mut() {
        match item {
            Item::Table(inner) => forget_positions(inner),
            Item::ArrayOfTables(tables) => tables.iter_mut().for_each(forget_positions),
            _ => {}
        }
    }
}

/// Makes `old` say what `new` says; what they agree in keeps its place, its form and its comments.
fn merge(old: &mut Table, new: Table) {
    // A default that a person wrote out says the same.
    let is_default = |key: &str, item: &Item| match key {
        "enabled" => item.as_bool() == Some(true),
        "replace" => item.as_bool() == Some(false),
        "port" => item.as_integer() == Some(0),
        _ => false,
    };
    let gone = |(key, item): &(&str, &Item)| !new.contains_key(key) && !is_default(key, item);
    let gone: Vec<String> = old.iter().filter(gone).map(|(key, _)| key.to_owned()).collect();
    for key in gone {
        old.remove(&key);
    }
    for (key, new) in new {
        match (old.get_mut(&key), new) {
            (Some(Item::Table(old)), Item::Table(new)) => merge(old, new),
            (Some(Item::ArrayOfTables(old)), Item::ArrayOfTables(new)) => merge_list(old, new),
            (Some(old), new) if same(old, &new) => {}
            (Some(Item::Value(old)), Item::Value(mut new)) => {
                *new.decor_mut() = old.decor().clone();
                *old = new;
            }
            (Some(old), new) => *old = new,
            (None, new) => {
                old.insert(&key, new);
            }
        }
    }
}

fn merge_list(old: &mut ArrayOfTables, new: ArrayOfTables) {
    let count = new.len();
    for (index, new) in new.into_iter().enumerate() {
        match old.get_mut(index) {
            Some(old) => merge(old, new),
            None => old.push(new),
        }
    }
    while old.len() > count {
        old.remove(old.len() - 1);
    }
}

/// Whether both say the same, whatever their form.
fn same(old: &Item, new: &Item) -> bool {
    let value = |item: &Item| -> Option<toml::Value> {
        let mut table = Table::new();
        table.insert("x", item.clone());
        toml::from_str::<toml::Table>(&table.to_string()).ok()?.remove("x")
    };
    let old = value(old);
    old.is_some() && old == value(new)
}
