//! Parts of a seccomp profile out of arbitrary bytes.

use arbitrary::{Result, Unstructured};
use seccomp::{Arg, Compare};

/// Often near an edge, so that comparisons meet; as far from it as the bits of `near` are.
pub fn value(u: &mut Unstructured<'_>, near: u8) -> Result<u64> {
    let small = |u: &mut Unstructured<'_>| Ok(u64::from(u.arbitrary::<u8>()? & near));
    Ok(match u.int_in_range(0..=3)? {
        0 => u.arbitrary()?,
        1 => small(u)?,
        2 => small(u)? << 32,
        _ => u64::MAX - small(u)?,
    })
}

pub fn arg(u: &mut Unstructured<'_>, near: u8) -> Result<Arg> {
    Ok(Arg {
        index: u.int_in_range(0..=5)?,
        compare: match u.int_in_range(0..=6)? {
            0 => Compare::Ne,
            1 => Compare::Lt,
            2 => Compare::Le,
            3 => Compare::Eq,
            4 => Compare::Ge,
            5 => Compare::Gt,
            _ => Compare::MaskedEq(value(u, near)?),
        },
        value: value(u, near)?,
    })
}

/// As many as the bytes say, up to `most`.
pub fn some<T>(
    u: &mut Unstructured<'_>,
    most: usize,
    mut one: impl FnMut(&mut Unstructured<'_>) -> Result<T>,
) -> Result<Vec<T>> {
    (0..u.int_in_range(0..=most)?).map(|_| one(u)).collect()
}
