//! Tables of contents, footers and maps of layers.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seekable::{Coding, EstargzFooter, Map, Piece, ZstdPosition, Ztoc};

/// A layout that was accepted: every file is where the map has bytes for it.
fn check(layout: &seekable::Layout) {
    let map = Map::decode(&layout.map.encode()).expect("what was written can be read");
    assert_eq!(map, layout.map);
    for item in &layout.items {
        if let archive::ItemKind::File {
            size,
            offset: Some(offset),
        } = item.kind
        {
            let covered: u64 = map
                .pieces(offset..offset + size)
                .iter()
                .map(|piece| (piece.at + piece.length).min(offset + size) - piece.at.max(offset))
                .sum();
            assert_eq!(covered, size);
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let _ = EstargzFooter::parse(data, u64::MAX);
    let _ = ZstdPosition::footer(data, u64::MAX);
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = ZstdPosition::annotation(text, u64::MAX);
    }
    let _ = Map::decode(data);
    // A document tells of which blob it is; the first eight bytes stand for that.
    if let Some((size, document)) = data.split_first_chunk::<8>()
        && let Ok(ztoc) = Ztoc::parse(document, u64::from_le_bytes(*size))
    {
        check(&ztoc.layout);
    }
    let table = zstd::encode_all(data, 1).expect("zstd");
    let position = ZstdPosition {
        offset: 1 << 20,
        length: table.len() as u64,
        plain: data.len() as u64,
    };
    let digest = archive::hex(&<sha2::Sha256 as sha2::Digest>::digest(&table));
    if let Ok(layout) = position.layout(&table, &digest) {
        check(&layout);
    }
    for coding in [
        Coding::Gzip,
        Coding::Zstd,
        Coding::Deflate {
            bits: data.first().copied().unwrap_or_default(),
            window: None,
        },
    ] {
        let piece = Piece {
            at: 0,
            length: 1 << 16,
            blob: 0..data.len() as u64,
            inner: 7,
            coding,
            digest: archive::hex(&<sha2::Sha256 as sha2::Digest>::digest(data)),
        };
        let _ = piece.decode(data, None);
    }
});
