//! What a configuration asks for that is out of date or without effect.

use super::Spec;

impl Spec {
    /// Lines for a log, each with the key it is about. None of it is an error: the specification
    /// lets these stand, and a runtime goes on as if they were not there.
    pub fn warnings(&self) -> Vec<String> {
        let mut out = Vec::new();
        for (n, mount) in self.mounts.iter().enumerate() {
            if !mount.destination.starts_with('/') {
                out.push(format!(
                    "mounts[{n}].destination: relative paths are deprecated, taken from /"
                ));
            }
            let idmap = |o: &String| o == "idmap" || o == "ridmap";
            if !mount.uid_mappings.is_empty() && !mount.options.iter().any(idmap) {
                out.push(format!(
                    "mounts[{n}].options: idmap or ridmap should be given with uidMappings"
                ));
            }
        }
        if self.hooks.as_ref().is_some_and(|h| !h.prestart.is_empty()) {
            out.push("hooks.prestart: deprecated, use createRuntime".to_owned());
        }
        let resources = self.linux.as_ref().and_then(|l| l.resources.as_ref());
        for (n, rule) in resources.iter().flat_map(|r| &r.devices).enumerate() {
            if rule.access.contains('a') {
                out.push(format!(
                    "linux.resources.devices[{n}].access: 'a' is not one of r, w and m, and has \
                     no effect"
                ));
            }
        }
        if let Some(memory) = resources.and_then(|r| r.memory.as_ref()) {
            let key = "linux.resources.memory";
            if memory.kernel.is_some() {
                out.push(format!("{key}.kernel: has no effect since Linux 5.4"));
            }
            if memory.use_hierarchy.is_some() {
                out.push(format!(
                    "{key}.useHierarchy: has no effect since Linux 5.11"
                ));
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_names_its_key() {
        let text = r#"{"ociVersion":"1.3.0","mounts":[{"destination":"a"}],
            "hooks":{"prestart":[{"path":"/x"}]},
            "linux":{"resources":{"devices":[{"allow":false,"access":"ra"}],
            "memory":{"kernel":1,"useHierarchy":true}}}}"#;
        let said = Spec::from_json(text.as_bytes()).unwrap().warnings();
        let keys: Vec<&str> = said.iter().filter_map(|s| s.split(':').next()).collect();
        assert_eq!(
            keys,
            [
                "mounts[0].destination",
                "hooks.prestart",
                "linux.resources.devices[0].access",
                "linux.resources.memory.kernel",
                "linux.resources.memory.useHierarchy"
            ]
        );
    }
}
