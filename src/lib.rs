//! Causeway: an HAProxy bridge for Marathon.

pub mod demo;
