//! So much of DER (X.690) as keys, signatures and certificates that a library has verified are still
//! read for: bytes in, slices of them out.

/// A list.
pub const SEQUENCE: u8 = 0x30;
/// A set.
pub const SET: u8 = 0x31;
/// A number.
pub const INTEGER: u8 = 0x02;
/// Bits, after the count of those that do not count.
pub const BIT_STRING: u8 = 0x03;
/// Bytes.
pub const OCTET_STRING: u8 = 0x04;
/// An object identifier.
pub const OBJECT: u8 = 0x06;
/// True or false.
pub const BOOLEAN: u8 = 0x01;
/// Extensions of a certificate.
const EXTENSIONS: u8 = 0xa3;

/// Contents of one element, and what follows it; `None` for another tag.
pub fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, contents, rest) = any(der)?;
    (found == tag).then_some((contents, rest))
}

/// Tag and contents of one element, and what follows it.
pub fn any(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match *first {
        short @ ..=0x7f => (usize::from(short), rest),
        long @ 0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(long & 0x7f))?;
            let length = bytes
                .iter()
                .fold(0, |sum, byte| sum << 8 | usize::from(*byte));
            (length, rest)
        }
        _ => return None,
    };
    let (contents, rest) = rest.split_at_checked(length)?;
    Some((*tag, contents, rest))
}

/// Algorithm and key of a SubjectPublicKeyInfo (RFC 5280, section 4.1.2.7).
pub fn key_info(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (info, rest) = element(der, SEQUENCE)?;
    let (algorithm, more) = element(info, SEQUENCE)?;
    let (bits, end) = element(more, BIT_STRING)?;
    // No key has unused bits at its end.
    let (unused, key) = bits.split_first()?;
    (*unused == 0 && rest.is_empty() && end.is_empty()).then_some((algorithm, key))
}

/// Bits of an RSA key's modulus (RFC 8017, appendix A.1.1).
pub fn modulus_bits(key: &[u8]) -> Option<usize> {
    let (key, _) = element(key, SEQUENCE)?;
    let (modulus, _) = element(key, INTEGER)?;
    let zeros = modulus.iter().take_while(|byte| **byte == 0).count();
    let first = modulus.get(zeros)?;
    let bits = (modulus.len() - zeros) * 8;
    Some(bits - usize::try_from(first.leading_zeros()).ok()?)
}

/// Extensions of a certificate: object identifiers and values (RFC 5280, section 4.1).
pub fn extensions(certificate: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let (certificate, _) = element(certificate, SEQUENCE)?;
    let (mut body, _) = element(certificate, SEQUENCE)?;
    let mut found = Vec::new();
    while !body.is_empty() {
        let (tag, contents, rest) = any(body)?;
        body = rest;
        if tag != EXTENSIONS {
            continue;
        }
        let (mut list, _) = element(contents, SEQUENCE)?;
        while !list.is_empty() {
            let (one, rest) = element(list, SEQUENCE)?;
            list = rest;
            let (name, value) = element(one, OBJECT)?;
            // Whether it is critical.
            let value = element(value, BOOLEAN).map_or(value, |(_, rest)| rest);
            let (value, _) = element(value, OCTET_STRING)?;
            found.push((name, value));
        }
    }
    Some(found)
}

/// An attribute of a name: object identifier, tag and bytes of its text.
pub type Attribute<'a> = (&'a [u8], u8, &'a [u8]);

/// Attributes of a name, whose outer sequence is left out (RFC 5280, section 4.1.2.4).
pub fn attributes(mut name: &[u8]) -> Option<Vec<Attribute<'_>>> {
    let mut found = Vec::new();
    while !name.is_empty() {
        let (mut set, rest) = element(name, SET)?;
        name = rest;
        while !set.is_empty() {
            let (pair, rest) = element(set, SEQUENCE)?;
            set = rest;
            let (key, value) = element(pair, OBJECT)?;
            let (tag, text, _) = any(value)?;
            found.push((key, tag, text));
        }
    }
    Some(found)
}

/// A signature of ECDSA as it is in JWS (two numbers of equal length) as DER has it.
pub fn ecdsa(raw: &[u8]) -> Vec<u8> {
    let (r, s) = raw.split_at(raw.len() / 2);
    let mut both = Vec::new();
    for number in [r, s] {
        let zeros = number.iter().take_while(|byte| **byte == 0).count();
        let number = &number[zeros.min(number.len().saturating_sub(1))..];
        let sign = number.first().is_some_and(|byte| *byte >= 0x80);
        both.push(INTEGER);
        push_length(&mut both, number.len() + usize::from(sign));
        both.extend(sign.then_some(0));
        both.extend_from_slice(number);
    }
    let mut all = vec![SEQUENCE];
    push_length(&mut all, both.len());
    all.extend_from_slice(&both);
    all
}

fn push_length(to: &mut Vec<u8>, length: usize) {
    // Signatures are shorter than 256 bytes: other lengths are not made.
    match u8::try_from(length) {
        Ok(short @ ..=0x7f) => to.push(short),
        Ok(long) => to.extend([0x81, long]),
        Err(_) => to.extend([0x82, (length >> 8) as u8, length as u8]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_of_jws_in_der() {
        assert_eq!(
            ecdsa(&[0, 1, 0x80, 0]),
            [0x30, 8, 2, 1, 1, 2, 3, 0, 0x80, 0]
        );
        assert_eq!(ecdsa(&[0, 0]), [0x30, 6, 2, 1, 0, 2, 1, 0]);
        assert_eq!(ecdsa(&[]).len(), 6);
    }

    #[test]
    fn lengths_of_keys() {
        assert_eq!(modulus_bits(&[0x30, 7, 2, 2, 0, 0x80, 2, 1, 3]), Some(8));
        assert_eq!(modulus_bits(&[0x30, 4, 2, 2, 1, 0]), Some(9));
        assert_eq!(modulus_bits(&[0x30, 2, 2, 0]), None);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_are_too_strange(bytes in proptest::collection::vec(0u8..=255, 0..80)) {
            let _ = (key_info(&bytes), modulus_bits(&bytes), extensions(&bytes), attributes(&bytes));
            let _ = ecdsa(&bytes);
        }
    }
}
