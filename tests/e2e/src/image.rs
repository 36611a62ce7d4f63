//! The tiny image of the tests: a static busybox with its applets.

use std::process::Command;

/// A tar of its root file system.
pub(crate) fn busybox() -> Vec<u8> {
    let program = std::fs::read("/bin/busybox").expect("/bin/busybox of package busybox-static");
    let list = Command::new("/bin/busybox")
        .arg("--list")
        .output()
        .expect("busybox --list");
    let mut tar = tar::Builder::new(Vec::new());
    let mut add = |path: &str, mode: u32, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(bytes.len() as u64);
        if path.ends_with('/') {
            header.set_entry_type(tar::EntryType::Directory);
        }
        tar.append_data(&mut header, path, bytes)
            .expect("tar entry");
    };
    for dir in ["bin/", "etc/", "root/", "home/", "home/user/", "data/"] {
        add(dir, 0o755, b"");
    }
    add("tmp/", 0o1777, b"");
    add("bin/busybox", 0o755, &program);
    add(
        "etc/passwd",
        0o644,
        b"root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n",
    );
    add(
        "etc/group",
        0o644,
        b"root:x:0:\nuser:x:1000:\nextra:x:1234:user\nwheel:x:77:\n",
    );
    add("data/seed", 0o644, b"from the image\n");
    for applet in String::from_utf8_lossy(&list.stdout)
        .lines()
        .filter(|a| *a != "busybox")
    {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_mode(0o777);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(0);
        tar.append_link(&mut header, format!("bin/{applet}"), "busybox")
            .expect("tar link");
    }
    tar.into_inner().expect("tar")
}
