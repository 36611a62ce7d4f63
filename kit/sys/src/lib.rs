//! sys

pub mod network;
