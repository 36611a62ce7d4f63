//! Flags that make the process what it is: its surroundings, privileges and namespaces.

use std::io::Read as _;

use e2e::Lab;

use super::row::{Row, Seen, by, prints, refused, sh};

pub(crate) const ROWS: &[Row] = &[
    by("annotation", annotation),
    prints(
        "cap-add",
        &["--cap-add", "SYS_ADMIN"],
        "mount -t tmpfs none /tmp && echo mounted",
        "mounted",
    ),
    prints(
        "cap-drop",
        &["--cap-drop", "CHOWN"],
        "chown 7 /tmp 2>&1; true",
        "chown: /tmp: Operation not permitted",
    ),
    by("cgroupns", |lab| {
        namespace(lab, &["--cgroupns", "host"], "cgroup", true);
        namespace(lab, &["--cgroupns", "private"], "cgroup", false)
    }),
    prints(
        "domainname",
        &["--domainname", "example.org"],
        "cat /proc/sys/kernel/domainname",
        "example.org",
    ),
    by("entrypoint", |lab| {
        let run = [
            "run",
            "--rm",
            "--entrypoint",
            "/bin/echo",
            "bb",
            "said",
            "by it",
        ];
        assert_eq!(lab.ok(&run), "said by it");
        Seen::Yes
    }),
    prints("env", &["--env", "ONE=1"], "echo $ONE", "1"),
    by("env-file", |lab| {
        let file = written(lab, "env", "TWO=2\n");
        assert_eq!(sh(lab, &["--env-file", &file], "echo $TWO"), "2");
        Seen::Yes
    }),
    prints("gpus", &["--gpus", "1"], "head -c 3 /dev/gpu0 | wc -c", "3"),
    prints("group-add", &["--group-add", "4321"], "id -G", "0 4321"),
    prints(
        "hostname",
        &["--hostname", "here"],
        "hostname; cat /etc/hostname",
        "here\nhere",
    ),
    prints(
        "init",
        &["--init"],
        "readlink /proc/1/exe | wc -l; cat /proc/1/comm | grep -c init",
        "1\n1",
    ),
    by("ipc", |lab| namespace(lab, &["--ipc", "host"], "ipc", true)),
    refused(
        "isolation",
        &["--isolation", "hyperv"],
        125,
        "invalid isolation (hyperv): linux only supports 'default'",
    ),
    prints(
        "oom-score-adj",
        &["--oom-score-adj", "321"],
        "cat /proc/self/oom_score_adj",
        "321",
    ),
    by("pid", |lab| namespace(lab, &["--pid", "host"], "pid", true)),
    prints(
        "privileged",
        &["--privileged"],
        "grep -c ^CapEff:.*ffff /proc/self/status; grep Seccomp: /proc/self/status | tr -d '\\t'",
        "1\nSeccomp:0",
    ),
    refused(
        "runtime",
        &["--runtime", "nosuch"],
        125,
        "unknown or invalid runtime name: nosuch",
    ),
    prints(
        "security-opt",
        &[
            "--security-opt",
            "no-new-privileges",
            "--security-opt",
            "seccomp=unconfined",
        ],
        "grep -E '^(NoNewPrivs|Seccomp):' /proc/self/status | tr -d '\\t'",
        "NoNewPrivs:1\nSeccomp:0",
    ),
    prints(
        "sysctl",
        &["--sysctl", "net.ipv4.ip_default_ttl=77"],
        "cat /proc/sys/net/ipv4/ip_default_ttl",
        "77",
    ),
    prints(
        "ulimit",
        &["--ulimit", "nofile=77:88"],
        "ulimit -Sn; ulimit -Hn",
        "77\n88",
    ),
    prints("user", &["--user", "1000:77"], "id -u; id -g", "1000\n77"),
    by("userns", |lab| {
        namespace(lab, &["--userns", "host"], "user", true)
    }),
    by("uts", |lab| namespace(lab, &["--uts", "host"], "uts", true)),
    prints("workdir", &["--workdir", "/data"], "pwd; ls", "/data\nseed"),
];

pub(crate) fn written(lab: &Lab, name: &str, text: &str) -> String {
    let path = lab.path(name);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

/// Whether the container's namespace of this kind is the host's.
fn namespace(lab: &Lab, options: &[&str], kind: &str, hosts: bool) -> Seen {
    let path = format!("/proc/self/ns/{kind}");
    let host = std::fs::read_link(&path).unwrap().display().to_string();
    let own = sh(lab, options, &format!("readlink {path}"));
    assert_eq!(
        own == host,
        hosts,
        "{options:?}: {own}, the host's is {host}"
    );
    Seen::Yes
}

/// Annotations are for whoever is handed the OCI state: a seccomp agent is.
fn annotation(lab: &Lab) -> Seen {
    let socket = lab.path("agent.sock");
    let profile = format!(
        r#"{{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"{}",
            "syscalls":[{{"names":["mkdir"],"action":"SCMP_ACT_NOTIFY"}}]}}"#,
        socket.display()
    );
    let option = format!("seccomp={}", written(lab, "agent.json", &profile));
    let agent = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let told = std::thread::spawn(move || {
        let mut text = String::new();
        agent.accept().unwrap().0.read_to_string(&mut text).unwrap();
        text
    });
    sh(
        lab,
        &[
            "--security-opt",
            &option,
            "--annotation",
            "org.example=seen",
        ],
        "true",
    );
    let state: serde_json::Value = serde_json::from_str(&told.join().unwrap()).unwrap();
    assert_eq!(
        state["state"]["annotations"]["org.example"], "seen",
        "{state}"
    );
    Seen::Yes
}

/// By the Container Device Interface.
pub(crate) const GPU: &str = r#"{"cdiVersion": "0.6.0", "kind": "nvidia.com/gpu", "devices": [{
    "name": "0",
    "containerEdits": {"deviceNodes": [{"path": "/dev/gpu0", "hostPath": "/dev/zero"}]}
}]}"#;
