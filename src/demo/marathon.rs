//! The stand-in Marathon.
