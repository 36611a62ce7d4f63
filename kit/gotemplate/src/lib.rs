//! Go text/template over JSON-like values, with the docker CLI's functions.

mod number;

pub use number::format_general;
