//! compute-sim
