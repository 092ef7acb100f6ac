//! Reading a list of apps as it comes in. One app at a time is held as text, each is parsed on its own, and one that
//! cannot be understood stops no other.

use std::fmt;
use std::io::{BufReader, Read};

use serde::de::{DeserializeSeed, Deserializer as _, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::wire::{WireApp, id_of, variables};
use crate::model::{AppId, Problem, ProblemKind};

/// One record of a list.
#[derive(Debug)]
pub(crate) enum Record {
    App(Box<WireApp>),
    /// A record that cannot be understood, under its id or, if not even that can be read, under `/`.
    Wrong(AppId, Problem),
}

impl Record {
    pub(crate) fn parse(raw: &str) -> Self {
        let cause = match serde_json::from_str::<WireApp>(raw) {
            Ok(app) if !app.id.is_empty() => return Self::App(Box::new(app)),
            Ok(_) => "it has no id".to_owned(),
            Err(error) => error.to_string(),
        };
        let id = AppId::new(&id_of(raw).unwrap_or_default());
        let message = format!("Marathon's record of the app cannot be understood: {cause}");
        let advice = "what was known of it before is kept; other apps go on";
        let problem = Problem::of(&id, ProblemKind::App, message, advice);
        Self::Wrong(id, problem)
    }

    /// The same with the variables that somebody named, read from the text of the record.
    pub(crate) fn with_variables(mut self, raw: &str, named: &[String]) -> Self {
        if let Self::App(app) = &mut self
            && !named.is_empty()
        {
            app.env.0.extend(variables(raw, named));
        }
        self
    }
}

/// Reads `{"apps":[…]}` and gives each record to `take`, which says whether to go on. A body that ends too early, or
/// has no `apps`, is an error: never an empty list. Of environments the `named` variables are kept too.
pub(crate) fn read_list(
    body: impl Read,
    named: &[String],
    take: &mut dyn FnMut(Record) -> bool,
) -> Result<(), serde_json::Error> {
    let mut json = serde_json::Deserializer::from_reader(BufReader::with_capacity(64 * 1024, body));
    let found = json.deserialize_map(Document { named, take })?;
    json.end()?;
    if found { Ok(()) } else { Err(serde_json::Error::custom("it has no `apps`")) }
}

struct Document<'a> {
    named: &'a [String],
    take: &'a mut dyn FnMut(Record) -> bool,
}

impl<'de> Visitor<'de> for Document<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with `apps`")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<bool, M::Error> {
        let mut found = false;
        while let Some(key) = map.next_key::<String>()? {
            if key == "apps" {
                found = true;
                map.next_value_seed(Apps { named: self.named, take: &mut *self.take })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

struct Apps<'a> {
    named: &'a [String],
    take: &'a mut dyn FnMut(Record) -> bool,
}

impl<'de> DeserializeSeed<'de> for Apps<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Apps<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of apps")
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut list: S) -> Result<(), S::Error> {
        while let Some(raw) = list.next_element::<Box<RawValue>>()? {
            if !(self.take)(Record::parse(raw.get()).with_variables(raw.get(), self.named)) {
                return Err(S::Error::custom("nobody waits for it any more"));
            }
        }
        Ok(())
    }
}

/// The records of a file: `{"apps":[…]}`, `{"app":{…}}`, a list, a group with its groups, or one app.
pub(crate) fn records_of_file(json: &[u8]) -> Result<Vec<Record>, serde_json::Error> {
    let document: &RawValue = serde_json::from_slice(json)?;
    let mut records = Vec::new();
    collect(document.get(), &mut records)?;
    Ok(records)
}

fn collect(raw: &str, records: &mut Vec<Record>) -> Result<(), serde_json::Error> {
    #[derive(serde::Deserialize)]
    struct Outline<'a> {
        #[serde(borrow)]
        apps: Option<Vec<&'a RawValue>>,
        #[serde(borrow)]
        app: Option<&'a RawValue>,
        #[serde(borrow)]
        groups: Option<Vec<&'a RawValue>>,
    }
    if raw.trim_start().starts_with('[') {
        let list: Vec<&RawValue> = serde_json::from_str(raw)?;
        records.extend(list.into_iter().map(|app| Record::parse(app.get())));
        return Ok(());
    }
    let outline: Outline<'_> = serde_json::from_str(raw)?;
    if outline.apps.is_none() && outline.app.is_none() && outline.groups.is_none() {
        records.push(Record::parse(raw));
        return Ok(());
    }
    let apps = outline.apps.into_iter().flatten().chain(outline.app);
    records.extend(apps.map(|app| Record::parse(app.get())));
    for group in outline.groups.into_iter().flatten() {
        collect(group.get(), records)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
