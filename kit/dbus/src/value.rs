//! Values and their form on the wire.

use crate::signature::{self, DEPTH, alignment, first};
use crate::{Error, MOST, Result};

/// One value of the D-Bus type system; file descriptors are left out.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `y`
    Byte(u8),
    /// `b`
    Bool(bool),
    /// `n`
    I16(i16),
    /// `q`
    U16(u16),
    /// `i`
    I32(i32),
    /// `u`
    U32(u32),
    /// `x`
    I64(i64),
    /// `t`
    U64(u64),
    /// `d`
    Double(f64),
    /// `s`
    Text(String),
    /// `o`
    Path(String),
    /// `g`
    Signature(String),
    /// `ay`
    Bytes(Vec<u8>),
    /// `a` of anything else: the signature of an element, and the elements.
    Array(String, Vec<Value>),
    /// `(…)`, never empty.
    Struct(Vec<Value>),
    /// `{…}`, only in an array.
    Entry(Box<(Value, Value)>),
    /// `v`
    Variant(Box<Value>),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::U64(value)
    }
}

impl Value {
    /// Strings, as `as`.
    pub fn texts<'a>(list: impl IntoIterator<Item = &'a str>) -> Self {
        Self::Array("s".into(), list.into_iter().map(Self::from).collect())
    }

    /// A value in a variant.
    pub fn variant(value: impl Into<Self>) -> Self {
        Self::Variant(Box::new(value.into()))
    }

    /// The text of a string, an object path or a signature, also in a variant.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Path(text) | Self::Signature(text) => Some(text),
            Self::Variant(inner) => inner.as_text(),
            _ => None,
        }
    }

    /// Its signature, one complete type.
    pub fn signature(&self) -> String {
        let mut out = String::new();
        self.sign(&mut out);
        out
    }

    pub(crate) fn sign(&self, out: &mut String) {
        let last = match self {
            Self::Byte(_) => 'y',
            Self::Bool(_) => 'b',
            Self::I16(_) => 'n',
            Self::U16(_) => 'q',
            Self::I32(_) => 'i',
            Self::U32(_) => 'u',
            Self::I64(_) => 'x',
            Self::U64(_) => 't',
            Self::Double(_) => 'd',
            Self::Text(_) => 's',
            Self::Path(_) => 'o',
            Self::Signature(_) => 'g',
            Self::Variant(_) => 'v',
            Self::Bytes(_) => return out.push_str("ay"),
            Self::Array(element, _) => {
                out.push('a');
                return out.push_str(element);
            }
            Self::Struct(fields) => {
                out.push('(');
                fields.iter().for_each(|f| f.sign(out));
                ')'
            }
            Self::Entry(entry) => {
                out.push('{');
                entry.0.sign(out);
                entry.1.sign(out);
                '}'
            }
        };
        out.push(last);
    }

    /// Appends it, little endian; `out` begins at a boundary of eight bytes.
    pub(crate) fn write(&self, out: &mut Vec<u8>) -> Result<()> {
        match self {
            Self::Byte(v) => out.push(*v),
            Self::Bool(v) => number(out, 4, &u32::from(*v).to_le_bytes()),
            Self::I16(v) => number(out, 2, &v.to_le_bytes()),
            Self::U16(v) => number(out, 2, &v.to_le_bytes()),
            Self::I32(v) => number(out, 4, &v.to_le_bytes()),
            Self::U32(v) => number(out, 4, &v.to_le_bytes()),
            Self::I64(v) => number(out, 8, &v.to_le_bytes()),
            Self::U64(v) => number(out, 8, &v.to_le_bytes()),
            Self::Double(v) => number(out, 8, &v.to_le_bytes()),
            Self::Text(v) => text(out, v)?,
            Self::Path(v) if valid_path(v) => text(out, v)?,
            Self::Path(_) => return Err(Error::Malformed("invalid object path")),
            Self::Signature(v) => sign_bytes(out, v)?,
            Self::Bytes(v) => {
                number(out, 4, &length(v.len())?.to_le_bytes());
                out.extend_from_slice(v);
            }
            Self::Array(element, values) => array(out, element, values)?,
            Self::Struct(fields) if fields.is_empty() => {
                return Err(Error::Malformed("empty structure"));
            }
            Self::Struct(fields) => {
                pad(out, 8);
                for field in fields {
                    field.write(out)?;
                }
            }
            Self::Entry(entry) => {
                pad(out, 8);
                entry.0.write(out)?;
                entry.1.write(out)?;
            }
            Self::Variant(inner) => {
                let signature = inner.signature();
                if !signature::single(&signature) {
                    return Err(Error::Malformed("invalid signature"));
                }
                sign_bytes(out, &signature)?;
                inner.write(out)?;
            }
        }
        Ok(())
    }
}

fn array(out: &mut Vec<u8>, element: &str, values: &[Value]) -> Result<()> {
    pad(out, 4);
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    pad(out, alignment(element.bytes().next().unwrap_or_default()));
    let start = out.len();
    let mut signature = String::new();
    for value in values {
        signature.clear();
        value.sign(&mut signature);
        if signature != element {
            return Err(Error::Malformed("array with values of several types"));
        }
        value.write(out)?;
    }
    let bytes = length(out.len() - start)?.to_le_bytes();
    if let Some(slot) = out.get_mut(at..at + 4) {
        slot.copy_from_slice(&bytes);
    }
    Ok(())
}

pub(crate) fn pad(out: &mut Vec<u8>, to: usize) {
    out.resize(out.len().next_multiple_of(to), 0);
}

fn number(out: &mut Vec<u8>, align: usize, bytes: &[u8]) {
    pad(out, align);
    out.extend_from_slice(bytes);
}

fn length(n: usize) -> Result<u32> {
    match u32::try_from(n) {
        Ok(n) if n as usize <= MOST => Ok(n),
        _ => Err(Error::Malformed("value too long")),
    }
}

fn text(out: &mut Vec<u8>, text: &str) -> Result<()> {
    if text.contains('\0') {
        return Err(Error::Malformed("text with a zero byte"));
    }
    number(out, 4, &length(text.len())?.to_le_bytes());
    out.extend_from_slice(text.as_bytes());
    out.push(0);
    Ok(())
}

fn sign_bytes(out: &mut Vec<u8>, signature: &str) -> Result<()> {
    let length = match u8::try_from(signature.len()) {
        Ok(n) if signature::valid(signature) => n,
        _ => return Err(Error::Malformed("invalid signature")),
    };
    out.push(length);
    out.extend_from_slice(signature.as_bytes());
    out.push(0);
    Ok(())
}

/// `/`, or elements of letters, digits and underscores.
pub(crate) fn valid_path(path: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let element = |e: &str| !e.is_empty() && e.bytes().all(plain);
    match path.strip_prefix('/') {
        Some("") => true,
        Some(rest) => rest.split('/').all(element),
        None => false,
    }
}

/// Reads values from the bytes of a message; positions count from `bytes`' beginning, which is at
/// a boundary of eight.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) at: usize,
    pub(crate) big: bool,
}

const SHORT: Error = Error::Malformed("it ends too early");

impl<'a> Reader<'a> {
    pub(crate) fn align(&mut self, to: usize) -> Result<()> {
        let next = self.at.next_multiple_of(to);
        let padding = self.bytes.get(self.at..next).ok_or(SHORT)?;
        if padding.iter().any(|b| *b != 0) {
            return Err(Error::Malformed("padding is not zero"));
        }
        self.at = next;
        Ok(())
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        let end = self.at.checked_add(n).ok_or(SHORT)?;
        let bytes = self.bytes.get(self.at..end).ok_or(SHORT)?;
        self.at = end;
        Ok(bytes)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.align(N)?;
        let mut bytes: [u8; N] = self.take(N)?.try_into().map_err(|_| SHORT)?;
        if self.big {
            bytes.reverse();
        }
        Ok(bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.fixed()?))
    }

    fn text(&mut self) -> Result<String> {
        let n = self.u32()? as usize;
        self.string(n)
    }

    fn string(&mut self, n: usize) -> Result<String> {
        let bytes = self.take(n)?;
        let end = self.take(1)?;
        let text = std::str::from_utf8(bytes).map_err(|_| Error::Malformed("text not in UTF-8"))?;
        if end != [0] || text.contains('\0') {
            return Err(Error::Malformed("text with a zero byte"));
        }
        Ok(text.to_owned())
    }

    fn signature(&mut self) -> Result<String> {
        let n = self.take(1)?.first().copied().unwrap_or_default();
        let text = self.string(usize::from(n))?;
        match signature::valid(&text) {
            true => Ok(text),
            false => Err(Error::Malformed("invalid signature")),
        }
    }

    /// One value of each type in the signature.
    pub(crate) fn values(&mut self, signature: &str) -> Result<Vec<Value>> {
        let mut rest = signature.as_bytes();
        let mut out = Vec::new();
        while !rest.is_empty() {
            let (one, more) = rest.split_at_checked(first(rest)?).ok_or(SHORT)?;
            out.push(self.value(one, 0)?);
            rest = more;
        }
        Ok(out)
    }

    /// One value of this one type, which is valid.
    pub(crate) fn value(&mut self, kind: &[u8], depth: u32) -> Result<Value> {
        if depth > DEPTH {
            return Err(Error::Malformed("nested too deeply"));
        }
        Ok(match kind.first() {
            Some(b'y') => Value::Byte(u8::from_le_bytes(self.fixed()?)),
            Some(b'b') => match self.u32()? {
                0 => Value::Bool(false),
                1 => Value::Bool(true),
                _ => return Err(Error::Malformed("a boolean that is neither")),
            },
            Some(b'n') => Value::I16(i16::from_le_bytes(self.fixed()?)),
            Some(b'q') => Value::U16(u16::from_le_bytes(self.fixed()?)),
            Some(b'i') => Value::I32(i32::from_le_bytes(self.fixed()?)),
            Some(b'u') => Value::U32(self.u32()?),
            Some(b'x') => Value::I64(i64::from_le_bytes(self.fixed()?)),
            Some(b't') => Value::U64(u64::from_le_bytes(self.fixed()?)),
            Some(b'd') => Value::Double(f64::from_le_bytes(self.fixed()?)),
            Some(b's') => Value::Text(self.text()?),
            Some(b'o') => match self.text()? {
                path if valid_path(&path) => Value::Path(path),
                _ => return Err(Error::Malformed("invalid object path")),
            },
            Some(b'g') => Value::Signature(self.signature()?),
            Some(b'v') => {
                let inner = self.signature()?;
                if !signature::single(&inner) {
                    return Err(Error::Malformed("a variant without one type"));
                }
                Value::Variant(Box::new(self.value(inner.as_bytes(), depth + 1)?))
            }
            Some(b'a') => self.array(kind.get(1..).unwrap_or_default(), depth + 1)?,
            Some(b'(') => {
                self.align(8)?;
                let inside = kind.get(1..kind.len() - 1).unwrap_or_default();
                Value::Struct(self.fields(inside, depth + 1)?)
            }
            Some(b'{') => {
                self.align(8)?;
                let inside = kind.get(1..kind.len() - 1).unwrap_or_default();
                let mut fields = self.fields(inside, depth + 1)?.into_iter();
                match (fields.next(), fields.next()) {
                    (Some(key), Some(value)) => Value::Entry(Box::new((key, value))),
                    _ => return Err(Error::Malformed("invalid signature")),
                }
            }
            _ => return Err(Error::Malformed("invalid signature")),
        })
    }

    fn fields(&mut self, mut kinds: &[u8], depth: u32) -> Result<Vec<Value>> {
        let mut fields = Vec::new();
        while !kinds.is_empty() {
            let n = match kinds.first() {
                Some(b'{') => kinds.len(),
                _ => first(kinds)?,
            };
            let (one, more) = kinds.split_at_checked(n).ok_or(SHORT)?;
            fields.push(self.value(one, depth)?);
            kinds = more;
        }
        Ok(fields)
    }

    fn array(&mut self, element: &[u8], depth: u32) -> Result<Value> {
        let n = self.u32()? as usize;
        self.align(alignment(element.first().copied().unwrap_or_default()))?;
        if element == b"y" {
            return Ok(Value::Bytes(self.take(n)?.to_vec()));
        }
        let end = self.at.checked_add(n).ok_or(SHORT)?;
        if end > self.bytes.len() {
            return Err(SHORT);
        }
        let mut values = Vec::new();
        while self.at < end {
            values.push(self.value(element, depth)?);
        }
        match self.at == end {
            true => Ok(Value::Array(
                String::from_utf8_lossy(element).into_owned(),
                values,
            )),
            false => Err(Error::Malformed("an array of another length than it says")),
        }
    }
}
