//! Flags that decide what the container finds in its file system.

use e2e::Lab;

use super::row::{Row, Seen, by, prints, refused, sh};

pub(crate) const ROWS: &[Row] = &[
    prints(
        "device",
        &["--device", "/dev/zero:/dev/mine:r"],
        "head -c 3 /dev/mine | wc -c",
        "3",
    ),
    prints(
        "device-cgroup-rule",
        &["--device-cgroup-rule", "c 1:11 rwm"],
        "mknod /tmp/kmsg c 1 11; exec 3>/tmp/kmsg && echo open",
        "open",
    ),
    by("mount", |lab| {
        std::fs::create_dir_all(lab.path("bound")).unwrap();
        std::fs::write(lab.path("bound/file"), "bound\n").unwrap();
        let option = format!(
            "type=bind,source={},target=/x,readonly",
            lab.path("bound").display()
        );
        let seen = sh(
            lab,
            &["--mount", &option],
            "cat /x/file; touch /x/new 2>&1; true",
        );
        assert_eq!(seen, "bound\ntouch: /x/new: Read-only file system");
        Seen::Yes
    }),
    prints(
        "read-only",
        &["--read-only"],
        "touch /x 2>&1; awk '$2 == \"/\" {print substr($4, 1, 2)}' /proc/mounts",
        "touch: /x: Read-only file system\nro",
    ),
    prints(
        "shm-size",
        &["--shm-size", "3m"],
        "df -k /dev/shm | awk 'END {print $2}'",
        "3072",
    ),
    refused(
        "storage-opt",
        &["--storage-opt", "size=1g"],
        125,
        "--storage-opt is supported only for overlay over xfs with 'pquota' mount option",
    ),
    prints(
        "tmpfs",
        &["--tmpfs", "/scratch:size=2m,mode=700"],
        "stat -f -c %T /scratch; stat -c %a /scratch; df -k /scratch | awk 'END {print $2}'",
        "tmpfs\n700\n2048",
    ),
    by("use-api-socket", |lab| {
        // The client has the socket mounted that it speaks to itself.
        let seen = sh(
            lab,
            &["--use-api-socket"],
            "stat -c %F /var/run/docker.sock",
        );
        assert_eq!(seen, "socket");
        Seen::Yes
    }),
    by("volume", |lab| {
        sh(lab, &["--volume", "kept:/v"], "echo kept > /v/file");
        assert_eq!(sh(lab, &["--volume", "kept:/w:ro"], "cat /w/file"), "kept");
        lab.ok(&["volume", "rm", "kept"]);
        Seen::Yes
    }),
    by("volume-driver", |lab| {
        let run = |driver: &str| {
            [
                "run",
                "--rm",
                "--volume-driver",
                driver,
                "-v",
                "driven:/v",
                "bb",
                "true",
            ]
            .map(str::to_owned)
        };
        let said = lab.fails(125, &run("nosuch").each_ref().map(String::as_str));
        assert!(said.contains("nosuch"), "{said}");
        lab.ok(&run("local").each_ref().map(String::as_str));
        lab.ok(&["volume", "rm", "driven"]);
        Seen::Yes
    }),
    by("volumes-from", volumes_from),
];

fn volumes_from(lab: &Lab) -> Seen {
    lab.sleeper("donor", &["--volume", "/shared"]);
    lab.ok(&["exec", "donor", "sh", "-c", "echo given > /shared/file"]);
    assert_eq!(
        sh(lab, &["--volumes-from", "donor"], "cat /shared/file"),
        "given"
    );
    lab.ok(&["rm", "-f", "-v", "donor"]);
    Seen::Yes
}
