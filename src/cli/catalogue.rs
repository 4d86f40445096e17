//! `catalogue`: lists the apps that peers may have installed here, and checks what an install needs.

use std::path::Path;

use serde_json::json;

use super::error::{CliError, CliResult};
use super::{CliContext, print};
use crate::commands::{Catalogue, CatalogueState};
use crate::config::DeploySettings;
use crate::folder;

pub(super) fn run(context: &CliContext) -> CliResult {
    let config = folder::load_config(&context.node.folder)?;
    let path = folder::catalogue_path(&context.node.folder, &config);
    let catalogue = match folder::load_catalogue(&path) {
        CatalogueState::Damaged(why) => {
            let advice = "until it is corrected, peers are refused";
            return Err(CliError::new("bad_catalogue", format!("{why}: {advice}")));
        }
        CatalogueState::Missing => Catalogue::default(),
        CatalogueState::Read(catalogue) => catalogue,
    };
    check_program(&config.deploy)?;
    let why_off = why_off(&path, &config.deploy, &catalogue);
    if context.json {
        let apps = catalogue.apps().iter();
        let apps: Vec<_> = apps
            .map(
                |app| json!({"id": app.id, "versions": app.versions, "marketplace_url": app.marketplace_url}),
            )
            .collect();
        let file = super::ask::show(&path);
        let shown = json!({"file": file, "on": why_off.is_none(), "why_off": why_off, "apps": apps});
        return Ok(print::exact(&shown.to_string())?);
    }
    if !catalogue.apps().is_empty() {
        let mut table = print::Table::new(&["APP", "VERSIONS", "MARKETPLACE"]);
        for app in catalogue.apps() {
            let versions = if app.versions.is_empty() { "any".to_owned() } else { app.versions.join(", ") };
            table.row([app.id.clone(), versions, app.marketplace_url.clone()]);
        }
        print::line(&table.lines())?;
    }
    let state = match why_off {
        None => "trusted peers may have these installed here".to_owned(),
        Some(why) => format!("deploys are off: {why}"),
    };
    Ok(print::line(&state)?)
}

/// Why nothing is installed for peers, if that is so.
fn why_off(path: &Path, settings: &DeploySettings, catalogue: &Catalogue) -> Option<String> {
    if settings.command.is_empty() {
        return Some("`command` in the [deploy] section of tombolo.toml names no program".to_owned());
    }
    catalogue.apps().is_empty().then(|| format!("{} has no app", path.display()))
}

/// The program of the operator's command is there and may be run.
fn check_program(settings: &DeploySettings) -> Result<(), CliError> {
    use std::os::unix::fs::PermissionsExt;
    let Some(program) = settings.command.first() else { return Ok(()) };
    let bad = |why: &str| {
        CliError::new(
            "bad_program",
            format!("`command` in the [deploy] section of tombolo.toml: {program} {why}"),
        )
    };
    match std::fs::metadata(program) {
        Err(error) => Err(bad(&format!("cannot be found: {error}"))),
        Ok(metadata) if !metadata.is_file() => Err(bad("is no program")),
        Ok(metadata) if metadata.permissions().mode() & 0o111 == 0 => {
            Err(bad("may not be run: `chmod +x` it"))
        }
        Ok(_) => Ok(()),
    }
}
