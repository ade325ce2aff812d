//! ecosystem
fn main() {}
