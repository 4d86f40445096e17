//! `config check` reads the settings as `up` does; `config show` lists every setting, and which of them are not the default.

use std::collections::BTreeMap;

use clap::Subcommand;
use serde_json::Value as Json;

use super::error::{CliError, CliResult};
use super::{CliContext, print};
use crate::commands::CatalogueState;
use crate::config::{CONFIG_BYTES_MAX, CONFIG_FILE, Config};
use crate::folder;

/// What stands in place of a secret.
const HIDDEN: &str = "(not shown)";

/// What is done with the settings.
#[derive(Debug, Subcommand)]
pub(super) enum ConfigAct {
    /// Read the settings as `up` does, and name what is wrong; exit code 1 if something is
    #[command(after_help = "Examples:\n  tombolo config check\n  tombolo config check --json")]
    Check,
    /// List every setting with its value; * marks what is not the default
    #[command(
        after_help = "Examples:\n  tombolo config show\n  tombolo config show --changed\n  tombolo config show --json\n\nPasswords, secrets of channels and addresses that are notified are not shown."
    )]
    Show {
        /// Only what is not the default
        #[arg(long)]
        changed: bool,
    },
}

pub(super) fn run(context: &CliContext, act: ConfigAct) -> CliResult {
    match act {
        ConfigAct::Check => check(context),
        ConfigAct::Show { changed } => show(context, changed),
    }
}

fn check(context: &CliContext) -> CliResult {
    let folder = &context.node.folder;
    let config = Config::load(folder).map_err(crate::folder::StartError::from)?;
    crate::config::radio::check_all(&config.radios)
        .map_err(|why| CliError::new("bad_settings", why.to_string()))?;
    let catalogue = match folder::load_catalogue(&folder::catalogue_path(folder, &config)) {
        CatalogueState::Damaged(why) => return Err(CliError::new("bad_settings", why)),
        CatalogueState::Missing => "no catalogue",
        CatalogueState::Read(_) => "the catalogue reads well",
    };
    let path = folder.join(CONFIG_FILE);
    if context.json {
        let json = serde_json::json!({ "ok": true, "file": path, "name": config.name });
        return Ok(print::exact(&json.to_string())?);
    }
    print::line(&format!("{} reads well; {catalogue}", path.display()))?;
    if context.node.is_running() {
        print::hint("a running node takes changed settings at its next start");
    }
    Ok(())
}

fn show(context: &CliContext, only_changed: bool) -> CliResult {
    let folder = &context.node.folder;
    let config = Config::load(folder).map_err(crate::folder::StartError::from)?;
    let path = folder.join(CONFIG_FILE);
    let text = crate::plain_file::read_text(&path, CONFIG_BYTES_MAX)
        .map_err(|e| CliError::new("file", format!("cannot read {}: {e}", path.display())))?;
    let defaults = flattened(&Config::template(&config.name));
    let set = flattened(&text);
    let is_changed = |key: &str| set.get(key).is_some_and(|value| defaults.get(key) != Some(value));
    let mut all = defaults.clone();
    all.extend(set.clone());
    all.retain(|key, _| !only_changed || is_changed(key));
    if context.json {
        let rows: serde_json::Map<String, Json> = all
            .iter()
            .map(|(key, value)| {
                let row = serde_json::json!({ "value": shown(key, value), "is_default": !is_changed(key) });
                (key.clone(), row)
            })
            .collect();
        return Ok(print::exact(&Json::Object(rows).to_string())?);
    }
    for (key, value) in &all {
        let mark = if is_changed(key) { '*' } else { ' ' };
        print::line(&format!("{mark} {key} = {}", print::clean(&shown(key, value).to_string())))?;
    }
    Ok(())
}

/// The settings of a file by their path, `lan.listen`. The file was read as settings before.
fn flattened(text: &str) -> BTreeMap<String, Json> {
    let mut flat = BTreeMap::new();
    let json: Json = toml::from_str(text).expect("it was read as settings");
    flatten("", json, &mut flat);
    flat
}

fn flatten(path: &str, value: Json, into: &mut BTreeMap<String, Json>) {
    let inner = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match value {
        Json::Object(fields) => {
            for (name, value) in fields {
                flatten(&inner(&name), value, into);
            }
        }
        Json::Array(items) if items.iter().any(Json::is_object) => {
            for (number, item) in items.into_iter().enumerate() {
                flatten(&format!("{path}[{number}]"), item, into);
            }
        }
        value => drop(into.insert(path.to_owned(), value)),
    }
}

/// A value as it is shown: secrets are not.
fn shown(key: &str, value: &Json) -> Json {
    let name = key.rsplit('.').next().unwrap_or(key);
    let is_empty = matches!(value.as_str(), Some(""));
    let is_radio_url = key.starts_with("radio[") && name == "url";
    let is_secret = match (name, value.as_str()) {
        ("password" | "secret" | "token", _) => true,
        ("url", Some(url)) => !is_radio_url || url.contains("secret="),
        _ => false,
    };
    if is_secret && !is_empty { Json::from(HIDDEN) } else { value.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_listed_by_path_without_secrets() {
        let text = "name = \"attic\"\n[tor]\npassword = \"x\"\n[notify]\nurl = \"https://ntfy.sh/topic\"\n\
                    [[radio]]\nurl = \"kiss+tcp://localhost:1\"\n[[radio]]\nurl = \"meshcore+tcp://h:1?secret=00\"\n";
        let flat = flattened(text);
        let rows: Vec<String> =
            flat.iter().map(|(key, value)| format!("{key}={}", shown(key, value))).collect();
        assert_eq!(
            rows,
            [
                "name=\"attic\"",
                "notify.url=\"(not shown)\"",
                "radio[0].url=\"kiss+tcp://localhost:1\"",
                "radio[1].url=\"(not shown)\"",
                "tor.password=\"(not shown)\"",
            ]
        );
        assert_eq!(shown("notify.url", &Json::from("")), Json::from(""));
    }
}
