//! Marathon as a source of apps.
