//! compute-linux
