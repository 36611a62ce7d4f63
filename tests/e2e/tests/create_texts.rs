//! What a create answers to fields that it cannot take, and what it warns of: dockerd's status and
//! words, field by field.

use e2e::{Lab, root};

/// Fields of `HostConfig`, status, text.
#[rustfmt::skip]
const HOST: &[(&str, u16, &str)] = &[
    (r#""Memory":1"#, 400, r#"Minimum memory limit allowed is 6MB"#),
    (r#""Memory":-5"#, 400, r#"Minimum memory limit allowed is 6MB"#),
    (r#""Memory":8388608,"MemorySwap":8000000"#, 400, r#"Minimum memoryswap limit should be larger than memory limit, see usage"#),
    (r#""MemorySwap":8000000"#, 400, r#"You should always set the Memory limit when using Memoryswap limit, see usage"#),
    (r#""MemoryReservation":1"#, 400, r#"Minimum memory reservation allowed is 6MB"#),
    (r#""Memory":8388608,"MemoryReservation":9000000"#, 400, r#"Minimum memory limit can not be less than memory reservation limit, see usage"#),
    (r#""MemorySwappiness":101"#, 400, r#"Invalid value: 101, valid memory swappiness range is 0-100"#),
    (r#""MemorySwappiness":-2"#, 400, r#"Invalid value: -2, valid memory swappiness range is 0-100"#),
    (r#""CpuShares":-1"#, 400, r#"invalid CPU shares (-1): value must be a positive integer"#),
    (r#""NanoCpus":1000000000,"CpuQuota":5000"#, 400, r#"Conflicting options: Nano CPUs and CPU Quota cannot both be set"#),
    (r#""NanoCpus":1000000000,"CpuPeriod":5000"#, 400, r#"Conflicting options: Nano CPUs and CPU Period cannot both be set"#),
    (r#""CpuPeriod":1"#, 400, r#"CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)"#),
    (r#""CpuPeriod":1000001"#, 400, r#"CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)"#),
    (r#""CpuQuota":1"#, 400, r#"CPU cfs quota can not be less than 1ms (i.e. 1000)"#),
    (r#""CpusetCpus":"x""#, 400, r#"Invalid value x for cpuset cpus: invalid format: x"#),
    (r#""CpusetCpus":"1-0""#, 400, r#"Invalid value 1-0 for cpuset cpus: invalid format: 1-0"#),
    (r#""CpusetMems":"y""#, 400, r#"Invalid value y for cpuset mems: invalid format: y"#),
    (r#""BlkioWeight":5"#, 400, r#"Range of blkio weight is from 10 to 1000"#),
    (r#""BlkioWeight":1001"#, 400, r#"Range of blkio weight is from 10 to 1000"#),
    (r#""OomScoreAdj":2000"#, 400, r#"Invalid value 2000, range for oom score adj is [-1000, 1000]"#),
    (r#""OomScoreAdj":-1001"#, 400, r#"Invalid value -1001, range for oom score adj is [-1000, 1000]"#),
    (r#""IOMaximumBandwidth":1"#, 400, r#"invalid option: QoS maximum bandwidth configuration is not supported on linux"#),
    (r#""IOMaximumIOps":1"#, 400, r#"invalid option: QoS maximum IOPs configuration is not supported on linux"#),
    (r#""Isolation":"hyperv""#, 400, r#"invalid isolation (hyperv): linux only supports 'default'"#),
    (r#""ShmSize":-1"#, 400, r#"SHM size can not be less than 0"#),
    (r#""PidMode":"x""#, 400, r#"invalid PID mode: x"#),
    (r#""IpcMode":"x""#, 400, r#"invalid IPC mode: x"#),
    (r#""UTSMode":"x""#, 400, r#"invalid UTS mode: x"#),
    (r#""UsernsMode":"x""#, 400, r#"invalid userns mode: x"#),
    (r#""CgroupnsMode":"x""#, 400, r#"invalid cgroup namespace mode: x"#),
    (r#""Annotations":{"":"x"}"#, 400, r#"invalid Annotations: the empty string is not permitted as an annotation key"#),
    (r#""AutoRemove":true,"RestartPolicy":{"Name":"always"}"#, 400, r#"can't create 'AutoRemove' container with restart policy"#),
    (r#""RestartPolicy":{"Name":"x"}"#, 400, r#"invalid restart policy: unknown policy 'x'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"#),
    (r#""RestartPolicy":{"Name":"always","MaximumRetryCount":1}"#, 400, r#"invalid restart policy: maximum retry count can only be used with 'on-failure'"#),
    (r#""RestartPolicy":{"Name":"no","MaximumRetryCount":-1}"#, 400, r#"invalid restart policy: maximum retry count can only be used with 'on-failure' and cannot be negative"#),
    (r#""RestartPolicy":{"Name":"on-failure","MaximumRetryCount":-1}"#, 400, r#"invalid restart policy: maximum retry count cannot be negative"#),
    (r#""ExtraHosts":["x"]"#, 400, r#"bad format for add-host: "x""#),
    (r#""ExtraHosts":["x:y"]"#, 400, r#"invalid IP address in add-host: "y""#),
    (r#""ExtraHosts":[":1.2.3.4"]"#, 400, r#"bad format for add-host: ":1.2.3.4""#),
    (r#""PortBindings":{"80/tcp":[{"HostPort":"x"}]}"#, 400, r#"invalid port specification: "x""#),
    (r#""PortBindings":{"80/tcp":[{"HostPort":"99999"}]}"#, 400, r#"invalid port specification: "99999""#),
    (r#""PortBindings":{"0/tcp":[{}]}"#, 400, r#"invalid port specification: "0/tcp""#),
    (r#""CapAdd":["NOPE"]"#, 400, r#"invalid CapAdd: unknown capability: "CAP_NOPE""#),
    (r#""CapDrop":["NOPE"]"#, 400, r#"invalid CapDrop: unknown capability: "CAP_NOPE""#),
    (r#""Runtime":"x""#, 400, r#"unknown or invalid runtime name: x"#),
    (r#""NetworkMode":"container:""#, 400, r#"invalid network mode: invalid container format container:<name|id>"#),
    (r#""NetworkMode":"container:x","Dns":["1.1.1.1"]"#, 400, r#"conflicting options: dns and the network mode"#),
    (r#""NetworkMode":"container:x","ExtraHosts":["a:1.1.1.1"]"#, 400, r#"conflicting options: custom host-to-IP mapping and the network mode"#),
    (r#""NetworkMode":"container:x","PublishAllPorts":true"#, 400, r#"conflicting options: port publishing and the container type network mode"#),
    (r#""NetworkMode":"container:x","Links":["a:b"]"#, 400, r#"conflicting options: container type network can't be used with links. This would result in undefined behavior"#),
    (r#""NetworkMode":"host","Links":["a:b"]"#, 400, r#"conflicting options: host type networking can't be used with links. This would result in undefined behavior"#),
    (r#""VolumesFrom":[""]"#, 400, r#"volumes-from specification cannot be an empty string"#),
    (r#""VolumesFrom":["x:bogus"]"#, 400, r#"invalid mode: bogus"#),
    (r#""VolumesFrom":["x:nocopy"]"#, 400, r#"invalid mode: nocopy"#),
    (r#""VolumesFrom":["x:rshared"]"#, 400, r#"invalid mode: rshared"#),
    (r#""Tmpfs":{"/":""}"#, 400, r#"invalid specification: destination can't be '/'"#),
    (r#""Tmpfs":{"x":""}"#, 400, r#"invalid mount path: 'x' mount path must be absolute"#),
    (r#""LogConfig":{"Type":"x"}"#, 400, r#"logger: no log driver named 'x' is registered"#),
    (r#""SecurityOpt":["x"]"#, 400, r#"invalid --security-opt 1: "x""#),
    (r#""SecurityOpt":["x=y"]"#, 400, r#"invalid --security-opt 2: "x=y""#),
    (r#""Binds":["/a:b"]"#, 400, r#"invalid volume specification: '/a:b': invalid mount config for type "bind": invalid mount path: 'b' mount path must be absolute"#),
    (r#""Binds":["/a:/b:zz"]"#, 400, r#"invalid mode: zz"#),
    (r#""Binds":["/a:/b:ro,rw"]"#, 400, r#"invalid mode: ro,rw"#),
    (r#""Binds":["/a:/b:z,Z"]"#, 400, r#"invalid mode: z,Z"#),
    (r#""Binds":["/a:/b:default"]"#, 400, r#"invalid mode: default"#),
    (r#""Binds":["/a:/b:ro:x"]"#, 400, r#"invalid volume specification: '/a:/b:ro:x'"#),
    (r#""Binds":["/a:"]"#, 400, r#"invalid volume specification: '/a:'"#),
    (r#""Binds":["/a:ro"]"#, 400, r#"invalid volume specification: '/a:ro'"#),
    (r#""Binds":[":/a"]"#, 400, r#"invalid volume specification: ':/a'"#),
    (r#""Binds":["x"]"#, 400, r#"invalid volume specification: 'x': invalid mount config for type "volume": invalid mount path: 'x' mount path must be absolute"#),
    (r#""Binds":["/"]"#, 400, r#"invalid volume specification: '/': invalid mount config for type "volume": invalid specification: destination can't be '/'"#),
    (r#""Binds":["/a:/"]"#, 400, r#"invalid volume specification: '/a:/': invalid mount config for type "bind": invalid specification: destination can't be '/'"#),
    (r#""Binds":["vol:/b:rshared"]"#, 400, r#"invalid volume specification: 'vol:/b:rshared': invalid mount config for type "volume": field BindOptions must not be specified"#),
    (r#""Binds":["/a:/b:nocopy"]"#, 400, r#"invalid volume specification: '/a:/b:nocopy': invalid mount config for type "bind": field VolumeOptions must not be specified"#),
    (r#""Binds":["a b:/x"]"#, 400, r#"create a b: "a b" includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path"#),
    (r#""Binds":["/a:/b","/c:/b"]"#, 400, r#"Duplicate mount point: /b"#),
    (r#""Mounts":[{"Type":"bind","Source":"/no/such","Target":"/x"}]"#, 400, r#"invalid mount config for type "bind": bind source path does not exist: /no/such"#),
    (r#""Mounts":[{"Type":"bind","Source":"/tmp","Target":"x"}]"#, 400, r#"invalid mount config for type "bind": invalid mount path: 'x' mount path must be absolute"#),
    (r#""Mounts":[{"Type":"bind","Source":"tmp","Target":"/x"}]"#, 400, r#"invalid mount config for type "bind": invalid mount path: 'tmp' mount path must be absolute"#),
    (r#""Mounts":[{"Type":"bind","Target":"/x"}]"#, 400, r#"invalid mount config for type "bind": field Source must not be empty"#),
    (r#""Mounts":[{"Type":"bind","Source":"/tmp"}]"#, 400, r#"invalid mount config for type "bind": field Target must not be empty"#),
    (r#""Mounts":[{"Type":"bind","Source":"/tmp","Target":"/"}]"#, 400, r#"invalid mount config for type "bind": invalid specification: destination can't be '/'"#),
    (r#""Mounts":[{"Type":"bind","Source":"/tmp","Target":"/x","BindOptions":{"Propagation":"x"}}]"#, 400, r#"invalid mount config for type "bind": invalid propagation mode: x"#),
    (r#""Mounts":[{"Type":"bind","Source":"/tmp","Target":"/x","VolumeOptions":{}}]"#, 400, r#"invalid mount config for type "bind": field VolumeOptions must not be specified"#),
    (r#""Mounts":[{"Type":"bind","Source":"/tmp","Target":"/x","TmpfsOptions":{}}]"#, 400, r#"invalid mount config for type "bind": field TmpfsOptions must not be specified"#),
    (r#""Mounts":[{"Type":"volume","Source":"v1","Target":"/x","BindOptions":{}}]"#, 400, r#"invalid mount config for type "volume": field BindOptions must not be specified"#),
    (r#""Mounts":[{"Type":"volume","Source":"v1","Target":"/x","ImageOptions":{}}]"#, 400, r#"invalid mount config for type "volume": field ImageOptions must not be specified"#),
    (r#""Mounts":[{"Type":"volume","Target":"/x","VolumeOptions":{"Subpath":"a"}}]"#, 400, r#"invalid mount config for type "volume": must not set Subpath when using anonymous volumes"#),
    (r#""Mounts":[{"Type":"volume","Source":"v1","Target":"/x","VolumeOptions":{"Subpath":"../a"}}]"#, 400, r#"invalid mount config for type "volume": subpath must be a relative path within the volume"#),
    (r#""Mounts":[{"Type":"tmpfs","Source":"x","Target":"/x"}]"#, 400, r#"invalid mount config for type "tmpfs": field Source must not be specified"#),
    (r#""Mounts":[{"Type":"tmpfs","Target":"/x","TmpfsOptions":{"Options":[["size"]]}}]"#, 400, r#"invalid mount config for type "tmpfs": invalid option: size"#),
    (r#""Mounts":[{"Type":"tmpfs","Target":"/x","TmpfsOptions":{"Options":[[]]}}]"#, 400, r#"invalid mount config for type "tmpfs": invalid option array length"#),
    (r#""Mounts":[{"Type":"image","Target":"/x"}]"#, 400, r#"invalid mount config for type "image": field Source must not be empty"#),
    (r#""Mounts":[{"Type":"image","Source":"bb","Target":"/x","ImageOptions":{"Subpath":"/a"}}]"#, 400, r#"invalid mount config for type "image": subpath must be a relative path within the volume"#),
    (r#""Mounts":[{"Type":"x","Target":"/x"}]"#, 400, r#"invalid mount config for type "x": mount type unknown"#),
    (r#""Mounts":[{"Target":"/x"}]"#, 400, r#"invalid mount config for type "": mount type unknown"#),
    (r#""StorageOpt":{"size":"1G"}"#, 500, r#"--storage-opt is supported only for overlay over xfs with 'pquota' mount option"#),
];

/// Fields of the body, text; the status is 400.
#[rustfmt::skip]
const CONFIG: &[(&str, &str)] = &[
    (r#""Env":["=x"]"#, r#"invalid environment variable: =x"#),
    (r#""Env":[""]"#, r#"invalid environment variable: "#),
    (r#""WorkingDir":"x""#, r#"the working directory 'x' is invalid, it needs to be an absolute path"#),
    (r#""StopSignal":"x""#, r#"invalid signal: x"#),
    (r#""Hostname":"hhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhh""#, r#"hostname "hhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhh" is too long (maximum 64 bytes)"#),
    (r#""Healthcheck":{"Test":["CMD","x"],"Interval":5}"#, r#"Interval in Healthcheck cannot be less than 1ms"#),
    (r#""Healthcheck":{"Test":["CMD","x"],"Timeout":5}"#, r#"Timeout in Healthcheck cannot be less than 1ms"#),
    (r#""Healthcheck":{"Test":["CMD","x"],"StartPeriod":5}"#, r#"StartPeriod in Healthcheck cannot be less than 1ms"#),
    (r#""Healthcheck":{"Test":["CMD","x"],"StartInterval":5}"#, r#"StartInterval in Healthcheck cannot be less than 1ms"#),
    (r#""Healthcheck":{"Test":["CMD","x"],"Retries":-1}"#, r#"Retries in Healthcheck cannot be negative"#),
    (r#""Hostname":"a","HostConfig":{"UTSMode":"host"}"#, r#"conflicting options: hostname and the UTS mode"#),
    (r#""Hostname":"a","HostConfig":{"NetworkMode":"container:x"}"#, r#"conflicting options: hostname and the network mode"#),
    (r#""ExposedPorts":{"80/tcp":{}},"HostConfig":{"NetworkMode":"container:x"}"#, r#"conflicting options: port exposing and the container type network mode"#),
    (r#""MacAddress":"x""#, r#"invalid MAC address: x"#),
];

/// Fields of `HostConfig` that are taken, with a warning.
#[rustfmt::skip]
const WARNED: &[(&str, &str)] = &[
    (r#""CpuPercent":5"#, "linux does not support CPU percent. Percent discarded."),
    (r#""NetworkMode":"host","PortBindings":{"80/tcp":[{"HostPort":"80"}]}"#, "Published ports are discarded when using host network mode"),
];

#[test]
fn every_field_has_its_text() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    let mut wrong = Vec::new();
    let mut check = |body: &str, status: u16, text: &str| {
        let answer = lab.send("POST", "/v1.51/containers/create", body);
        if (answer.status, answer.message().as_str()) != (status, text) {
            wrong.push(format!(
                "{body}\n   wanted {status} {text}\n   got    {} {}",
                answer.status,
                answer.message()
            ));
        }
    };
    for (options, status, text) in HOST {
        let body = format!(r#"{{"Image":"bb","Cmd":["true"],"HostConfig":{{{options}}}}}"#);
        check(&body, *status, text);
    }
    for (options, text) in CONFIG {
        check(
            &format!(r#"{{"Image":"bb","Cmd":["true"],{options}}}"#),
            400,
            text,
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(lab.ok(&["ps", "-aq"]), "", "nothing was made");
    assert_eq!(lab.ok(&["volume", "ls", "-q"]), "", "nothing was made");
    for (options, text) in WARNED {
        let body = format!(r#"{{"Image":"bb","Cmd":["true"],"HostConfig":{{{options}}}}}"#);
        let answer = lab.send("POST", "/v1.51/containers/create", &body);
        let said: serde_json::Value = serde_json::from_str(&answer.body).expect("JSON");
        assert_eq!(answer.status, 201, "{answer:?}");
        assert_eq!(said["Warnings"], serde_json::json!([text]), "{options}");
    }
}
