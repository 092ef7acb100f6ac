//! Optional values in TOML: an empty text means that there is none, so that every key can stand in an example.

use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serializer};

/// A value that has a text form and may be empty.
pub(super) trait OptionalText: Sized {
    fn to_text(&self) -> String;
    fn from_text(text: String) -> Self;
}

impl OptionalText for String {
    fn to_text(&self) -> String {
        self.clone()
    }
    fn from_text(text: String) -> Self {
        text
    }
}

impl OptionalText for PathBuf {
    fn to_text(&self) -> String {
        self.display().to_string()
    }
    fn from_text(text: String) -> Self {
        text.into()
    }
}

#[allow(clippy::ref_option, reason = "the signature that serde's `with` calls")]
pub(super) fn serialize<T: OptionalText, S: Serializer>(
    value: &Option<T>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&value.as_ref().map(OptionalText::to_text).unwrap_or_default())
}

pub(super) fn deserialize<'de, T: OptionalText, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    let text = String::deserialize(deserializer)?;
    Ok((!text.is_empty()).then(|| T::from_text(text)))
}
