//! The fuzz target's corpus, and some thousand random inputs, through its oracle: our frame decoder, fastwebsockets and
//! tungstenite on the same bytes. The long run is `cargo +nightly fuzz run decoder` (docs/conformance.md).
#![allow(clippy::unwrap_used)]

use gateway::shard::codec;
use proptest::prelude::*;
use tokio_tungstenite::tungstenite;

#[path = "../../fuzz/oracle.rs"]
mod oracle;

#[test]
fn the_corpus_is_read_alike() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus/decoder");
    let mut inputs = 0;
    for entry in std::fs::read_dir(corpus).unwrap() {
        oracle::check(&std::fs::read(entry.unwrap().path()).unwrap());
        inputs += 1;
    }
    assert!(inputs >= 50, "only {inputs} inputs in {corpus}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_096))]

    #[test]
    fn random_frames_are_read_alike(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        oracle::check(&bytes);
    }

    /// Data and control frames in turn, most of them in order.
    #[test]
    fn random_conversations_are_read_alike(
        mode in any::<u8>(),
        frames in prop::collection::vec((prop::sample::select(vec![0x01, 0x81, 0x02, 0x82, 0x00, 0x80, 0x89, 0x8A, 0x88]),
            prop::collection::vec(any::<char>(), 0..20)), 0..12),
    ) {
        let mut plan = vec![mode | 1];
        for (first, chars) in frames {
            let payload = String::from_iter(chars).into_bytes();
            let payload = &payload[..payload.len().min(63)];
            plan.extend([first, payload.len() as u8]);
            plan.extend(payload);
        }
        oracle::check(&plan);
    }
}
