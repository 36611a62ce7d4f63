//! Flatbuffers, as much as a reader of foreign bytes needs (flatbuffers.dev, "Internals"): tables,
//! vectors, strings, numbers. Libraries of this format are made for generated code with `unsafe` in
//! it; here every access is checked.

use crate::Error;

/// A table: fields by number, absent ones zero or empty.
#[derive(Debug, Clone, Copy)]
pub(super) struct Table<'a> {
    bytes: &'a [u8],
    at: usize,
    fields: &'a [u8],
}

fn wrong() -> Error {
    Error::malformed("broken flatbuffer")
}

fn little(bytes: &[u8], at: usize, width: usize) -> Result<u64, Error> {
    let end = at.checked_add(width).ok_or_else(wrong)?;
    let field = bytes.get(at..end).ok_or_else(wrong)?;
    let number = field.iter().rev();
    Ok(number.fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

/// Where the offset at a place leads.
fn follow(bytes: &[u8], at: usize) -> Result<usize, Error> {
    let offset = usize::try_from(little(bytes, at, 4)?).map_err(|_| wrong())?;
    at.checked_add(offset).ok_or_else(wrong)
}

impl<'a> Table<'a> {
    /// The document's.
    pub(super) fn root(bytes: &'a [u8]) -> Result<Self, Error> {
        Self::at(bytes, follow(bytes, 0)?)
    }

    fn at(bytes: &'a [u8], at: usize) -> Result<Self, Error> {
        // Two's complement, to be subtracted.
        let back = little(bytes, at, 4)? as u32 as i32;
        let place = i64::try_from(at).map_err(|_| wrong())? - i64::from(back);
        let place = usize::try_from(place).map_err(|_| wrong())?;
        let size = little(bytes, place, 2)? as usize;
        let end = place.checked_add(size).ok_or_else(wrong)?;
        let fields = bytes.get(place..end).and_then(|table| table.get(4..));
        Ok(Self {
            bytes,
            at,
            fields: fields.ok_or_else(wrong)?,
        })
    }

    fn field(&self, number: usize) -> Result<Option<usize>, Error> {
        if self.fields.len() < number * 2 + 2 {
            return Ok(None);
        }
        match little(self.fields, number * 2, 2)? {
            0 => Ok(None),
            offset => Ok(Some(self.at + offset as usize)),
        }
    }

    /// A number of `width` bytes, without sign.
    pub(super) fn number(&self, number: usize, width: usize) -> Result<u64, Error> {
        self.field(number)?
            .map_or(Ok(0), |at| little(self.bytes, at, width))
    }

    pub(super) fn table(&self, number: usize) -> Result<Option<Self>, Error> {
        let Some(at) = self.field(number)? else {
            return Ok(None);
        };
        Self::at(self.bytes, follow(self.bytes, at)?).map(Some)
    }

    /// Place of a vector's first element, and how many.
    fn elements(&self, number: usize, width: usize) -> Result<(usize, usize), Error> {
        let Some(at) = self.field(number)? else {
            return Ok((0, 0));
        };
        let at = follow(self.bytes, at)?;
        let count = usize::try_from(little(self.bytes, at, 4)?).map_err(|_| wrong())?;
        let length = count.checked_mul(width).ok_or_else(wrong)?;
        let start = at + 4;
        match start.checked_add(length) {
            Some(end) if end <= self.bytes.len() => Ok((start, count)),
            _ => Err(wrong()),
        }
    }

    pub(super) fn bytes(&self, number: usize) -> Result<&'a [u8], Error> {
        let (start, count) = self.elements(number, 1)?;
        Ok(&self.bytes[start..start + count])
    }

    pub(super) fn string_bytes(&self, number: usize) -> Result<&'a [u8], Error> {
        self.bytes(number)
    }

    pub(super) fn string(&self, number: usize) -> Result<&'a str, Error> {
        std::str::from_utf8(self.bytes(number)?)
            .map_err(|_| Error::Unsupported("a name that is not UTF-8"))
    }

    /// The tables of a vector.
    pub(super) fn vector(
        &self,
        number: usize,
    ) -> Result<impl ExactSizeIterator<Item = Result<Self, Error>> + use<'a>, Error> {
        let (start, count) = self.elements(number, 4)?;
        let bytes = self.bytes;
        Ok((0..count).map(move |index| Self::at(bytes, follow(bytes, start + index * 4)?)))
    }

    pub(super) fn strings(&self, number: usize) -> Result<Vec<String>, Error> {
        let (start, count) = self.elements(number, 4)?;
        (0..count)
            .map(|index| {
                let at = follow(self.bytes, start + index * 4)?;
                let length = usize::try_from(little(self.bytes, at, 4)?).map_err(|_| wrong())?;
                let end = at
                    .checked_add(4)
                    .and_then(|start| start.checked_add(length));
                let text = end
                    .and_then(|end| self.bytes.get(at + 4..end))
                    .ok_or_else(wrong)?;
                String::from_utf8(text.to_vec()).map_err(|_| wrong())
            })
            .collect()
    }
}
