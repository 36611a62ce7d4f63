//! dockerapi
