//! keeper-protocol
