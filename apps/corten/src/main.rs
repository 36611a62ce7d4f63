//! corten
fn main() {}
