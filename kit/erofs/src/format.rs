//! Numbers of the on-disk format. Names are those of the kernel's `erofs_fs.h`.

/// Bytes of a block. Tar places content at multiples of this.
pub const BLOCK: u64 = 512;
/// `blkszbits`.
pub(crate) const BLOCK_BITS: u8 = 9;

/// `EROFS_SUPER_OFFSET`.
pub(crate) const SUPER_OFFSET: u64 = 1024;
/// `EROFS_SUPER_MAGIC_V1`.
pub(crate) const SUPER_MAGIC: u32 = 0xe0f5_e1e2;
/// `sizeof(struct erofs_super_block)` without extension slots.
pub(crate) const SUPER_SIZE: u64 = 128;
/// `EROFS_FEATURE_COMPAT_SB_CHKSUM`, `…_MTIME`.
pub(crate) const COMPAT: u32 = 0x1 | 0x2;
/// `EROFS_FEATURE_INCOMPAT_CHUNKED_FILE`, `…_DEVICE_TABLE`.
pub(crate) const INCOMPAT: u32 = 0x4 | 0x8;

/// `EROFS_DEVT_SLOT_SIZE`.
pub(crate) const DEVICE_SLOT: u64 = 128;
/// `extra_devices` is a 16-bit number.
pub(crate) const MOST_DEVICES: usize = 0xffff;

/// `erofs_iloc`: inodes stand at multiples of this, and their numbers count it.
pub(crate) const INODE_SLOT: u64 = 32;
/// `sizeof(struct erofs_inode_extended)`.
pub(crate) const INODE_SIZE: u64 = 64;
/// `EROFS_INODE_LAYOUT_EXTENDED` and a data layout.
pub(crate) const FLAT_PLAIN: u16 = 1;
/// `EROFS_INODE_FLAT_INLINE`.
pub(crate) const FLAT_INLINE: u16 = 1 | 2 << 1;
/// `EROFS_INODE_CHUNK_BASED`.
pub(crate) const CHUNK_BASED: u16 = 1 | 4 << 1;

/// `EROFS_CHUNK_FORMAT_INDEXES`.
pub(crate) const CHUNK_INDEXES: u32 = 0x20;
/// `EROFS_CHUNK_FORMAT_BLKBITS_MASK`, as bits of a chunk's size in bytes.
pub(crate) const MOST_CHUNK_BITS: u32 = 31 + BLOCK_BITS as u32;
/// `sizeof(struct erofs_inode_chunk_index)`.
pub(crate) const CHUNK_INDEX: u64 = 8;
/// Blocks are counted with 32 bits without the 48BIT feature.
pub(crate) const MOST_BLOCKS: u64 = 1 << 32;

/// `sizeof(struct erofs_dirent)`.
pub(crate) const DIRENT: usize = 12;
/// `EROFS_NAME_LEN`.
pub(crate) const LONGEST_NAME: usize = 255;
/// `PATH_MAX` without its zero byte: what symlink(2) takes.
pub(crate) const LONGEST_TARGET: usize = 4095;

/// `S_IFREG` and its kind.
pub(crate) const S_IFIFO: u16 = 0o010_000;
pub(crate) const S_IFCHR: u16 = 0o020_000;
pub(crate) const S_IFDIR: u16 = 0o040_000;
pub(crate) const S_IFBLK: u16 = 0o060_000;
pub(crate) const S_IFREG: u16 = 0o100_000;
pub(crate) const S_IFLNK: u16 = 0o120_000;

/// `EROFS_FT_*` of a mode.
pub(crate) fn file_type(mode: u16) -> u8 {
    match mode & 0o170_000 {
        S_IFREG => 1,
        S_IFDIR => 2,
        S_IFCHR => 3,
        S_IFBLK => 4,
        S_IFIFO => 5,
        S_IFLNK => 7,
        _ => 0,
    }
}

/// `new_encode_dev` of the kernel.
pub(crate) fn device_number(major: u32, minor: u32) -> u32 {
    (minor & 0xff) | (major & 0xfff) << 8 | (minor & 0xf_ff00) << 12
}
