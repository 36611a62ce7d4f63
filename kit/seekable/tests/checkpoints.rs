//! Ordinary gzip streams, read from the middle after they were read once.

use std::io::Write as _;

use flate2::Compression;
use seekable::{Checkpointed, Checkpoints, Map};

fn gzip(bytes: &[u8], level: u32) -> Vec<u8> {
    let builder = flate2::GzBuilder::new().filename("a name").comment("more");
    let mut out = builder.write(Vec::new(), Compression::new(level));
    out.write_all(bytes).expect("gzip");
    out.finish().expect("gzip")
}

/// Bytes that can be compressed, but not to nothing, and some that cannot.
fn text(seed: u32, length: usize) -> Vec<u8> {
    let mut state = seed;
    let next = |at: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        match at >> 16 & 1 {
            0 => b"aaaabcdefghijklm"[(state >> 28) as usize],
            _ => (state >> 24) as u8,
        }
    };
    (0..length).map(next).collect()
}

fn found(stream: &[u8], step: usize) -> Option<Checkpointed> {
    let mut checkpoints = Checkpoints::default();
    for part in stream.chunks(step) {
        checkpoints.push(part);
    }
    checkpoints.finish()
}

/// Each piece by itself, put together.
fn read(stream: &[u8], found: &Checkpointed) -> Vec<u8> {
    let mut plain = Vec::new();
    for piece in &found.map.pieces {
        assert_eq!(piece.at, plain.len() as u64);
        let blob = &stream[piece.blob.start as usize..piece.blob.end as usize];
        plain.extend(piece.decode(blob, found.window(piece)).expect("piece"));
    }
    plain
}

#[test]
fn one_member_in_pieces() {
    let plain = text(1, 9 << 20);
    for level in [0, 1, 6] {
        let stream = gzip(&plain, level);
        for step in [1000, stream.len()] {
            let found = found(&stream, step).expect("checkpoints");
            // Compressors in haste make long blocks.
            let least = if level == 1 { 1 } else { 2 };
            assert!(found.map.pieces.len() >= least, "level {level}");
            assert!(read(&stream, &found) == plain, "level {level}, {step}");
            let map = Map::decode(&found.map.encode()).expect("the same");
            assert_eq!(map, found.map);
        }
    }
    // Wrong bytes are noticed.
    let mut stream = gzip(&plain, 6);
    let made = found(&stream, 4096).expect("checkpoints");
    let piece = &made.map.pieces[1];
    let middle = (piece.blob.start + piece.blob.end) as usize / 2;
    stream[middle] ^= 1;
    let blob = &stream[piece.blob.start as usize..piece.blob.end as usize];
    assert!(made.window(piece).is_some());
    assert!(piece.decode(blob, made.window(piece)).is_err());
}

#[test]
fn several_members() {
    let parts = [
        text(1, 512),
        text(2, 5 << 20),
        Vec::new(),
        text(3, 9_000 * 512),
    ];
    let stream: Vec<u8> = parts.iter().flat_map(|part| gzip(part, 6)).collect();
    for step in [777, 1 << 20] {
        let found = found(&stream, step).expect("checkpoints");
        assert!(read(&stream, &found) == parts.concat());
    }
    let many: Vec<u8> = (0..300).flat_map(|n| gzip(&text(n, 512), 1)).collect();
    assert_eq!(
        found(&many, 999).expect("checkpoints").map.pieces.len(),
        300
    );
}

#[test]
fn what_is_no_whole_gzip_stream_has_none() {
    let stream = gzip(&text(1, 1 << 20), 6);
    assert_eq!(found(&stream[..stream.len() - 1], 999), None);
    assert_eq!(found(&stream[1..], 999), None);
    assert_eq!(found(&[&stream[..], b"more"].concat(), 999), None);
    assert_eq!(found(&gzip(&text(1, 513), 6), 999), None, "of odd length");
    assert_eq!(found(&gzip(b"", 6), 999), None);
    assert_eq!(found(b"", 1), None);
    // One block that cannot be a piece: it is given up early, and nothing more is wanted.
    let zeros = gzip(&vec![0; 80 << 20], 9);
    let mut checkpoints = Checkpoints::default();
    let wanted = zeros.chunks(1000).all(|part| checkpoints.push(part));
    let found = checkpoints.finish();
    assert!(found.is_none_or(|found| wanted && read(&zeros, &found).len() == 80 << 20));
}

proptest::proptest! {
    #[test]
    fn whatever_comes_is_answered(bytes in proptest::collection::vec(0u8..=255, 0..400)) {
        let mut stream = vec![0x1f, 0x8b, 8];
        stream.extend(&bytes);
        let _ = found(&stream, 7);
        let mut stream = gzip(&text(1, 4096), 6);
        for (place, byte) in bytes.iter().enumerate() {
            let length = stream.len();
            stream[(place * 7919) % length] ^= byte & 1;
        }
        let _ = found(&stream, 64);
    }
}
