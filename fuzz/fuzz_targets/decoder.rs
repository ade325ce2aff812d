//! `cargo +nightly fuzz run decoder`: our frame decoder against fastwebsockets and tungstenite on the same bytes.
#![no_main]

#[path = "../../gateway/src/shard/codec.rs"]
#[allow(dead_code)]
mod codec;
#[path = "../../gateway/src/shard/decoder.rs"]
#[allow(dead_code)]
mod decoder;
#[path = "../oracle.rs"]
mod oracle;

use tungstenite;

libfuzzer_sys::fuzz_target!(|data: &[u8]| oracle::check(data));
