//! `login` and `logout`.

use std::io::Read as _;

use dockerapi::AuthConfig;

use crate::cli::Call;
use crate::cli::configfile::ConfigFile;
use crate::cli::credentials::{self, INDEX};
use crate::cli::failure::{Failure, Outcome, os_text};
use crate::cli::{out, tty};

/// `login`.
pub(super) async fn login(call: &Call) -> Outcome {
    let flags = &call.flags;
    let mut password = flags.text("password").to_owned();
    let mut username = flags.text("username").to_owned();
    if flags.changed("password") && !flags.on("password-stdin") {
        out::error("WARNING! Using --password via the CLI is insecure. Use --password-stdin.");
    }
    if flags.on("password-stdin") {
        if flags.changed("password") {
            return Err(
                "conflicting options: cannot specify both --password and --password-stdin".into(),
            );
        }
        if !flags.changed("username") {
            return Err("the --password-stdin option requires --username to be set".into());
        }
    }
    for name in ["username", "password"] {
        if flags.changed(name) && flags.text(name).is_empty() {
            return Err(Failure::new(format!("{name} is empty")));
        }
    }
    if flags.on("password-stdin") {
        let mut text = String::new();
        std::io::stdin()
            .lock()
            .take(1 << 20)
            .read_to_string(&mut text)?;
        password = text
            .strip_suffix('\n')
            .map(|text| text.strip_suffix('\r').unwrap_or(text))
            .unwrap_or(&text)
            .to_owned();
    }
    let server = server(flags.args.first());
    let mut config = ConfigFile::load(&call.app.config_dir())?;
    let known = credentials::lookup(&config, &server)?;
    if username.is_empty() || password.is_empty() {
        let stored = username.is_empty() && password.is_empty() && !known.username.is_empty();
        if stored {
            out::line("Authenticating with existing credentials...");
            username.clone_from(&known.username);
            password.clone_from(&known.password);
        } else {
            if !tty::stdin_is_terminal() {
                return Err(
                    "Error: Cannot perform an interactive login from a non TTY device".into(),
                );
            }
            if username.is_empty() {
                username = ask("Username", &known.username)?;
            }
            if password.is_empty() {
                password = ask_hidden("Password: ")?;
            }
        }
    }
    if username.is_empty() || password.is_empty() {
        return Err("Error: Password Required".into());
    }
    let mut auth = AuthConfig {
        username,
        password,
        serveraddress: server.clone(),
        ..AuthConfig::default()
    };
    let client = call.app.client().await?;
    let (status, token) = client.auth(&auth).await?;
    if !token.is_empty() {
        auth.identitytoken = token;
        auth.password = String::new();
    }
    let with_helper = credentials::store(&mut config, &server, &auth)?;
    if !with_helper {
        out::error(&format!(
            "\nWARNING! Your credentials are stored unencrypted in '{}'.\nConfigure a credential helper to remove this warning. See\nhttps://docs.docker.com/go/credential-store/\n",
            config.path().display()
        ));
    }
    if !status.is_empty() {
        out::line(&status);
    }
    Ok(())
}

/// `logout`.
pub(super) fn logout(call: &Call) -> Outcome {
    let server = server(call.flags.args.first());
    let mut config = ConfigFile::load(&call.app.config_dir())?;
    let shown = if server == INDEX {
        INDEX.to_owned()
    } else {
        server.clone()
    };
    let known = config.entry("auths", &server).is_some()
        || !credentials::lookup(&config, &server)?.username.is_empty();
    out::line(&format!("Removing login credentials for {shown}"));
    if known {
        credentials::erase(&mut config, &server).map_err(|failure| {
            Failure::new(format!(
                "WARNING: could not erase credentials:\n{shown}: {}",
                failure.text
            ))
        })?;
    }
    Ok(())
}

/// Key of the registry named, Docker Hub without a name.
fn server(named: Option<&String>) -> String {
    let Some(named) = named else {
        return INDEX.into();
    };
    let bare = named
        .trim_start_matches("https://")
        .trim_start_matches("http://");
    credentials::key(bare.split('/').next().unwrap_or(bare))
}

fn ask(what: &str, default: &str) -> Outcome<String> {
    use std::io::BufRead as _;
    if default.is_empty() {
        out::print(&format!("{what}: "));
    } else {
        out::print(&format!("{what} ({default}): "));
    }
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    let answer = answer.trim();
    Ok(if answer.is_empty() { default } else { answer }.to_owned())
}

/// Asks without echo.
fn ask_hidden(question: &str) -> Outcome<String> {
    use std::io::BufRead as _;
    out::print(question);
    let hidden = tty::Hidden::enter();
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    drop(hidden);
    out::line("");
    read.map_err(|error| Failure::new(os_text(&error)))?;
    Ok(answer.trim_end_matches(['\r', '\n']).to_owned())
}
