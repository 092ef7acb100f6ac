//! Causeway: an HAProxy bridge for Marathon.

pub mod config;
pub mod demo;
pub mod model;
pub mod sources;
