//! The wire format, both ways, and that no bytes from the kernel can hurt.

use proptest::prelude::*;

use crate::batch::Batch;
use crate::nft::{Element, Family, Transaction};
use crate::parse::{attribute, attributes, messages, outcome, text};
use crate::route::{Address, Destination, Link, Requests};

#[test]
fn messages_and_nests_have_their_lengths() {
    let mut batch = Batch::default();
    batch.push("first", 7, 1, &[9; 6], |a| {
        a.u8(1, 5).nest(2, |a| {
            a.text(3, "ab").be32(4, 1);
        });
    });
    batch.push("second", 8, 1, &[], |_| {});
    batch.number(u32::MAX);
    batch.flag_last(4);
    let bytes = batch.slice(0, 2).to_vec();
    let all: Vec<_> = messages(&bytes).collect();
    assert_eq!(all.len(), 2);
    assert_eq!(
        (all[0].kind, all[0].flags, all[0].sequence),
        (7, 1, u32::MAX)
    );
    assert_eq!((all[1].kind, all[1].flags, all[1].sequence), (8, 5, 0));
    // Six bytes of header are padded to eight.
    let parts: Vec<_> = attributes(&all[0].payload[8..]).collect();
    assert_eq!(parts[0], (1, &[5u8][..]));
    let nested = attribute(&all[0].payload[8..], 2).expect("the nest");
    assert_eq!(attribute(nested, 3).and_then(text).as_deref(), Some("ab"));
    assert_eq!(attribute(nested, 4), Some(&[0, 0, 0, 1][..]));
    assert_eq!(batch.slice(1, 2), &bytes[bytes.len() - 16..]);
}

#[test]
fn what_does_not_fit_is_refused_not_cut() {
    let mut requests = Requests::new();
    requests.delete_link(&"x".repeat(70_000));
    assert_eq!(requests.0.too_large(), Some("delete link"));
    // Many elements are spread over several messages instead.
    let elements: Vec<_> = (0..5000u16)
        .map(|n| Element {
            key: n.to_be_bytes().to_vec(),
            data: vec![0; 8],
        })
        .collect();
    let mut transaction = Transaction::new(Family::Ip, "t");
    transaction.add_elements("m", &elements);
    let batch = transaction.finish().expect("something to do");
    assert_eq!((batch.too_large(), batch.len()), (None, 12));
}

#[test]
fn refusals_carry_the_kernels_words() {
    // NLMSG_ERROR, capped, with attributes: -EEXIST and "no".
    let mut payload = (-17i32).to_ne_bytes().to_vec();
    payload.extend_from_slice(&[0; 16]);
    payload.extend_from_slice(&[7, 0, 1, 0, b'n', b'o', 0, 0]);
    let message = crate::parse::Message {
        kind: 2,
        flags: 0x300,
        sequence: 1,
        payload: &payload,
    };
    let outcome = outcome(&message).expect("an outcome");
    assert_eq!(outcome.errno, Some(rustix::io::Errno::EXIST));
    assert_eq!(outcome.explanation.as_deref(), Some("no"));
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_harm(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        kind in prop::sample::select(vec![2u16, 16, 20, 24]),
        flags in any::<u16>(),
    ) {
        for message in messages(&bytes) {
            let _ = (outcome(&message), Link::parse(&message));
        }
        let message = crate::parse::Message { kind, flags, sequence: 0, payload: &bytes };
        let _ = (outcome(&message), Link::parse(&message), Address::parse(&message));
        let _ = (Destination::parse(&message), crate::nft::read_all(&message));
        let _ = crate::conntrack::Flow::parse(&message);
        let _ = attributes(&bytes).map(|(_, value)| attributes(value).count()).sum::<usize>();
    }

    #[test]
    fn attributes_come_back_as_written(
        values in proptest::collection::vec((1u16..100, proptest::collection::vec(any::<u8>(), 0..40)), 0..20),
    ) {
        let mut batch = Batch::default();
        batch.push("any", 1, 0, &[], |a| {
            for (kind, value) in &values {
                a.bytes(*kind, value);
            }
        });
        let bytes = batch.slice(0, 1);
        let message = messages(bytes).next().expect("one message");
        let back: Vec<_> = attributes(message.payload).map(|(k, v)| (k, v.to_vec())).collect();
        prop_assert_eq!(back, values);
    }
}
