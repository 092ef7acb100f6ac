//! Causeway: an HAProxy bridge for Marathon.
//!
//! Data flows one way through these modules; whoever has read [`bridge`] has seen the whole:
//! [`sources`] → [`state`] → [`services`] → [`placement`] → [`render`] → [`plan`] → [`reconcile`] → [`haproxy`].

pub mod bridge;
pub mod cli;
pub mod config;
pub mod demo;
pub mod durable;
pub mod fleet;
pub mod forecast;
pub mod haproxy;
pub mod history;
pub mod import;
pub mod model;
pub mod placement;
pub mod plan;
pub mod reconcile;
pub mod render;
pub mod rules;
pub mod services;
pub mod sources;
pub mod state;
pub mod telemetry;
pub mod view;
pub mod web;
pub mod why;
mod wording;
