//! The names of Bamboo's nodes: an id as Go's `url.QueryEscape` writes it.

use crate::model::AppId;

/// The name of an id's node.
pub(super) fn of(id: &AppId) -> String {
    escaped(id.as_str())
}

/// A text as the name of a node.
pub(super) fn escaped(text: &str) -> String {
    use std::fmt::Write as _;
    let mut name = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                name.push(char::from(byte));
            }
            b' ' => name.push('+'),
            byte => {
                let _infallible = write!(name, "%{byte:02X}");
            }
        }
    }
    name
}

/// The id that a node is for; a missing leading slash, as old Bamboos left it, is added. `None`: the name is no escape.
pub(super) fn id_of(name: &str) -> Option<AppId> {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                if !digits.iter().all(u8::is_ascii_hexdigit) {
                    return None;
                }
                bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
            }
            byte => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).ok().filter(|id| !id.is_empty()).map(|id| AppId::new(&id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_bamboo_writes() {
        for (id, name) in [
            ("/grp/app 1+x", "%2Fgrp%2Fapp+1%2Bx"),
            ("/a.b-c_d~e", "%2Fa.b-c_d~e"),
            ("/team/**", "%2Fteam%2F%2A%2A"),
        ] {
            assert_eq!(of(&AppId::new(id)), name);
            assert_eq!(id_of(name), Some(AppId::new(id)));
        }
        assert_eq!(id_of("app"), Some(AppId::new("/app")));
        for bad in ["%", "%2", "%zz", "%+1", "%ff", ""] {
            assert_eq!(id_of(bad), None, "{bad}");
        }
    }
}
