//! Words of messages that more than one module needs.

use std::fmt;

/// A number with what is counted, in the plural where it has to be: "1 server", "2 servers", "0 servers".
pub(crate) fn counted(count: impl fmt::Display, what: &str) -> String {
    let count = count.to_string();
    let plural = if count == "1" { "" } else { "s" };
    format!("{count} {what}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_not_many() {
        assert_eq!([0, 1, 2].map(|count| counted(count, "server")), ["0 servers", "1 server", "2 servers"]);
    }
}
