//! A writer of flatbuffers, as much as a zTOC needs: every table right behind its vtable, everything
//! that is referred to behind what refers to it.

use serde_json::Value;

/// A value of a field.
enum Field {
    Absent,
    Number(u64, usize),
    Bytes(Vec<u8>),
    Text(String),
    Table(Table),
    Tables(Vec<Table>),
    Texts(Vec<String>),
}

struct Table(Vec<Field>);

fn align(out: &mut Vec<u8>, to: usize) {
    out.resize(out.len().next_multiple_of(to), 0);
}

/// Sets the offset at a place to what comes next.
fn point(out: &mut Vec<u8>, place: usize) {
    align(out, 8);
    let offset = (out.len() - place) as u32;
    out[place..place + 4].copy_from_slice(&offset.to_le_bytes());
}

fn bytes(out: &mut Vec<u8>, value: &[u8]) {
    out.extend((value.len() as u32).to_le_bytes());
    out.extend(value);
    // Strings end with a zero.
    out.push(0);
}

fn offsets(out: &mut Vec<u8>, count: usize) -> usize {
    out.extend((count as u32).to_le_bytes());
    let first = out.len();
    out.resize(first + count * 4, 0);
    first
}

impl Table {
    /// Writes the table; answers its place.
    fn write(&self, out: &mut Vec<u8>) -> usize {
        align(out, 8);
        let vtable = out.len();
        let size = 4 + self.0.len() * 2;
        out.extend((size as u16).to_le_bytes());
        out.extend(0u16.to_le_bytes());
        out.resize(vtable + size, 0);
        align(out, 8);
        let table = out.len();
        out.extend(((table - vtable) as i32).to_le_bytes());
        let mut later = Vec::new();
        for (number, field) in self.0.iter().enumerate() {
            let width = match field {
                Field::Absent => continue,
                Field::Number(_, width) => *width,
                _ => 4,
            };
            align(out, width);
            let place = out.len();
            let entry = vtable + 4 + number * 2;
            out[entry..entry + 2].copy_from_slice(&((place - table) as u16).to_le_bytes());
            match field {
                Field::Number(value, width) => out.extend(&value.to_le_bytes()[..*width]),
                other => {
                    out.extend([0; 4]);
                    later.push((place, other));
                }
            }
        }
        for (place, field) in later {
            match field {
                Field::Bytes(value) => {
                    point(out, place);
                    bytes(out, value);
                }
                Field::Text(value) => {
                    point(out, place);
                    bytes(out, value.as_bytes());
                }
                Field::Table(table) => table.referred(out, place),
                Field::Tables(tables) => {
                    point(out, place);
                    let first = offsets(out, tables.len());
                    for (number, table) in tables.iter().enumerate() {
                        table.referred(out, first + number * 4);
                    }
                }
                Field::Texts(texts) => {
                    point(out, place);
                    let first = offsets(out, texts.len());
                    for (number, text) in texts.iter().enumerate() {
                        point(out, first + number * 4);
                        bytes(out, text.as_bytes());
                    }
                }
                Field::Absent | Field::Number(..) => {}
            }
        }
        table
    }

    fn referred(&self, out: &mut Vec<u8>, place: usize) {
        let table = self.write(out);
        let offset = (table - place) as u32;
        out[place..place + 4].copy_from_slice(&offset.to_le_bytes());
    }
}

/// Entries with their places in the archive and their attributes.
type Files = [(Value, u64, Vec<(String, Vec<u8>)>)];

/// ztoc.fbs.
pub(crate) fn ztoc(
    files: &Files,
    (compressed, plain): (u64, u64),
    digests: &[String],
    checkpoints: &[u8],
) -> Vec<u8> {
    let text = |value: &Value| Field::Text(value.as_str().unwrap_or_default().to_owned());
    let number = |value: &Value, width| Field::Number(value.as_u64().unwrap_or_default(), width);
    let metadata = files.iter().map(|(file, offset, xattrs)| {
        let xattrs = xattrs.iter().map(|(name, value)| {
            Table(vec![
                Field::Text(format!("SCHILY.xattr.{name}")),
                Field::Bytes(value.clone()),
            ])
        });
        Table(vec![
            text(&file["name"]),
            text(&file["type"]),
            Field::Number(*offset, 8),
            number(&file["size"], 8),
            text(&file["linkName"]),
            number(&file["mode"], 8),
            number(&file["uid"], 4),
            number(&file["gid"], 4),
            Field::Absent,
            Field::Absent,
            text(&file["modtime"]),
            number(&file["devMajor"], 8),
            number(&file["devMinor"], 8),
            Field::Tables(xattrs.collect()),
        ])
    });
    let root = Table(vec![
        Field::Text("1.0".into()),
        Field::Text("a test".into()),
        Field::Number(compressed, 8),
        Field::Number(plain, 8),
        Field::Table(Table(vec![Field::Tables(metadata.collect())])),
        Field::Table(Table(vec![
            Field::Number(1, 1),
            Field::Number(digests.len() as u64 - 1, 4),
            Field::Texts(digests.to_vec()),
            Field::Bytes(checkpoints.to_vec()),
        ])),
    ]);
    let mut out = vec![0; 4];
    root.referred(&mut out, 0);
    out
}
