//! What a container takes over from its image (moby's `runconfig` merge).

use dockerapi::ContainerConfig;
use oci::image::{Execution, Healthcheck};

use crate::{Error, Result};

/// Fills what the user left out from the image.
///
/// # Errors
/// Invalid parameter, when there is nothing to run.
pub(crate) fn merge(config: &mut ContainerConfig, image: &Execution) -> Result<()> {
    fill(config, image);
    if config
        .entrypoint
        .as_deref()
        .is_some_and(|words| words == [""])
    {
        config.entrypoint = None;
    }
    if config.shell.is_empty() {
        config.shell.clone_from(&image.shell);
    }
    let empty = |words: &Option<Vec<String>>| words.as_ref().is_none_or(Vec::is_empty);
    if empty(&config.entrypoint) && empty(&config.cmd) {
        return Err(Error::invalid("no command specified"));
    }
    Ok(())
}

/// The merge alone, as a commit has it, too.
pub(crate) fn fill(config: &mut ContainerConfig, image: &Execution) {
    if config.user.is_empty() {
        config.user.clone_from(&image.user);
    }
    for (port, value) in &image.exposed_ports {
        config.exposed_ports.entry(port.clone()).or_insert(*value);
    }
    merge_env(config, &image.env);
    for (key, value) in &image.labels {
        config
            .labels
            .entry(key.clone())
            .or_insert_with(|| value.clone());
    }
    if config.entrypoint.as_ref().is_none_or(Vec::is_empty) {
        if config.cmd.as_ref().is_none_or(Vec::is_empty) {
            config.cmd.clone_from(&image.cmd);
            config.args_escaped = image.args_escaped;
        }
        if config.entrypoint.is_none() {
            config.entrypoint.clone_from(&image.entrypoint);
        }
    }
    merge_healthcheck(config, image.healthcheck.as_ref());
    if config.working_dir.is_empty() {
        config.working_dir.clone_from(&image.working_dir);
    }
    if !image.volumes.is_empty() {
        let volumes = config.volumes.get_or_insert_default();
        for (path, value) in &image.volumes {
            volumes.entry(path.clone()).or_insert(*value);
        }
    }
    if config.stop_signal.is_empty() {
        config.stop_signal.clone_from(&image.stop_signal);
    }
}

/// Program and arguments.
pub(crate) fn command(config: &ContainerConfig) -> (String, Vec<String>) {
    let entrypoint = config.entrypoint.iter().flatten();
    let mut words = entrypoint.chain(config.cmd.iter().flatten()).cloned();
    (words.next().unwrap_or_default(), words.collect())
}

fn merge_env(config: &mut ContainerConfig, image: &[String]) {
    let name = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    let env = config.env.get_or_insert_default();
    let given: Vec<String> = env.iter().map(|entry| name(entry)).collect();
    env.extend(
        image
            .iter()
            .filter(|entry| !given.contains(&name(entry)))
            .cloned(),
    );
}

fn merge_healthcheck(config: &mut ContainerConfig, image: Option<&Healthcheck>) {
    let Some(image) = image else { return };
    let Some(own) = &mut config.healthcheck else {
        config.healthcheck = Some(image.clone());
        return;
    };
    if own.test.is_empty() {
        own.test.clone_from(&image.test);
    }
    for (own, image) in [
        (&mut own.interval, image.interval),
        (&mut own.timeout, image.timeout),
        (&mut own.start_period, image.start_period),
        (&mut own.start_interval, image.start_interval),
        (&mut own.retries, image.retries),
    ] {
        if *own == 0 {
            *own = image;
        }
    }
}

#[cfg(test)]
mod tests {
    use dockerapi::ContainerConfig;
    use oci::image::Execution;

    fn words(text: &str) -> Option<Vec<String>> {
        Some(text.split_whitespace().map(str::to_owned).collect())
    }

    fn merged(entrypoint: Option<Vec<String>>, cmd: Option<Vec<String>>) -> (String, Vec<String>) {
        let image = Execution {
            entrypoint: words("/entry -x"),
            cmd: words("default"),
            env: vec!["PATH=/bin".into(), "A=image".into()],
            ..Execution::default()
        };
        let mut config = ContainerConfig {
            entrypoint,
            cmd,
            ..ContainerConfig::default()
        };
        super::merge(&mut config, &image).expect("something to run");
        super::command(&config)
    }

    #[test]
    fn entrypoint_and_cmd() {
        assert_eq!(
            merged(None, None),
            ("/entry".into(), vec!["-x".into(), "default".into()])
        );
        assert_eq!(
            merged(None, words("own")),
            ("/entry".into(), vec!["-x".into(), "own".into()])
        );
        assert_eq!(merged(words("sh"), None), ("sh".into(), vec![]));
        assert_eq!(
            merged(Some(vec![String::new()]), words("own")),
            ("own".into(), vec![])
        );
    }

    #[test]
    fn environment_of_the_user_wins() {
        let image = Execution {
            env: vec!["A=image".into(), "B=1".into()],
            cmd: words("x"),
            ..Execution::default()
        };
        let mut config = ContainerConfig {
            env: Some(vec!["A=own".into()]),
            ..ContainerConfig::default()
        };
        super::merge(&mut config, &image).expect("something to run");
        assert_eq!(config.env.expect("env"), ["A=own", "B=1"]);
    }

    #[test]
    fn nothing_to_run() {
        let mut config = ContainerConfig::default();
        let error = super::merge(&mut config, &Execution::default()).expect_err("no command");
        assert_eq!(error.message, "no command specified");
    }
}
