use super::*;

fn file(text: &str, args: &[&str]) -> Result<Vec<String>> {
    let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
    let given = flags::parse(FLAGS, &args, true).map_err(|text| anyhow!(text))?;
    from_json(text, &given)
}

#[test]
fn the_file_becomes_flags() {
    let flags = file(
        r#"{"labels":["a=1","b"],"debug":true,"mtu":1400,
            "log-opts":{"max-size":"1m"},
            "proxies":{"https-proxy":"http://p:1"},
            "default-ulimits":{"nofile":{"Name":"nofile","Soft":1,"Hard":2}}}"#,
        &[],
    )
    .expect("valid");
    for wanted in [
        "--label=a=1",
        "--label=b",
        "--debug=true",
        "--mtu=1400",
        "--log-opt=max-size=1m",
        "--https-proxy=http://p:1",
        "--default-ulimit=nofile=1:2",
    ] {
        assert!(flags.iter().any(|flag| flag == wanted), "{wanted}");
    }
}

#[test]
fn what_the_file_may_not_say() {
    let error = file(r#"{"nonsense":1,"x":2}"#, &[]).expect_err("unknown keys");
    assert_eq!(
        error.to_string(),
        "the following directives don't match any configuration option: nonsense, x"
    );
    let error = file(r#"{"debug":true}"#, &["--debug"]).expect_err("both");
    assert!(error.to_string().contains("both as a flag"), "{error}");
    let error = file(r#"{"builder":{"gc":{"enabled":true}}}"#, &[]).expect_err("no builds");
    assert!(
        error
            .to_string()
            .starts_with("option builder is not supported yet")
    );
    assert!(file("[]", &[]).is_err());
    assert!(file(r#"{"proxies":{"ftp-proxy":"x"}}"#, &[]).is_err());
    assert!(file(r#"{"proxies":1}"#, &[]).is_err());
    assert!(file(r#"{"debug":{"a":[]}}"#, &[]).is_err());
}

#[test]
fn values_that_no_container_could_have() {
    let refused = |arg: &str| {
        let given = flags::parse(FLAGS, &[arg.to_owned()], true).expect("a flag");
        let error = settings(&given, false).expect_err(arg);
        error.to_string()
    };
    for (arg, text) in [
        (
            "--default-ipc-mode=host",
            "IPC mode \"host\" is not supported as default value; use \"shareable\" or \"private\"",
        ),
        (
            "--default-cgroupns-mode=x",
            "default cgroup namespace mode (x) is invalid; use \"host\" or \"private\"",
        ),
        ("--mtu=5000000000", "invalid argument 5000000000 for mtu"),
        (
            "--max-download-attempts=0",
            "invalid max download attempts: 0",
        ),
        (
            "--min-api-version=v1.40",
            "API version must be provided without \"v\" prefix",
        ),
        (
            "--min-api-version=1.12",
            "minimum supported API version is 1.24: 1.12",
        ),
        (
            "--default-stop-timeout=-1",
            "invalid default stop timeout: -1",
        ),
        ("--label=x", "bad attribute format: x"),
    ] {
        assert_eq!(refused(arg), text);
    }
}

#[test]
fn labels_do_not_contradict_each_other() {
    let all = |list: &[&str]| {
        let list: Vec<String> = list.iter().map(|label| (*label).to_owned()).collect();
        labels(&list)
    };
    let error = all(&["foo=bar", "foo=baz"]).expect_err("two values");
    assert_eq!(error.to_string(), "conflict labels for foo=baz and foo=bar");
    assert_eq!(
        all(&["a=1", "b=", "a=1"]).expect("the same twice"),
        ["a=1", "b="]
    );
}

#[test]
fn settings_of_registries_need_no_restart() {
    let read = |args: &[&str]| {
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        let given = flags::parse(FLAGS, &args, true).expect("valid");
        settings(&given, false).expect("valid")
    };
    let new = read(&["--offline", "--http-proxy=http://p:1", "--mtu=1400"]);
    let changes = read(&[]).changes(&new);
    assert_eq!(changes, (vec!["http-proxy", "offline"], vec!["mtu"]));
}

#[test]
fn plain_tcp_is_only_served_when_asked_for_by_name() {
    let plain = |args: &[&str]| {
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        let given = flags::parse(FLAGS, &args, true).expect("valid");
        let listen = listen(&given, false).expect("valid");
        (listen.tls.is_some(), listen.plain_tcp)
    };
    assert_eq!(plain(&["-H", "tcp://:1"]), (false, false));
    assert_eq!(plain(&["-H", "tcp://:1", "--tls=false"]), (false, true));
    assert_eq!(plain(&["--tlsverify"]), (true, false));
}
