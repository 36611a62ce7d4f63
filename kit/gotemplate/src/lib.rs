//! Go text/template over JSON-like values, with the docker CLI's functions.
