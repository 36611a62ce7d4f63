//! Checkpoints of gzip streams: what was found gives the same bytes as reading from the beginning.
#![no_main]

use std::io::Read as _;

use libfuzzer_sys::fuzz_target;
use seekable::Checkpoints;

fuzz_target!(|data: &[u8]| {
    // The first byte says in which pieces the rest comes.
    let Some((step, stream)) = data.split_first() else {
        return;
    };
    let mut checkpoints = Checkpoints::default();
    for part in stream.chunks(usize::from(*step) + 1) {
        if !checkpoints.push(part) {
            break;
        }
    }
    let Some(found) = checkpoints.finish() else {
        return;
    };
    let mut whole = Vec::new();
    let mut reader = flate2::read::MultiGzDecoder::new(stream);
    // Checksums are for whoever stores the layer.
    if reader.read_to_end(&mut whole).is_err() {
        return;
    }
    let mut plain = Vec::new();
    for piece in &found.map.pieces {
        let blob = &stream[piece.blob.start as usize..piece.blob.end as usize];
        plain.extend(piece.decode(blob, found.window(piece)).expect("a piece"));
    }
    assert!(plain == whole);
});
