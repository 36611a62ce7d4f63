//! Chores as Rust code.
fn main() {}
