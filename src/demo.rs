//! The demo and the stand-in Marathon it runs on.

pub mod marathon;
