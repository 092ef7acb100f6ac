//! What a generation holds, as text.

use std::collections::BTreeMap;

/// The configuration, named `haproxy.cfg`.
pub const CONFIG: &str = "haproxy.cfg";

/// Every file of a generation, by its path inside it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files(pub BTreeMap<String, Vec<u8>>);

impl Files {
    /// The configuration's text; empty where there is none.
    #[must_use]
    pub fn config(&self) -> &str {
        self.text(CONFIG)
    }

    /// A file as text; empty where there is none or it is not text.
    #[must_use]
    pub fn text(&self, name: &str) -> &str {
        self.0.get(name).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
    }
}
