//! The options of `create` and `run`: from text to the body of `POST /containers/create`.

pub(crate) mod body;
pub(crate) mod check;
pub(crate) mod csv;
pub(crate) mod envfile;
pub(crate) mod limits;
pub(crate) mod mount;
pub(crate) mod network;
pub(crate) mod ports;
pub(crate) mod security;
