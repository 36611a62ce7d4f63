use proptest::prelude::*;

use super::*;
use crate::signature;

/// A call as it is on the wire, written out by hand from the specification.
#[test]
fn exact_bytes() {
    let mut message = Message::call("a.b", "/c", "d.e", "F").with("hi").with(true);
    message.serial = 7;
    let mut wanted = vec![b'l', 1, 0, 1, 12, 0, 0, 0, 7, 0, 0, 0, 72, 0, 0, 0];
    wanted.extend(b"\x01\x01o\0\x02\0\0\0/c\0\0\0\0\0\0");
    wanted.extend(b"\x02\x01s\0\x03\0\0\0d.e\0\0\0\0\0");
    wanted.extend(b"\x03\x01s\0\x01\0\0\0F\0\0\0\0\0\0\0");
    wanted.extend(b"\x06\x01s\0\x03\0\0\0a.b\0\0\0\0\0");
    wanted.extend(b"\x08\x01g\0\x02sb\0");
    wanted.extend(b"\x02\0\0\0hi\0\0\x01\0\0\0");
    let bytes = message.to_bytes().unwrap();
    assert_eq!(bytes, wanted);
    assert_eq!(Message::from_bytes(&bytes).unwrap().unwrap(), message);
}

#[test]
fn big_endian_is_read() {
    let mut bytes = vec![b'B', 2, 1, 1, 0, 0, 0, 8, 0, 0, 0, 9, 0, 0, 0, 15];
    bytes.extend(b"\x05\x01u\0\0\0\0\x03\x08\x01g\0\x01t\0\0");
    bytes.extend([0, 0, 0, 0, 0, 0, 1, 2]);
    let message = Message::from_bytes(&bytes).unwrap().unwrap();
    assert_eq!((message.serial, message.reply), (9, 3));
    assert_eq!(message.body, [Value::U64(258)]);
}

#[test]
fn unknown_kinds_are_passed_over() {
    let mut bytes = Message::call("", "/", "", "M").to_bytes().unwrap();
    bytes[1] = 9;
    assert!(Message::from_bytes(&bytes).unwrap().is_none());
    bytes[1] = 0;
    assert!(Message::from_bytes(&bytes).is_err());
}

#[test]
fn too_deep() {
    let deep = (0..70).fold(Value::Byte(1), |v, _| Value::Variant(Box::new(v)));
    let bytes = Message::call("", "/", "", "M")
        .with(deep)
        .to_bytes()
        .unwrap();
    assert!(Message::from_bytes(&bytes).is_err());
}

fn values() -> impl Strategy<Value = Value> {
    let basic = prop_oneof![
        any::<u8>().prop_map(Value::Byte),
        any::<bool>().prop_map(Value::Bool),
        any::<i16>().prop_map(Value::I16),
        any::<u16>().prop_map(Value::U16),
        any::<i32>().prop_map(Value::I32),
        any::<u32>().prop_map(Value::U32),
        any::<i64>().prop_map(Value::I64),
        any::<u64>().prop_map(Value::U64),
        "[^\\x00]{0,9}".prop_map(Value::Text),
        "(/[a-z_0-9]{1,4}){1,3}".prop_map(Value::Path),
        proptest::collection::vec(any::<u8>(), 0..9).prop_map(Value::Bytes),
    ];
    basic.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            inner.clone().prop_map(|v| Value::Variant(Box::new(v))),
            proptest::collection::vec(inner.clone(), 1..4).prop_map(Value::Struct),
            (inner.clone(), 0..4usize).prop_map(|(v, n)| {
                // Bytes have a form of their own.
                let v = match v {
                    Value::Byte(b) => Value::U16(b.into()),
                    v => v,
                };
                Value::Array(v.signature(), vec![v; n])
            }),
            (any::<u16>(), inner).prop_map(|(k, v)| {
                let entry = Value::Entry(Box::new((Value::U16(k), v)));
                Value::Array(entry.signature(), vec![entry])
            }),
        ]
    })
}

proptest! {
    #[test]
    fn there_and_back(body in proptest::collection::vec(values(), 0..5), serial in 1..u32::MAX) {
        let mut message = Message::call("x.y", "/z", "i.j", "M");
        (message.serial, message.body) = (serial, body);
        let all: String = message.body.iter().map(Value::signature).collect();
        prop_assume!(all.len() < 256 && signature::valid(&all));
        let bytes = message.to_bytes().unwrap();
        prop_assert_eq!(Message::length(&bytes).unwrap(), bytes.len());
        prop_assert_eq!(Message::from_bytes(&bytes).unwrap().unwrap(), message);
    }

    #[test]
    fn nothing_foreign_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Message::from_bytes(&bytes);
    }

    #[test]
    fn damage_is_an_error_or_a_message(at in 0..200usize, byte: u8) {
        let mut message = Message::call("x.y", "/z", "i.j", "M").with("text");
        message = message.with(Value::texts(["a", "b"])).with(Value::variant(7u64));
        let mut bytes = message.to_bytes().unwrap();
        let n = bytes.len();
        bytes[at % n] = byte;
        let _ = Message::from_bytes(&bytes);
    }
}
