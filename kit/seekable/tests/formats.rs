//! Formats as they are in blobs, and pieces from the middle of streams.

use std::io::Write as _;

use archive::ItemKind;
use flate2::{Compress, Compression, FlushCompress};
use proptest::prelude::*;
use seekable::{Coding, EstargzFooter, Piece, ZstdPosition, Ztoc};
use sha2::{Digest as _, Sha256};

fn hex(bytes: &[u8]) -> String {
    archive::hex(&Sha256::digest(bytes))
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), Compression::fast());
    out.write_all(bytes).expect("gzip");
    out.finish().expect("gzip")
}

fn footer(toc: u64) -> Vec<u8> {
    let mut out = vec![0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 0xff, 26, 0];
    out.extend([b'S', b'G', 22, 0]);
    out.extend(format!("{toc:016x}STARGZ").as_bytes());
    out.extend([1, 0, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0]);
    out
}

#[test]
fn an_estargz_blob_is_read_from_its_end() {
    let content = b"content of a file";
    let mut blob = gzip(b"a header");
    let at = blob.len();
    blob.extend(gzip(content));
    let toc = blob.len() as u64;
    let json = format!(
        "{{\"version\":1,\"entries\":[{{\"name\":\"f\",\"type\":\"reg\",\"size\":{},\"offset\":{at},\
         \"chunkDigest\":\"sha256:{}\"}}]}}",
        content.len(),
        hex(content)
    );
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(json.len() as u64);
    tar.append_data(&mut header, "stargz.index.json", json.as_bytes())
        .expect("tar");
    blob.extend(gzip(&tar.into_inner().expect("tar")));
    blob.extend(footer(toc));
    let length = blob.len() as u64;
    let tail = &blob[blob.len() - seekable::ESTARGZ_FOOTER as usize..];
    let footer = EstargzFooter::parse(tail, length).expect("footer");
    assert_eq!(footer.toc, toc);
    let part = |range: std::ops::Range<u64>| &blob[range.start as usize..range.end as usize];
    let member = part(footer.toc..footer.end);
    assert!(footer.layout(member, &hex(b"something else")).is_err());
    let layout = footer
        .layout(member, &hex(json.as_bytes()))
        .expect("layout");
    let plain: Vec<Vec<u8>> = layout
        .map
        .pieces
        .iter()
        .map(|piece| piece.decode(part(piece.blob.clone()), None).expect("piece"))
        .collect();
    assert_eq!(
        plain,
        [content.to_vec(), json.into_bytes()],
        "the table is a file too"
    );
    let last = &layout.items[1];
    assert_eq!(last.path.to_str(), Some("stargz.index.json"));
    let offset = layout.map.pieces[1].at;
    assert!(matches!(last.kind, ItemKind::File { offset: Some(at), .. } if at == offset));
    let mut wrong = part(layout.map.pieces[0].blob.clone()).to_vec();
    wrong[14] ^= 1;
    assert!(layout.map.pieces[0].decode(&wrong, None).is_err());
}

#[test]
fn footers_of_other_blobs_are_refused() {
    for wrong in [0, 3, 12, 20, 33] {
        let mut bytes = footer(5);
        bytes[wrong] = b'?';
        assert!(EstargzFooter::parse(&bytes, 100).is_err(), "byte {wrong}");
    }
    assert!(EstargzFooter::parse(&footer(49), 100).is_err(), "no table");
    assert!(EstargzFooter::parse(&footer(48), 100).is_ok());
    assert!(EstargzFooter::parse(&footer(5), 10).is_err());
}

#[test]
fn positions_of_zstd_tables() {
    let position = ZstdPosition {
        offset: 4_156_360,
        length: 16_952,
        plain: 102_129,
    };
    let text = "4156360:16952:102129:1";
    assert_eq!(
        ZstdPosition::annotation(text, 5_000_000).expect("it"),
        position
    );
    for wrong in [
        "",
        "1:2:3",
        "4156360:16952:102129:2",
        "5:1:1:1",
        "-1:1:1:1",
        "8:0:1:1",
    ] {
        assert!(
            ZstdPosition::annotation(wrong, 5_000_000).is_err(),
            "{wrong}"
        );
    }
    assert!(
        ZstdPosition::annotation(text, 4_156_361).is_err(),
        "beyond the blob"
    );
    for (numbers, magic) in [(7, b"GNUlInUx"), (4, b"GnUlInUx")] {
        let mut bytes = vec![0x50, 0x2a, 0x4d, 0x18];
        bytes.extend((numbers * 8u32 + 8).to_le_bytes());
        let all = [4_156_360u64, 16_952, 102_129, 1, 9, 9, 9];
        for number in &all[..numbers as usize] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(magic);
        // What comes before a short footer is something else.
        let mut tail = vec![7; (seekable::ZSTD_FOOTER as usize).saturating_sub(bytes.len())];
        tail.extend(&bytes);
        assert_eq!(
            ZstdPosition::footer(&tail, 5_000_000).expect("it"),
            position
        );
        assert!(ZstdPosition::footer(&tail[1..], 5_000_000).is_err() || numbers == 4);
    }
}

/// Two halves of a deflate stream, the second of which refers to the first.
fn halves(text: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let mut stream = Compress::new(Compression::best(), false);
    let mut out = (Vec::with_capacity(1 << 20), Vec::with_capacity(1 << 20));
    stream
        .compress_vec(text, &mut out.0, FlushCompress::Sync)
        .expect("deflate");
    stream
        .compress_vec(text, &mut out.1, FlushCompress::Finish)
        .expect("deflate");
    out
}

fn spans(coding: Coding, blob: &[u8], length: usize) -> Piece {
    Piece {
        at: 0,
        length: length as u64,
        blob: 0..blob.len() as u64,
        inner: 0,
        coding,
        digest: hex(blob),
    }
}

#[test]
fn the_middle_of_a_stream_needs_its_history() {
    let text: Vec<u8> = (0..20_000u32).flat_map(|n| (n * n).to_le_bytes()).collect();
    let (_, second) = halves(&text);
    let mut window = vec![0; 32 << 10];
    window.copy_from_slice(&text[text.len() - (32 << 10)..]);
    let coding = Coding::Deflate {
        bits: 0,
        window: Some(1),
    };
    let piece = spans(coding, &second, text.len());
    assert_eq!(piece.decode(&second, Some(&window)).expect("decoded"), text);
    assert!(piece.decode(&second, None).is_err(), "no history");
    let mut wrong = second.clone();
    wrong[9] ^= 1;
    assert!(
        piece.decode(&wrong, Some(&window)).is_err(),
        "another digest"
    );
}

#[test]
fn a_stream_may_begin_within_a_byte() {
    let text = b"text that begins somewhere within a byte, as blocks do".repeat(9);
    let mut stream = Compress::new(Compression::best(), false);
    let mut plain = Vec::with_capacity(1 << 16);
    stream
        .compress_vec(&text, &mut plain, FlushCompress::Finish)
        .expect("deflate");
    for bits in 1..=7u8 {
        // The stream's bits move up: its first ones are the upper ones of a first byte.
        let mut shifted = Vec::new();
        let mut before = 0x5a & (0xff >> bits);
        for byte in &plain {
            shifted.push(before | byte << (8 - bits));
            before = byte >> bits;
        }
        shifted.push(before);
        let piece = spans(Coding::Deflate { bits, window: None }, &shifted, text.len());
        assert_eq!(
            piece.decode(&shifted, None).expect("decoded"),
            text,
            "{bits} bits"
        );
    }
}

proptest! {
    #[test]
    fn whatever_the_bytes_there_is_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = EstargzFooter::parse(&bytes, u64::MAX);
        let _ = ZstdPosition::footer(&bytes, u64::MAX);
        let _ = Ztoc::parse(&bytes, 7);
    }
}
