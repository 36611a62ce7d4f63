//! Routes of the API that are known and not served: each is refused by name.

use engine::Error;

/// What is missing, by methods and path; `*` is one segment, `**` one or more.
const TABLE: &[(&str, &str, &str)] = &[
    ("GET POST", "/containers/*/checkpoints", "checkpoints are"),
    ("DELETE", "/containers/*/checkpoints/*", "checkpoints are"),
    ("GET", "/images/**/attestations", "image attestations are"),
    ("POST", "/build", "builds are"),
    ("POST", "/build/prune", "builds are"),
    ("POST", "/build/cancel", "builds are"),
    ("POST", "/session", "BuildKit sessions are"),
    ("POST", "/grpc", "BuildKit's gRPC is"),
    ("GET", "/networks", "networks are"),
    ("GET", "/networks/", "networks are"),
    ("POST", "/networks/create", "networks are"),
    ("POST", "/networks/prune", "networks are"),
    ("GET DELETE", "/networks/*", "networks are"),
    ("POST", "/networks/*/connect", "networks are"),
    ("POST", "/networks/*/disconnect", "networks are"),
    ("PUT", "/volumes/*", "cluster volumes are"),
    ("GET", "/plugins", "plugins are"),
    ("GET", "/plugins/privileges", "plugins are"),
    ("POST", "/plugins/pull", "plugins are"),
    ("POST", "/plugins/create", "plugins are"),
    ("GET", "/plugins/**/json", "plugins are"),
    ("POST", "/plugins/**/enable", "plugins are"),
    ("POST", "/plugins/**/disable", "plugins are"),
    ("POST", "/plugins/**/upgrade", "plugins are"),
    ("POST", "/plugins/**/push", "plugins are"),
    ("POST", "/plugins/**/set", "plugins are"),
    ("DELETE", "/plugins/**", "plugins are"),
    ("GET", "/swarm", "swarm mode is"),
    ("POST", "/swarm/init", "swarm mode is"),
    ("POST", "/swarm/join", "swarm mode is"),
    ("POST", "/swarm/leave", "swarm mode is"),
    ("POST", "/swarm/update", "swarm mode is"),
    ("POST", "/swarm/unlock", "swarm mode is"),
    ("GET", "/swarm/unlockkey", "swarm mode is"),
    ("GET", "/nodes", "swarm nodes are"),
    ("GET DELETE", "/nodes/*", "swarm nodes are"),
    ("POST", "/nodes/*/update", "swarm nodes are"),
    ("GET", "/services", "services are"),
    ("POST", "/services/create", "services are"),
    ("GET DELETE", "/services/*", "services are"),
    ("POST", "/services/*/update", "services are"),
    ("GET", "/services/*/logs", "services are"),
    ("GET", "/tasks", "tasks are"),
    ("GET", "/tasks/*", "tasks are"),
    ("GET", "/tasks/*/logs", "tasks are"),
    ("GET", "/secrets", "secrets are"),
    ("POST", "/secrets/create", "secrets are"),
    ("GET DELETE", "/secrets/*", "secrets are"),
    ("POST", "/secrets/*/update", "secrets are"),
    ("GET", "/configs", "configs are"),
    ("POST", "/configs/create", "configs are"),
    ("GET DELETE", "/configs/*", "configs are"),
    ("POST", "/configs/*/update", "configs are"),
    ("GET", "/debug/pprof/**", "profiles in Go's format are"),
];

/// The refusal of a known route, `None` for a path that the API does not have.
pub(crate) fn explain(method: &str, path: &str) -> Option<Error> {
    let (_, _, what) = TABLE.iter().find(|(methods, pattern, _)| {
        methods.split(' ').any(|known| known == method) && matches(pattern, path)
    })?;
    Some(Error::not_implemented(format!(
        "{what} not supported yet: {method} {path}"
    )))
}

fn matches(pattern: &str, path: &str) -> bool {
    let pattern: Vec<&str> = pattern.split('/').collect();
    let path: Vec<&str> = path.split('/').collect();
    let Some(wild) = pattern.iter().position(|part| *part == "**") else {
        return pattern.len() == path.len() && all_match(&pattern, &path);
    };
    let tail = pattern.len() - wild - 1;
    path.len() > wild + tail
        && all_match(&pattern[..wild], &path[..wild])
        && all_match(&pattern[wild + 1..], &path[path.len() - tail..])
}

fn all_match(pattern: &[&str], path: &[&str]) -> bool {
    pattern.iter().zip(path).all(|(part, given)| match *part {
        "*" => !given.is_empty(),
        part => part == *given,
    })
}

#[cfg(test)]
mod tests {
    use super::explain;

    #[test]
    fn known_routes_are_refused_by_name() {
        let error = explain("POST", "/networks/create").expect("known");
        assert_eq!(
            error.message,
            "networks are not supported yet: POST /networks/create"
        );
        for (method, path) in [("DELETE", "/plugins/a/b"), ("PUT", "/volumes/a")] {
            assert!(explain(method, path).is_some(), "{method} {path}");
        }
    }

    #[test]
    fn unknown_routes_are_not() {
        for (method, path) in [
            ("GET", "/nonsense"),
            ("PUT", "/build"),
            ("GET", "/volumes/a/b"),
            ("GET", "/tasks/"),
        ] {
            assert!(explain(method, path).is_none(), "{method} {path}");
        }
    }
}
