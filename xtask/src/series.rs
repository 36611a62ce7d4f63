//! Long series of tests that are otherwise run with small numbers: `cargo xtask model` and
//! `cargo xtask kills`.

use anyhow::{Context as _, Result};

use crate::run;

const MODEL: &str = "cargo xtask model [--ops N] [--linux N]
  N orders of four clients, answers and states held against the model of what Docker would say,
  engines and keepers killed meanwhile; a million in memory and ten thousand on Linux unless told";
const KILLS: &str = "cargo xtask kills [--moments N]
  kills the engine at N moments, 200 unless told, of pull, load, push, rmi and collection";
/// What the kills are shared out over.
const OPERATIONS: u64 = 5;

/// `cargo xtask model`.
pub(crate) fn model(args: &[String]) -> Result<()> {
    let [memory, linux] = numbers(args, [("--ops", 1_000_000), ("--linux", 10_000)], MODEL)?;
    let memory = memory.to_string();
    let logic = ["-p", "engine", "--test", "logic", "random::"];
    let memory = [("CORTEN_MODEL_OPS", &*memory), ("TMPDIR", scratch())];
    test(&logic, &memory)?;
    run::run(&["cargo", "build", "--locked", "-p", "corten"])?;
    let linux = linux.to_string();
    test(
        &["-p", "e2e", "--test", "model"],
        &[("CORTEN_E2E_MODEL_OPS", &linux)],
    )
}

/// `cargo xtask kills`.
pub(crate) fn kills(args: &[String]) -> Result<()> {
    let [moments] = numbers(args, [("--moments", 200)], KILLS)?;
    run::run(&["cargo", "build", "--locked", "-p", "corten"])?;
    let each = moments.div_ceil(OPERATIONS).to_string();
    test(
        &["-p", "e2e", "--test", "store_kills"],
        &[("CORTEN_E2E_STORE_KILLS", &each)],
    )
}

/// Where what is written need not reach a disk: engines in memory wait for little else.
fn scratch() -> &'static str {
    match std::path::Path::new("/dev/shm").is_dir() {
        true => "/dev/shm",
        false => "/tmp",
    }
}

fn test(which: &[&str], variables: &[(&str, &str)]) -> Result<()> {
    let words = [
        &["cargo", "test", "--locked"],
        which,
        &["--", "--nocapture"],
    ]
    .concat();
    run::run_with(variables, &words)
}

/// Values of options that all take a number, in their order.
fn numbers<const N: usize>(
    args: &[String],
    options: [(&str, u64); N],
    usage: &str,
) -> Result<[u64; N]> {
    let mut values = options.map(|(_, default)| default);
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let at = options.iter().position(|(name, _)| name == arg);
        let at = at.with_context(|| format!("unknown argument {arg}\n{usage}"))?;
        let value = args.next().and_then(|text| text.parse().ok());
        values[at] = value.with_context(|| format!("{arg} needs a number\n{usage}"))?;
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::numbers;

    #[test]
    fn options() {
        let read = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            numbers(&words, [("--a", 1), ("--b", 2)], "usage").ok()
        };
        assert_eq!(read(&[]), Some([1, 2]));
        assert_eq!(read(&["--b", "7"]), Some([1, 7]));
        assert_eq!(read(&["--b"]), None);
        assert_eq!(read(&["--c", "7"]), None);
    }
}
