//! What an operator watches for: one rule names one node and what may not happen to it.

use serde::{Deserialize, Serialize};

use super::event::{APP_BYTES_MAX, WatchKind};

/// Rules that a command has added. One more is refused.
pub const RULES_MAX: usize = 64;
/// Apps that one rule names.
pub const RULE_APPS_MAX: usize = 16;

/// What is watched of one node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WatchRule {
    /// The node: a name, a DID or the start of one; this node's own name watches itself.
    pub peer: String,
    /// Raise an alarm when nothing comes by the time that the node has named.
    #[serde(default)]
    pub silent: bool,
    /// Report when a node that was silent is heard again.
    #[serde(default)]
    pub back: bool,
    /// Apps of which an alarm is raised when they do not run, or are unhealthy.
    #[serde(default)]
    pub apps: Vec<String>,
    /// Raise an alarm when more than so many per cent of the disk are in use.
    #[serde(default)]
    pub disk_above: Option<u8>,
    /// Raise an alarm when the node's clock is wrong.
    #[serde(default)]
    pub clock: bool,
    /// Raise an alarm when two machines use the node's key.
    #[serde(default)]
    pub key_twice: bool,
}

/// Why a rule cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadWatch {
    /// A disk has 1 to 99 per cent to watch.
    #[error("`disk_above` is between 1 and 99 per cent")]
    Disk,
    /// The name of an app is empty or too long.
    #[error("an app's id has 1 to {APP_BYTES_MAX} bytes")]
    App,
    /// It names too many apps.
    #[error("one watch names at most {RULE_APPS_MAX} apps")]
    TooManyApps,
    /// It names no node.
    #[error("a watch names a peer, or this node")]
    NoPeer,
}

impl WatchRule {
    /// Checks the rule. One that watches for nothing in particular watches for silence and return.
    ///
    /// # Errors
    ///
    /// [`BadWatch`]: what is wrong with it.
    pub fn checked(self) -> Result<Self, BadWatch> {
        if self.peer.is_empty() {
            return Err(BadWatch::NoPeer);
        }
        if self.disk_above.is_some_and(|percent| !(1..=99).contains(&percent)) {
            return Err(BadWatch::Disk);
        }
        if self.apps.len() > RULE_APPS_MAX {
            return Err(BadWatch::TooManyApps);
        }
        if self.apps.iter().any(|app| app.is_empty() || app.len() > APP_BYTES_MAX) {
            return Err(BadWatch::App);
        }
        let is_bare = self.kinds().is_empty();
        Ok(WatchRule { silent: self.silent || is_bare, back: self.back || is_bare, ..self })
    }

    /// The kinds of alarm that the rule asks for.
    pub fn kinds(&self) -> Vec<WatchKind> {
        let is_asked = |kind: &WatchKind| match kind {
            WatchKind::Silent => self.silent,
            WatchKind::Back => self.back,
            WatchKind::AppStopped | WatchKind::AppUnhealthy => !self.apps.is_empty(),
            WatchKind::Disk => self.disk_above.is_some(),
            WatchKind::Clock => self.clock,
            WatchKind::KeyTwice => self.key_twice,
        };
        WatchKind::ALL.into_iter().filter(is_asked).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule() -> WatchRule {
        WatchRule { peer: "hut".to_owned(), ..WatchRule::default() }
    }

    #[test]
    fn a_bare_rule_watches_for_silence_and_return() {
        assert_eq!(rule().checked().unwrap().kinds(), [WatchKind::Silent, WatchKind::Back]);
        let disk = WatchRule { disk_above: Some(90), ..rule() };
        assert_eq!(disk.checked().unwrap().kinds(), [WatchKind::Disk]);
        let app = WatchRule { apps: vec!["web".to_owned()], ..rule() };
        assert_eq!(app.checked().unwrap().kinds(), [WatchKind::AppStopped, WatchKind::AppUnhealthy]);
    }

    #[test]
    fn what_cannot_be_watched_is_refused_with_the_reason() {
        let cases = [
            (WatchRule { disk_above: Some(0), ..rule() }, BadWatch::Disk),
            (WatchRule { disk_above: Some(100), ..rule() }, BadWatch::Disk),
            (WatchRule { apps: vec![String::new()], ..rule() }, BadWatch::App),
            (WatchRule { apps: vec!["x".repeat(65)], ..rule() }, BadWatch::App),
            (WatchRule { apps: vec!["x".to_owned(); 17], ..rule() }, BadWatch::TooManyApps),
            (WatchRule::default(), BadWatch::NoPeer),
        ];
        for (rule, why) in cases {
            assert_eq!(rule.checked(), Err(why));
        }
    }
}
