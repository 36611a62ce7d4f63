//! Messages: a header of fields, and a body of values.

use crate::value::{Reader, pad};
use crate::{Error, MOST, Result, Value};

/// What a message is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Asks for something.
    Call,
    /// The answer of a call.
    Return,
    /// The answer of a call that failed.
    Error,
    /// Tells something.
    Signal,
}

/// One message. Empty texts are absent fields.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// What it is for.
    pub kind: Kind,
    /// Its number, given by the connection that sends it; never 0.
    pub serial: u32,
    /// The number of the call that it answers, or 0.
    pub reply: u32,
    /// Object that is called, or tells.
    pub path: String,
    /// Interface of the member.
    pub interface: String,
    /// Method or signal.
    pub member: String,
    /// Name of an error.
    pub error: String,
    /// To whom.
    pub destination: String,
    /// From whom, set by the bus.
    pub sender: String,
    /// Its values.
    pub body: Vec<Value>,
}

const VERSION: u8 = 1;
/// Byte order, kind, flags, version, length of the body, serial, length of the fields.
pub(crate) const FIXED: usize = 16;

const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const ERROR: u8 = 4;
const REPLY: u8 = 5;
const DESTINATION: u8 = 6;
const SENDER: u8 = 7;
const SIGNATURE: u8 = 8;

impl Message {
    /// A call without arguments; without a bus between the destination is empty.
    pub fn call(destination: &str, path: &str, interface: &str, member: &str) -> Self {
        Self {
            kind: Kind::Call,
            serial: 1,
            reply: 0,
            path: path.to_owned(),
            interface: interface.to_owned(),
            member: member.to_owned(),
            error: String::new(),
            destination: destination.to_owned(),
            sender: String::new(),
            body: Vec::new(),
        }
    }

    /// The same with an argument more.
    #[must_use]
    pub fn with(mut self, value: impl Into<Value>) -> Self {
        self.body.push(value.into());
        self
    }

    /// It is this signal.
    pub fn is_signal(&self, interface: &str, member: &str) -> bool {
        self.kind == Kind::Signal && self.interface == interface && self.member == member
    }

    /// Its bytes, little endian.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        let mut signature = String::new();
        for value in &self.body {
            value.sign(&mut signature);
            value.write(&mut body)?;
        }
        let kind = match self.kind {
            Kind::Call => 1,
            Kind::Return => 2,
            Kind::Error => 3,
            Kind::Signal => 4,
        };
        let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
        let mut out = vec![b'l', kind, 0, VERSION];
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&self.serial.to_le_bytes());
        Value::Array("(yv)".into(), self.fields(signature)).write(&mut out)?;
        pad(&mut out, 8);
        out.extend_from_slice(&body);
        match out.len() > MOST {
            true => Err(Error::Malformed("message too long")),
            false => Ok(out),
        }
    }

    fn fields(&self, signature: String) -> Vec<Value> {
        let mut fields = Vec::new();
        let mut add = |code: u8, value: Value| {
            fields.push(Value::Struct(vec![
                Value::Byte(code),
                Value::variant(value),
            ]));
        };
        if !self.path.is_empty() {
            add(PATH, Value::Path(self.path.clone()));
        }
        let texts = [
            (INTERFACE, &self.interface),
            (MEMBER, &self.member),
            (ERROR, &self.error),
            (DESTINATION, &self.destination),
            (SENDER, &self.sender),
        ];
        for (code, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
            add(code, Value::Text(text.clone()));
        }
        if self.reply != 0 {
            add(REPLY, Value::U32(self.reply));
        }
        if !signature.is_empty() {
            add(SIGNATURE, Value::Signature(signature));
        }
        fields
    }

    /// How many bytes the message is that begins with these [`FIXED`] ones.
    pub(crate) fn length(front: &[u8]) -> Result<usize> {
        let big = match front.first() {
            Some(b'l') => false,
            Some(b'B') => true,
            _ => return Err(Error::Malformed("unknown byte order")),
        };
        let number = |at| {
            let mut reader = Reader {
                bytes: front,
                at,
                big,
            };
            reader.u32().map(|n| n as usize)
        };
        let (body, fields) = (number(4)?, number(12)?);
        let all = fields
            .checked_next_multiple_of(8)
            .and_then(|n| n.checked_add(FIXED)?.checked_add(body));
        match all {
            Some(all) if all <= MOST => Ok(all),
            _ => Err(Error::Malformed("message too long")),
        }
    }

    /// Reads one message, exactly. `None` is one of a kind that is to be ignored.
    pub fn from_bytes(bytes: &[u8]) -> Result<Option<Self>> {
        if bytes.len() != Self::length(bytes)? {
            return Err(Error::Malformed("another length than it says"));
        }
        let byte = |at: usize| bytes.get(at).copied().unwrap_or_default();
        if byte(3) != VERSION {
            return Err(Error::Malformed("unknown version of the protocol"));
        }
        let kind = match byte(1) {
            0 => return Err(Error::Malformed("invalid kind")),
            1 => Kind::Call,
            2 => Kind::Return,
            3 => Kind::Error,
            4 => Kind::Signal,
            _ => return Ok(None),
        };
        let mut reader = Reader {
            bytes,
            at: 4,
            big: byte(0) == b'B',
        };
        let body = reader.u32()? as usize;
        let mut message = Self::call("", "", "", "");
        (message.kind, message.serial) = (kind, reader.u32()?);
        let fields = reader.value(b"a(yv)", 0)?;
        let signature = message.take_fields(fields)?;
        reader.align(8)?;
        let start = reader.at;
        let mut reader = Reader {
            bytes: bytes.get(start..).unwrap_or_default(),
            at: 0,
            big: reader.big,
        };
        message.body = reader.values(&signature)?;
        match reader.at == body && message.serial != 0 && message.has_needed() {
            true => Ok(Some(message)),
            false => Err(Error::Malformed("header and body disagree")),
        }
    }

    /// Gives the body's signature.
    fn take_fields(&mut self, fields: Value) -> Result<String> {
        let mut signature = String::new();
        let Value::Array(_, fields) = fields else {
            return Ok(signature);
        };
        for field in fields {
            let Value::Struct(field) = field else {
                continue;
            };
            let [Value::Byte(code), Value::Variant(value)] = field.as_slice() else {
                continue;
            };
            match (*code, value.as_ref()) {
                (PATH, Value::Path(text)) => text.clone_into(&mut self.path),
                (INTERFACE, Value::Text(text)) => text.clone_into(&mut self.interface),
                (MEMBER, Value::Text(text)) => text.clone_into(&mut self.member),
                (ERROR, Value::Text(text)) => text.clone_into(&mut self.error),
                (DESTINATION, Value::Text(text)) => text.clone_into(&mut self.destination),
                (SENDER, Value::Text(text)) => text.clone_into(&mut self.sender),
                (REPLY, Value::U32(number)) => self.reply = *number,
                (SIGNATURE, Value::Signature(text)) => text.clone_into(&mut signature),
                (1..=8, _) => return Err(Error::Malformed("a header field of another type")),
                _ => {}
            }
        }
        Ok(signature)
    }

    fn has_needed(&self) -> bool {
        match self.kind {
            Kind::Call => !self.path.is_empty() && !self.member.is_empty(),
            Kind::Signal => {
                !self.path.is_empty() && !self.member.is_empty() && !self.interface.is_empty()
            }
            Kind::Return => self.reply != 0,
            Kind::Error => self.reply != 0 && !self.error.is_empty(),
        }
    }
}

#[cfg(test)]
mod tests;
