//! Damping of apps: one that changes again and again is published once, as flapping.
//!
//! An app that has changed [`FLIPS`] times within [`WINDOW`] keeps the status that it was published with last, and its health reads
//! `flapping`: a reader that knows only the status goes on to see it running or stopped. Once it has not changed for [`CALM`] it is
//! published as it is. An app that comes and goes flaps as well, and stays in the list meanwhile.
//!
//! A change is any: of status, health or version, and that it is there at all.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::io::{App, AppHealth};
use crate::time::{Millis, Mono};

/// So many changes within [`WINDOW`] are flapping. A restart is two; a replacement by another version, and back, is four.
pub(crate) const FLIPS: usize = 5;
/// The time over which changes are counted.
pub(crate) const WINDOW: Millis = Millis::from_secs(10 * 60);
/// Flapping ends when nothing has changed for so long.
pub(crate) const CALM: Millis = Millis::from_secs(5 * 60);
/// Apps that are watched. Those of one state fit twice; a further one is published as it comes.
const APPS_MAX: usize = 1_024;

/// The past of a node's apps, as far as it matters.
#[derive(Debug, Default)]
pub(crate) struct FlapFilter {
    apps: BTreeMap<String, AppPast>,
}

#[derive(Debug, Default)]
struct AppPast {
    /// How it came last; `None`: it was absent.
    seen: Option<App>,
    /// How it was published last.
    shown: Option<App>,
    /// When it changed, oldest first; at most [`FLIPS`].
    changes: VecDeque<Mono>,
    is_flapping: bool,
}

impl AppPast {
    fn see(&mut self, now: Mono, app: Option<&App>) {
        if self.seen.as_ref() != app {
            self.seen = app.cloned();
            self.changes.push_back(now);
            if self.changes.len() > FLIPS {
                self.changes.pop_front();
            }
        }
        let is_recent = |length: Millis| move |at: &&Mono| now.since(**at) < length;
        if !self.is_flapping {
            self.is_flapping = self.changes.iter().filter(is_recent(WINDOW)).count() >= FLIPS;
        } else if !self.changes.back().as_ref().is_some_and(is_recent(CALM)) {
            self.is_flapping = false;
            self.changes.clear();
        }
        self.shown = match (&self.shown, self.is_flapping) {
            (Some(shown), true) => Some(App { health: Some(AppHealth::Flapping), ..shown.clone() }),
            (Some(_), false) | (None, _) => self.seen.clone(),
        };
    }

    /// Whether nothing of it matters any more.
    fn is_over(&self, now: Mono) -> bool {
        self.seen.is_none() && self.changes.back().is_none_or(|at| now.since(*at) >= WINDOW)
    }
}

impl FlapFilter {
    /// The apps as they are to be published, by id.
    pub(crate) fn damp(&mut self, now: Mono, apps: Vec<App>) -> Vec<App> {
        let here: BTreeSet<&str> = apps.iter().map(|app| app.id.as_str()).collect();
        let absent = self.apps.iter_mut().filter(|(id, _)| !here.contains(id.as_str()));
        absent.for_each(|(_, past)| past.see(now, None));
        let mut shown: Vec<App> = Vec::with_capacity(apps.len());
        for app in apps {
            // Another part has seen that it flaps, and counts on.
            let is_judged = app.health == Some(AppHealth::Flapping);
            if is_judged || (self.apps.len() >= APPS_MAX && !self.apps.contains_key(&app.id)) {
                self.apps.remove(&app.id);
                shown.push(app);
                continue;
            }
            match self.apps.get_mut(&app.id) {
                Some(past) => past.see(now, Some(&app)),
                None => {
                    let past =
                        AppPast { seen: Some(app.clone()), shown: Some(app.clone()), ..AppPast::default() };
                    self.apps.insert(app.id.clone(), past);
                }
            }
            shown.extend(self.apps.get(&app.id).and_then(|past| past.shown.clone()));
        }
        let gone = self.apps.values().filter(|past| past.seen.is_none());
        shown.extend(gone.filter_map(|past| past.shown.clone()));
        self.apps.retain(|_, past| !past.is_over(now));
        shown.sort_by(|a, b| a.id.cmp(&b.id));
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::AppStatus;
    use proptest::prelude::*;

    fn app(id: &str, status: AppStatus) -> App {
        App { id: id.into(), status, version: None, health: None }
    }

    fn at(seconds: u64) -> Mono {
        Mono::from_ms(seconds * 1_000)
    }

    fn status(n: u64) -> AppStatus {
        if n.is_multiple_of(2) { AppStatus::Running } else { AppStatus::Stopped }
    }

    #[test]
    fn an_app_that_flips_each_second_is_published_once_as_flapping_and_later_as_it_is() {
        let mut filter = FlapFilter::default();
        let mut published = Vec::new();
        for n in 0..3_600 {
            published.push(filter.damp(at(n), vec![app("web", status(n)), app("db", AppStatus::Running)]));
        }
        published.dedup();
        assert_eq!(published.len(), FLIPS + 1, "as it came, each of its first changes, and the flapping");
        let last = published.last().unwrap();
        assert_eq!(last[0], app("db", AppStatus::Running));
        assert_eq!((last[1].health, last[1].status), (Some(AppHealth::Flapping), AppStatus::Running));
        // It ends stopped: for five minutes that does not show.
        let stopped = vec![app("web", AppStatus::Stopped)];
        assert_eq!(filter.damp(at(3_890), stopped.clone())[0].health, Some(AppHealth::Flapping));
        assert_eq!(filter.damp(at(3_900), stopped.clone()), stopped);
    }

    #[test]
    fn a_restart_and_slow_changes_are_published_as_they_come() {
        let mut filter = FlapFilter::default();
        for n in 0..40 {
            let now = vec![app("web", status(n))];
            assert_eq!(filter.damp(at(n * 160), now.clone()), now, "{n}");
        }
        let mut filter = FlapFilter::default();
        for n in 0..4 {
            assert_eq!(filter.damp(at(n), vec![app("web", status(n))])[0].status, status(n));
        }
    }

    /// Relatives: an app that comes and goes, a health that changes, a version that does.
    #[test]
    fn what_comes_and_goes_or_changes_its_health_or_version_flaps_too() {
        let healthy = |n: u64| if n.is_multiple_of(2) { AppHealth::Healthy } else { AppHealth::Unhealthy };
        let cases: [&dyn Fn(u64) -> Vec<App>; 3] = [
            &|n| if n.is_multiple_of(2) { vec![app("web", AppStatus::Running)] } else { vec![] },
            &|n| vec![App { health: Some(healthy(n)), ..app("web", AppStatus::Running) }],
            &|n| vec![App { version: Some(format!("{}", n % 2)), ..app("web", AppStatus::Running) }],
        ];
        for case in cases {
            let mut filter = FlapFilter::default();
            let mut published: Vec<_> = (0..600).map(|n| filter.damp(at(n), case(n))).collect();
            published.dedup();
            assert!(published.len() <= FLIPS + 1, "{}", published.len());
            assert_eq!(published.last().unwrap()[0].health, Some(AppHealth::Flapping));
        }
    }

    /// Two filters in a row, as a publisher and its node have: the second changes nothing, from beginning to end.
    #[test]
    fn what_was_damped_before_passes_as_it_is() {
        let (mut first, mut second) = (FlapFilter::default(), FlapFilter::default());
        for n in 0..4_000 {
            let n = if n < 2_000 { n } else { n - n % 2 };
            let damped = first.damp(at(n), vec![app("web", status(n))]);
            assert_eq!(second.damp(at(n), damped.clone()), damped, "{n}");
        }
    }

    proptest! {
        /// However apps come: memory stays bounded, ids stay unique and sorted, and an app is published no more often than it changed.
        #[test]
        fn apps_stay_bounded_and_unique(
            rounds in prop::collection::vec((0u64..400, prop::collection::btree_map(0u16..2_000, any::<bool>(), 0..40)), 1..80),
        ) {
            let mut filter = FlapFilter::default();
            let mut now = 0;
            for (gap, apps) in rounds {
                now += gap;
                let status = |running: bool| if running { AppStatus::Running } else { AppStatus::Stopped };
                let apps: Vec<App> = apps.iter().map(|(id, running)| app(&format!("{id}"), status(*running))).collect();
                let given: BTreeSet<String> = apps.iter().map(|app| app.id.clone()).collect();
                let shown = filter.damp(at(now), apps);
                prop_assert!(shown.is_sorted_by(|a, b| a.id < b.id));
                prop_assert!(filter.apps.len() <= APPS_MAX);
                let ids: BTreeSet<String> = shown.iter().map(|app| app.id.clone()).collect();
                prop_assert!(given.is_subset(&ids));
            }
        }
    }
}
