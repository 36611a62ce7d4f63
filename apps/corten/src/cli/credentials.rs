//! Credentials of registries: docker's `config.json` and its credential helpers.

use std::io::Write as _;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use dockerapi::AuthConfig;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::configfile::ConfigFile;
use super::failure::{Failure, Outcome, os_text};

/// Name under which Docker Hub's credentials are kept.
pub(crate) const INDEX: &str = "https://index.docker.io/v1/";
/// User name that says that the secret is an identity token.
const TOKEN_USER: &str = "<token>";

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HelperCredentials {
    #[serde(rename = "ServerURL")]
    server_url: String,
    username: String,
    secret: String,
}

/// Key of a registry: Docker Hub has one of its own.
pub(crate) fn key(domain: &str) -> String {
    match domain {
        "docker.io" | "index.docker.io" | "registry-1.docker.io" => INDEX.into(),
        other => other.into(),
    }
}

/// `X-Registry-Auth` for a registry.
///
/// # Errors
/// A helper that fails for another reason than knowing nothing.
pub(crate) fn header(config: &ConfigFile, domain: &str) -> Outcome<String> {
    let auth = lookup(config, &key(domain))?;
    let mut object = serde_json::Map::new();
    for (name, value) in [
        ("username", &auth.username),
        ("password", &auth.password),
        ("serveraddress", &auth.serveraddress),
        ("identitytoken", &auth.identitytoken),
        ("registrytoken", &auth.registrytoken),
    ] {
        if !value.is_empty() {
            object.insert(name.into(), json!(value));
        }
    }
    let text = serde_json::to_string(&object).unwrap_or_default();
    Ok(URL_SAFE.encode(text))
}

/// What is known about a registry; empty when nothing is.
///
/// # Errors
/// A helper that fails for another reason than knowing nothing.
pub(crate) fn lookup(config: &ConfigFile, server: &str) -> Outcome<AuthConfig> {
    if let Some(helper) = helper(config, server) {
        return from_helper(&helper, server);
    }
    let host = |text: &str| {
        let text = text
            .trim_start_matches("https://")
            .trim_start_matches("http://");
        text.split('/').next().unwrap_or_default().to_owned()
    };
    let entry = config.entry("auths", server).or_else(|| {
        // Old files have the address in other forms.
        let names = ["https://", "http://"].map(|scheme| format!("{scheme}{}", host(server)));
        names.iter().find_map(|name| {
            config
                .entry("auths", name)
                .or_else(|| config.entry("auths", &format!("{name}/v1/")))
        })
    });
    let Some(entry) = entry else {
        return Ok(AuthConfig::default());
    };
    let text = |key: &str| {
        let value = entry.get(key).and_then(serde_json::Value::as_str);
        value.unwrap_or("").to_owned()
    };
    let mut auth = AuthConfig {
        username: text("username"),
        password: text("password"),
        serveraddress: server.to_owned(),
        identitytoken: text("identitytoken"),
        registrytoken: text("registrytoken"),
        ..AuthConfig::default()
    };
    if let Ok(pair) = STANDARD.decode(text("auth"))
        && let Ok(pair) = String::from_utf8(pair)
        && let Some((name, password)) = pair.split_once(':')
    {
        auth.username = name.into();
        auth.password = password.trim_end_matches('\0').into();
    }
    Ok(auth)
}

/// Keeps credentials: with the helper where one is configured, else in the file.
///
/// # Errors
/// A helper that fails, or a file that cannot be written.
pub(crate) fn store(config: &mut ConfigFile, server: &str, auth: &AuthConfig) -> Outcome<bool> {
    let token = !auth.identitytoken.is_empty();
    if let Some(helper) = helper(config, server) {
        let credentials = HelperCredentials {
            server_url: server.into(),
            username: if token { TOKEN_USER } else { &auth.username }.into(),
            secret: if token {
                &auth.identitytoken
            } else {
                &auth.password
            }
            .clone(),
        };
        let input = serde_json::to_string(&credentials).unwrap_or_default();
        call(&helper, "store", &input)?;
        config.set_entry("auths", server, Some(json!({})));
        config.save()?;
        return Ok(true);
    }
    let mut entry = serde_json::Map::new();
    if token {
        entry.insert("identitytoken".into(), json!(auth.identitytoken));
        entry.insert(
            "auth".into(),
            json!(STANDARD.encode(format!("{}:", auth.username))),
        );
    } else {
        let pair = format!("{}:{}", auth.username, auth.password);
        entry.insert("auth".into(), json!(STANDARD.encode(pair)));
    }
    config.set_entry("auths", server, Some(entry.into()));
    config.save()?;
    Ok(false)
}

/// Forgets credentials.
///
/// # Errors
/// A helper that fails, or a file that cannot be written.
pub(crate) fn erase(config: &mut ConfigFile, server: &str) -> Outcome {
    if let Some(helper) = helper(config, server) {
        call(&helper, "erase", server)?;
    }
    config.set_entry("auths", server, None);
    config.save()
}

fn helper(config: &ConfigFile, server: &str) -> Option<String> {
    let named = config.map("credHelpers").remove(server);
    named
        .or_else(|| Some(config.text("credsStore").to_owned()))
        .filter(|name| !name.is_empty())
}

fn from_helper(helper: &str, server: &str) -> Outcome<AuthConfig> {
    let answer = match call(helper, "get", server) {
        Ok(answer) => answer,
        Err(failure)
            if failure
                .text
                .contains("credentials not found in native keychain") =>
        {
            return Ok(AuthConfig::default());
        }
        Err(failure) => return Err(failure),
    };
    let found: HelperCredentials = serde_json::from_str(&answer).map_err(|error| {
        Failure::new(format!(
            "error getting credentials - docker-credential-{helper} answered no credentials: {error}"
        ))
    })?;
    let mut auth = AuthConfig {
        serveraddress: server.into(),
        ..AuthConfig::default()
    };
    if found.username == TOKEN_USER {
        auth.identitytoken = found.secret;
    } else {
        auth.username = found.username;
        auth.password = found.secret;
    }
    Ok(auth)
}

/// Runs `docker-credential-<helper> <verb>`: the protocol of credential helpers is a program's
/// input and output.
fn call(helper: &str, verb: &str, input: &str) -> Outcome<String> {
    let program = format!("docker-credential-{helper}");
    let doing = match verb {
        "get" => "getting",
        "store" => "storing",
        _ => "erasing",
    };
    let failed = |why: &str| Failure::new(format!("error {doing} credentials - err: {why}"));
    let mut child = Command::new(&program)
        .arg(verb)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .map_err(|error| failed(&format!("exec: {program:?}: {}", os_text(&error))))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A helper that does not read says so by its exit status.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child
        .wait_with_output()
        .map_err(|error| failed(&os_text(&error)))?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if !output.status.success() {
        return Err(failed(&format!("{}, out: `{text}`", output.status)));
    }
    Ok(text)
}
