//! The labels of an app as they were understood, each with what it does or what is wrong with it.

use serde::Serialize;

use super::{AppLabels, table};
use crate::model::App;

/// One label as it was understood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explained {
    /// The label's name.
    pub name: String,
    /// Its value; `(not shown)` where that may be a secret.
    pub value: String,
    /// What it does; `None` where it is not known, or is another tool's.
    pub meaning: Option<&'static str>,
    /// What is wrong with it; `None` where it is used.
    pub problem: Option<String>,
    /// What to do about that.
    pub advice: Option<String>,
}

/// Every label of the dialect that an app has.
#[must_use]
pub fn explained(app: &App) -> Vec<Explained> {
    let explain = |(name, value): (&str, &str)| {
        let rest = name.strip_prefix("HAPROXY_")?;
        let wrong = AppLabels::default().read(rest, value).err().map(|wrong| wrong.told(name, value));
        let word =
            rest.split_once('_').filter(|(index, _)| index.parse::<usize>().is_ok()).map(|(_, word)| word);
        let of_port =
            |word: &str| table::OF_PORT.iter().find(|label| label.name == word).map(|label| label.meaning);
        let of_app = || table::OF_APP.iter().find(|label| label.name == rest).map(|label| label.meaning);
        let shown = if name.ends_with("_AUTH") { "(not shown)" } else { value };
        let (problem, advice) = wrong.unzip();
        Some(Explained {
            name: name.to_owned(),
            value: shown.to_owned(),
            meaning: word.map_or_else(of_app, of_port),
            problem,
            advice,
        })
    };
    app.labels.iter().map(|(name, value)| (&**name, &**value)).filter_map(explain).collect()
}
