//! What the kernel says of a container's own control group.

use std::path::PathBuf;

use crate::Lab;

impl Lab {
    /// Where a file of the group is that a running container is in; none when its controller has no
    /// such file on this kernel.
    #[track_caller]
    pub fn group_path(&self, name: &str, controller: &str, file: &str) -> Option<PathBuf> {
        let pid = self.inspect(name, "{{.State.Pid}}");
        let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("cgroup");
        for line in groups.lines() {
            let mut parts = line.splitn(3, ':').skip(1);
            let (Some(names), Some(path)) = (parts.next(), parts.next()) else {
                continue;
            };
            if !names.is_empty() && !names.split(',').any(|name| name == controller) {
                continue;
            }
            let roots = [format!("/{names}"), format!("/{controller}"), String::new()];
            let found = roots
                .iter()
                .map(|root| PathBuf::from(format!("/sys/fs/cgroup{root}{path}/{file}")))
                .find(|path| path.is_file());
            if found.is_some() {
                return found;
            }
        }
        None
    }

    /// What is in it, without the last newline.
    #[track_caller]
    pub fn group_file(&self, name: &str, controller: &str, file: &str) -> String {
        let path = self.group_path(name, controller, file);
        let path = path.unwrap_or_else(|| panic!("no {file} of {controller} for {name}"));
        let text = std::fs::read_to_string(path).expect(file);
        text.trim_end().to_owned()
    }

    /// Whether limits are kept by control groups of version 1.
    pub fn groups_are_v1(&self) -> bool {
        self.ok(&["info", "--format", "{{.CgroupVersion}}"]) == "1"
    }

    /// The group that containers are put in unless told otherwise.
    pub fn group_parent(&self) -> &str {
        &self.cgroup
    }

    /// Takes away an empty group that a test had made below [`Self::group_parent`].
    pub fn remove_group(&self, name: &str) {
        for parent in crate::leaks::parents(self) {
            let _ = std::fs::remove_dir(parent.join(name));
        }
    }
}
