//! The rule store as a source.
