//! The catalogue: the apps that an operator lets peers install, from a file of its own.
//!
//! ```toml
//! marketplace-url = "https://market.example"
//!
//! [[app]]
//! id = "web"
//! versions = ["1.2", "1.3"]        # left out: any version
//!
//! [[app]]
//! id = "db"
//! marketplace-url = "https://other.example"
//! ```

use serde::Deserialize;

use super::deploy::{Deploy, is_marketplace, is_name};
use super::outcome::CommandRefusal;

/// Bytes of a catalogue; a longer file is refused unread.
pub const CATALOGUE_BYTES_MAX: u64 = 256 * 1024;

/// The apps that peers may have installed here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalogue {
    apps: Vec<CatalogueApp>,
}

/// One app of a catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogueApp {
    /// The id of the app.
    pub id: String,
    /// The versions that may be installed; empty: any.
    pub versions: Vec<String>,
    /// The marketplace that it must come from; may be empty.
    pub marketplace_url: String,
}

/// The catalogue as it was last read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CatalogueState {
    /// There is no file: nothing is allowed.
    #[default]
    Missing,
    /// The file does not read: nothing is allowed until it does.
    Damaged(String),
    /// The apps that are allowed.
    Read(Catalogue),
}

/// Why a text is no catalogue.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct CatalogueError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub why: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    #[serde(default)]
    marketplace_url: String,
    #[serde(default)]
    app: Vec<toml::Spanned<AppEntry>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct AppEntry {
    id: String,
    #[serde(default)]
    versions: Vec<String>,
    marketplace_url: Option<String>,
}

impl Catalogue {
    /// Reads a catalogue.
    ///
    /// # Errors
    /// The line, and what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, CatalogueError> {
        let line_of = |at: usize| text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1;
        let file: File = toml::from_str(text).map_err(|error| CatalogueError {
            line: line_of(error.span().map_or(0, |span| span.start)),
            why: error.message().trim_end_matches('.').replace('\n', " "),
        })?;
        if !is_marketplace(&file.marketplace_url) {
            return Err(CatalogueError { line: 1, why: "`marketplace-url` is no plain URL".to_owned() });
        }
        let mut apps: Vec<CatalogueApp> = Vec::new();
        for app in file.app {
            let line = line_of(app.span().start);
            let app = checked(app.into_inner(), &file.marketplace_url, &apps)
                .map_err(|why| CatalogueError { line, why })?;
            apps.push(app);
        }
        Ok(Catalogue { apps })
    }

    /// The apps, in the order of the file.
    pub fn apps(&self) -> &[CatalogueApp] {
        &self.apps
    }

    /// The app with an id.
    pub fn app(&self, id: &str) -> Option<&CatalogueApp> {
        self.apps.iter().find(|app| app.id == id)
    }

    /// Whether a deploy is allowed.
    ///
    /// # Errors
    /// Why it is not.
    pub fn allows(&self, deploy: &Deploy) -> Result<(), CommandRefusal> {
        let app = self.app(&deploy.id).ok_or(CommandRefusal::NotInCatalogue)?;
        if !app.versions.is_empty() && !app.versions.contains(&deploy.version) {
            return Err(CommandRefusal::VersionNotInCatalogue);
        }
        if app.marketplace_url != deploy.marketplace_url {
            return Err(CommandRefusal::OtherMarketplace);
        }
        Ok(())
    }
}

impl CatalogueState {
    /// Whether a deploy is allowed.
    ///
    /// # Errors
    /// Why it is not.
    pub fn allows(&self, deploy: &Deploy) -> Result<(), CommandRefusal> {
        match self {
            CatalogueState::Missing => Err(CommandRefusal::Off),
            CatalogueState::Damaged(_) => Err(CommandRefusal::CatalogueDamaged),
            CatalogueState::Read(catalogue) if catalogue.apps().is_empty() => Err(CommandRefusal::Off),
            CatalogueState::Read(catalogue) => catalogue.allows(deploy),
        }
    }
}

fn checked(app: AppEntry, marketplace: &str, before: &[CatalogueApp]) -> Result<CatalogueApp, String> {
    if !is_name(&app.id) {
        return Err(format!("`{}` cannot be an app's id", app.id));
    }
    if before.iter().any(|other| other.id == app.id) {
        return Err(format!("`{}` is there twice", app.id));
    }
    if let Some(bad) = app.versions.iter().find(|version| !is_name(version)) {
        return Err(format!("`{bad}` cannot be a version"));
    }
    let marketplace_url = app.marketplace_url.unwrap_or_else(|| marketplace.to_owned());
    if !is_marketplace(&marketplace_url) {
        return Err("`marketplace-url` is no plain URL".to_owned());
    }
    Ok(CatalogueApp { id: app.id, versions: app.versions, marketplace_url })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "marketplace-url = \"https://m.example\"\n\n[[app]]\nid = \"web\"\nversions = [\"1.2\"]\n\n[[app]]\nid = \"db\"\nmarketplace-url = \"\"\n";

    fn asks(id: &str, version: &str, url: &str) -> Result<(), CommandRefusal> {
        Catalogue::parse(FILE).unwrap().allows(&Deploy::new(id, version, url).unwrap())
    }

    #[test]
    fn an_app_is_allowed_by_id_version_and_marketplace() {
        assert_eq!(asks("web", "1.2", "https://m.example"), Ok(()));
        assert_eq!(asks("db", "anything", ""), Ok(()));
        assert_eq!(asks("sh", "1", "https://m.example"), Err(CommandRefusal::NotInCatalogue));
        assert_eq!(asks("web", "1.3", "https://m.example"), Err(CommandRefusal::VersionNotInCatalogue));
        assert_eq!(asks("web", "1.2", "https://m.example/"), Err(CommandRefusal::OtherMarketplace));
        assert_eq!(asks("db", "1", "https://m.example"), Err(CommandRefusal::OtherMarketplace));
    }

    #[test]
    fn a_mistake_is_named_with_its_line() {
        for (text, line) in [
            ("\n\n[[app]]\nid = \"-rf\"\n", 3),
            ("[[app]]\nid = \"a\"\n[[app]]\nid = \"a\"\n", 3),
            ("[[app]]\nid = \"a\"\nversion = \"1\"\n", 3),
            ("[[app]]\nid = \"a\"\nversions = [\"1 2\"]\n", 1),
            ("[[app]]\n", 1),
            ("marketplace-url = \"a b\"\n", 1),
        ] {
            let error = Catalogue::parse(text).unwrap_err();
            assert_eq!(error.line, line, "{text}: {error}");
        }
    }

    #[test]
    fn without_apps_deploys_are_off() {
        let deploy = Deploy::new("web", "1", "").unwrap();
        let empty = CatalogueState::Read(Catalogue::parse("# none yet\n").unwrap());
        assert_eq!(empty.allows(&deploy), Err(CommandRefusal::Off));
        assert_eq!(CatalogueState::Missing.allows(&deploy), Err(CommandRefusal::Off));
        let damaged = CatalogueState::Damaged("line 1".into());
        assert_eq!(damaged.allows(&deploy), Err(CommandRefusal::CatalogueDamaged));
    }
}
