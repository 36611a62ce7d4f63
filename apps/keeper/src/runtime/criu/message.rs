//! criu's messages (criu/images/rpc.proto), in the encoding of protocol buffers.
//!
//! Written by hand: of the schema's eighty fields some forty are sent and a dozen read, which takes
//! fewer lines than a generator's output and no build step.

/// What is asked for, or answered (`criu_req_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Dump = 1,
    Restore = 2,
    PreDump = 4,
    Notify = 6,
    FeatureCheck = 9,
    Version = 10,
}

impl Kind {
    fn from_number(number: u64) -> Option<Self> {
        let all = [
            Self::Dump,
            Self::Restore,
            Self::PreDump,
            Self::Notify,
            Self::FeatureCheck,
            Self::Version,
        ];
        all.into_iter().find(|kind| *kind as u64 == number)
    }

    /// As the schema has it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Dump => "DUMP",
            Self::Restore => "RESTORE",
            Self::PreDump => "PRE_DUMP",
            Self::Notify => "NOTIFY",
            Self::FeatureCheck => "FEATURE_CHECK",
            Self::Version => "VERSION",
        }
    }
}

/// `criu_opts`. Descriptors are numbers of this process, except those of `inherit`, which criu must
/// have itself.
#[derive(Debug, Clone, Default)]
pub(super) struct Options {
    pub(super) images: i32,
    pub(super) work: Option<i32>,
    pub(super) pid: Option<i32>,
    pub(super) log_file: String,
    pub(super) root: String,
    pub(super) parent_image: String,
    pub(super) freeze_cgroup: String,
    pub(super) config_file: String,
    pub(super) lsm_profile: String,
    pub(super) lsm_mount_context: String,
    /// Address and port.
    pub(super) page_server: Option<(String, i32)>,
    pub(super) leave_running: bool,
    pub(super) ext_unix_sk: bool,
    pub(super) tcp_established: bool,
    pub(super) tcp_skip_in_flight: bool,
    pub(super) evasive_devices: bool,
    pub(super) shell_job: bool,
    pub(super) file_locks: bool,
    pub(super) track_memory: bool,
    pub(super) auto_dedup: bool,
    pub(super) link_remap: bool,
    pub(super) lazy_pages: bool,
    pub(super) sibling: bool,
    /// `criu_cg_mode`.
    pub(super) cgroups_mode: u64,
    /// `CLONE_NEW…` flags.
    pub(super) empty_namespaces: u64,
    /// Name and place of each mount that is not criu's.
    pub(super) mounts: Vec<(String, String)>,
    /// Controller and path.
    pub(super) cgroup_roots: Vec<(String, String)>,
    /// Key and descriptor.
    pub(super) inherit: Vec<(String, i32)>,
    pub(super) external: Vec<String>,
    /// Kind and file.
    pub(super) join: Vec<(String, String)>,
}

impl Options {
    fn encode(&self) -> Writer {
        let mut out = Writer::default();
        out.integer(1, self.images);
        let flags = [
            (3, self.leave_running),
            (4, self.ext_unix_sk),
            (5, self.tcp_established),
            (6, self.evasive_devices),
            (7, self.shell_job),
            (8, self.file_locks),
            // notify_scripts, manage_cgroups (of old), orphan_pts_master
            (12, true),
            (15, self.track_memory),
            (16, self.auto_dedup),
            (18, self.link_remap),
            (24, true),
            (26, self.sibling),
            (46, self.tcp_skip_in_flight),
            (48, self.lazy_pages),
            (50, true),
        ];
        for (field, _) in flags.into_iter().filter(|(_, on)| *on) {
            out.number(field, 1);
        }
        out.number(9, 4);
        let texts = [
            (10, &self.log_file),
            (13, &self.root),
            (14, &self.parent_image),
            (44, &self.freeze_cgroup),
            (51, &self.config_file),
            (53, &self.lsm_profile),
            (63, &self.lsm_mount_context),
        ];
        for (field, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
            out.text(field, text);
        }
        for (field, number) in [(2, self.pid), (17, self.work)] {
            if let Some(number) = number {
                out.integer(field, number);
            }
        }
        if let Some((address, port)) = &self.page_server {
            let mut inner = Writer::default();
            inner.text(1, address);
            inner.integer(2, *port);
            out.message(11, &inner);
        }
        out.number(34, self.cgroups_mode);
        out.number(38, self.empty_namespaces);
        for (field, list) in [
            (23, &self.mounts),
            (25, &self.cgroup_roots),
            (39, &self.join),
        ] {
            for (first, second) in list {
                let mut inner = Writer::default();
                inner.text(1, first);
                inner.text(2, second);
                out.message(field, &inner);
            }
        }
        for (key, fd) in &self.inherit {
            let mut inner = Writer::default();
            inner.text(1, key);
            inner.integer(2, *fd);
            out.message(27, &inner);
        }
        for text in &self.external {
            out.text(37, text);
        }
        out
    }
}

/// A request with its options.
pub(super) fn request(kind: Kind, options: &Options) -> Vec<u8> {
    let mut out = Writer::default();
    out.number(1, kind as u64);
    out.message(2, &options.encode());
    out.0
}

/// Asks for the version.
pub(super) fn version_request() -> Vec<u8> {
    let mut out = Writer::default();
    out.number(1, Kind::Version as u64);
    out.0
}

/// Asks whether memory can be tracked, and pages be given later.
pub(super) fn feature_request() -> Vec<u8> {
    let mut wanted = Writer::default();
    wanted.number(1, 1);
    wanted.number(2, 1);
    let mut out = Writer::default();
    out.number(1, Kind::FeatureCheck as u64);
    out.message(5, &wanted);
    out.0
}

/// Tells that what a notification was for is done.
pub(super) fn acknowledgement() -> Vec<u8> {
    let mut out = Writer::default();
    out.number(1, Kind::Notify as u64);
    out.number(3, 1);
    out.0
}

/// `criu_resp`, as far as it is used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Response {
    pub(super) kind: Option<Kind>,
    pub(super) success: bool,
    /// Of a restore.
    pub(super) pid: i32,
    /// Of a notification: what is about to happen or has, and to whom.
    pub(super) script: String,
    pub(super) script_pid: i32,
    pub(super) errno: i32,
    pub(super) message: String,
    pub(super) tracks_memory: bool,
    pub(super) lazy_pages: bool,
    /// As 40201 for 4.2.1.
    pub(super) version: u64,
}

impl Response {
    /// `None` for bytes that are no such message.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut out = Self::default();
        let mut rest = bytes;
        while !rest.is_empty() {
            match field(&mut rest)? {
                (1, Field::Number(n)) => out.kind = Kind::from_number(n),
                (2, Field::Number(n)) => out.success = n != 0,
                (4, Field::Bytes(mut inner)) => {
                    while !inner.is_empty() {
                        if let (1, Field::Number(n)) = field(&mut inner)? {
                            out.pid = n as i32;
                        }
                    }
                }
                (5, Field::Bytes(mut inner)) => {
                    while !inner.is_empty() {
                        match field(&mut inner)? {
                            (1, Field::Bytes(b)) => out.script = text(b),
                            (2, Field::Number(n)) => out.script_pid = n as i32,
                            _ => {}
                        }
                    }
                }
                (7, Field::Number(n)) => out.errno = n as i32,
                (8, Field::Bytes(mut inner)) => {
                    while !inner.is_empty() {
                        match field(&mut inner)? {
                            (1, Field::Number(n)) => out.tracks_memory = n != 0,
                            (2, Field::Number(n)) => out.lazy_pages = n != 0,
                            _ => {}
                        }
                    }
                }
                (9, Field::Bytes(b)) => out.message = text(b),
                (10, Field::Bytes(inner)) => out.version = version(inner)?,
                _ => {}
            }
        }
        Some(out)
    }
}

/// `criu_version` as one number; a build between two versions counts as the next one.
fn version(mut bytes: &[u8]) -> Option<u64> {
    let mut parts = [0u64; 3];
    let mut between = false;
    while !bytes.is_empty() {
        match field(&mut bytes)? {
            (1, Field::Number(n)) => parts[0] = n,
            (2, Field::Number(n)) => parts[1] = n,
            (3, Field::Bytes(_)) => between = true,
            (4, Field::Number(n)) => parts[2] = n,
            _ => {}
        }
    }
    let [major, minor, sublevel] = parts.map(|part| part.min(99));
    let minor = if between { minor + 1 } else { minor };
    let sublevel = if between { 0 } else { sublevel };
    Some(major * 10_000 + minor * 100 + sublevel)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[derive(Debug)]
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Other,
}

/// Takes one field from the front: its number and what is in it.
fn field<'a>(rest: &mut &'a [u8]) -> Option<(u64, Field<'a>)> {
    let key = varint(rest)?;
    let field = match key & 7 {
        0 => Field::Number(varint(rest)?),
        1 => take(rest, 8).map(|_| Field::Other)?,
        2 => {
            let n = usize::try_from(varint(rest)?).ok()?;
            Field::Bytes(take(rest, n)?)
        }
        5 => take(rest, 4).map(|_| Field::Other)?,
        _ => return None,
    };
    Some((key >> 3, field))
}

fn take<'a>(rest: &mut &'a [u8], n: usize) -> Option<&'a [u8]> {
    let (front, back) = rest.split_at_checked(n)?;
    *rest = back;
    Some(front)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut out = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = *take(rest, 1)?.first()?;
        out |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(out);
        }
    }
    None
}

#[derive(Debug, Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn number(&mut self, field: u64, value: u64) {
        self.varint(field << 3);
        self.varint(value);
    }

    /// int32: a negative one is sent as if it were of 64 bits.
    fn integer(&mut self, field: u64, value: i32) {
        self.number(field, i64::from(value) as u64);
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn text(&mut self, field: u64, text: &str) {
        self.bytes(field, text.as_bytes());
    }

    fn message(&mut self, field: u64, inner: &Self) {
        self.bytes(field, &inner.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_bytes() {
        assert_eq!(version_request(), [0x08, 10]);
        assert_eq!(acknowledgement(), [0x08, 6, 0x18, 1]);
        assert_eq!(feature_request(), [0x08, 9, 0x2a, 4, 0x08, 1, 0x10, 1]);
        let options = Options {
            images: 5,
            pid: Some(300),
            leave_running: true,
            log_file: "dump.log".into(),
            mounts: vec![("/a".into(), "b".into())],
            inherit: vec![("pipe:[1]".into(), 0)],
            cgroups_mode: 6,
            ..Options::default()
        };
        let mut wanted = vec![0x08, 1, 0x12, 58];
        wanted.extend(b"\x08\x05\x18\x01\x60\x01\xc0\x01\x01\x90\x03\x01\x48\x04");
        wanted.extend(b"\x52\x08dump.log\x10\xac\x02\x90\x02\x06\xb0\x02\x00");
        wanted.extend(b"\xba\x01\x07\x0a\x02/a\x12\x01b\xda\x01\x0c\x0a\x08pipe:[1]\x10\x00");
        assert_eq!(request(Kind::Dump, &options), wanted);
    }

    #[test]
    fn responses() {
        let notify = b"\x08\x06\x10\x01\x2a\x0f\x0a\x0apost-merge\x10\xac\x02\xf8\x7f\x01";
        let got = Response::parse(&notify[..]).unwrap();
        assert_eq!(got.kind, Some(Kind::Notify));
        assert_eq!((got.script.as_str(), got.script_pid), ("post-merge", 300));
        let version = b"\x08\x0a\x10\x01\x52\x06\x08\x04\x10\x02\x20\x01";
        assert_eq!(Response::parse(&version[..]).unwrap().version, 40_201);
        let failed = b"\x08\x01\x10\x00\x38\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01";
        let got = Response::parse(&failed[..]).unwrap();
        assert_eq!((got.success, got.errno), (false, -1));
    }

    #[test]
    fn damage() {
        for bytes in [
            &b"\x08"[..],
            b"\x12\x05a",
            b"\x0b",
            b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        ] {
            assert_eq!(Response::parse(bytes), None, "{bytes:?}");
        }
        for n in 0..=255u8 {
            let _ = Response::parse(&[n, n, n, n, n]);
        }
    }
}
