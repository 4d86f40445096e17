//! Why a link was chosen, for people: each verdict, each cost and each change as a sentence, beside the decision as data.

use std::collections::BTreeSet;

use tombolo_mesh::frame::keys::Mode;
use tombolo_transports::{LinkId, Medium, PeerId};

use crate::federation::RadioUse;
use crate::identity::did;
use crate::io::{CommandError, view};
use crate::layer::{DocumentId, DocumentName};
use crate::report::NodeReport;
use crate::report::links::span;
use crate::router::{
    ChoiceChange, Class, Cost, Decision, DecisionId, Exclusion, JournalEntry, LinkVerdict, LostBy,
    Preference, SetFor, Subject,
};
use crate::time::Millis;
use crate::unicast::is_confidential;

/// The length of the document that stands for what would be sent now, bytes.
pub(super) const DOCUMENT_BYTES: usize = 128;
/// Decisions that are listed where none is named.
const LISTED_MAX: usize = 20;
/// Digits of a command's id that a person has to write at least.
const COMMAND_DIGITS_MIN: usize = 4;

impl NodeReport<'_> {
    /// Decisions of the router: about a peer what would be decided now and the newest of each class; else the one that is
    /// named, or those about a state or a command; without a name the newest.
    ///
    /// # Errors
    /// [`CommandError::UnknownDecision`] if none that is kept is about it.
    pub fn why(&self, about: Option<&str>) -> Result<Vec<view::WhyView>, CommandError> {
        let journal = self.unicast.router().journal();
        let Some(text) = about else {
            return Ok(journal.newest_first().take(LISTED_MAX).map(|entry| self.entry_view(entry)).collect());
        };
        match self.replica.resolve_peer(text) {
            Ok(peer) => return Ok(self.why_peer(&peer)),
            Err(error @ CommandError::AmbiguousPeer { .. }) => return Err(error),
            Err(_) => {}
        }
        let found: Vec<view::WhyView> = match text.parse::<DecisionId>() {
            Ok(id) => journal.get(id).map(|entry| self.entry_view(entry)).into_iter().collect(),
            Err(_) => {
                let is_about = |entry: &&JournalEntry| is_about(&entry.subject, text);
                journal.newest_first().filter(is_about).map(|entry| self.entry_view(entry)).collect()
            }
        };
        match found.is_empty() {
            true => Err(CommandError::UnknownDecision(text.to_owned())),
            false => Ok(found),
        }
    }

    fn why_peer(&self, peer: &PeerId) -> Vec<view::WhyView> {
        let now = self.why_view("now".to_owned(), peer, &Subject::Engine, 1, &self.present_choice(peer));
        let about = format!("a document of {DOCUMENT_BYTES} bytes");
        let mut views = vec![view::WhyView { about, not_by_radio: self.kept_off_radio(peer), ..now }];
        let journal = self.unicast.router().journal();
        let newest = Class::ALL.into_iter().filter_map(|class| journal.newest_of(peer, class));
        views.extend(newest.map(|entry| self.entry_view(entry)));
        views
    }

    /// The documents shared with a peer that do not go by radio as they are, with the policy that keeps them off.
    fn kept_off_radio(&self, peer: &PeerId) -> Vec<String> {
        if self.broadcast.radios().next().is_none() {
            return Vec::new();
        }
        let in_clear = self.broadcast.radios().all(|(_, radio)| radio.spec().mode == Mode::SignedClear);
        let layers = self.replica.layers().layers().map(|layer| &layer.head().layer);
        let shared = layers.filter(|id| self.replica.may_receive(peer, id));
        let documents: BTreeSet<&DocumentId> = shared.map(|id| &id.document).collect();
        let kept_off = documents.into_iter().filter_map(|document| {
            let policy = self.replica.federation().policy(document);
            let why = match policy.radio {
                RadioUse::Never => "its owner's policy is `radio never`",
                RadioUse::Brief => "its brief goes in its place, by its owner's policy `radio brief`",
                RadioUse::Full if document.name.as_str() == DocumentName::DEPLOYS => {
                    "outcomes of deploys are too much for the air"
                }
                RadioUse::Full if in_clear && is_confidential(self.replica, document) => {
                    "it is confidential, and the radio sends in clear"
                }
                RadioUse::Full => return None,
            };
            let name = format!("{}/{}", self.name_of(&document.owner), document.name.as_str());
            Some(format!("{name} does not go by radio: {why}"))
        });
        kept_off.collect()
    }

    fn entry_view(&self, entry: &JournalEntry) -> view::WhyView {
        let JournalEntry { id, peer, subject, count, decision } = entry;
        self.why_view(id.to_string(), peer, subject, *count, decision)
    }

    fn why_view(
        &self,
        id: String,
        peer: &PeerId,
        subject: &Subject,
        count: u64,
        decision: &Decision,
    ) -> view::WhyView {
        let margins = decision.margins();
        let candidates = decision.judged.iter().map(|judged| {
            let margin = margins.iter().find(|margin| margin.link == judged.link);
            let margin = margin.map(|margin| margin.changes.clone()).unwrap_or_default();
            view::CandidateView {
                link: judged.link,
                name: self.link_name(decision, judged.link),
                why: verdict_text(decision, &judged.verdict),
                cost: match judged.verdict {
                    LinkVerdict::Chosen { cost } | LinkVerdict::Loses { cost, .. } => cost_text(&cost),
                    LinkVerdict::Excluded { .. } => String::new(),
                },
                changes: margin.iter().map(|change| self.change_text(decision, change)).collect(),
                margin,
            }
        });
        view::WhyView {
            id,
            at: self.core.clock.wall_of(decision.question.now.mono),
            peer: self.name_of(peer),
            did: did(peer),
            about: self.about_text(subject),
            count,
            chosen: decision.chosen().map(|link| self.link_name(decision, link)),
            message: message_text(decision),
            candidates: candidates.collect(),
            not_by_radio: Vec::new(),
            decision: decision.clone(),
        }
    }

    fn about_text(&self, subject: &Subject) -> String {
        match subject {
            Subject::Layer { name, author, sequence, .. } => match *author == self.core.me {
                true => format!("{name}@{sequence}"),
                false => format!("{name}@{sequence} by {}", self.name_of(author)),
            },
            Subject::Command(id) => {
                format!("command {}", data_encoding::HEXLOWER.encode(id.get(..6).unwrap_or(id)))
            }
            Subject::Notice => "notice".to_owned(),
            Subject::Parts => "parts".to_owned(),
            Subject::Engine => "engine".to_owned(),
        }
    }

    /// `lan`, `tor`, or the radio.
    fn link_name(&self, decision: &Decision, link: LinkId) -> String {
        let radio =
            self.broadcast.radios().find(|(id, _)| *id == link).map(|(_, radio)| radio.spec().name.clone());
        let medium = || decision.facts(link).map(|facts| facts.medium.to_string());
        radio.or_else(medium).unwrap_or_else(|| link.to_string())
    }

    fn change_text(&self, decision: &Decision, change: &ChoiceChange) -> String {
        let chosen = || {
            let chosen = decision.chosen().map(|link| self.link_name(decision, link));
            chosen.unwrap_or_else(|| "the chosen link".to_owned())
        };
        match change {
            ChoiceChange::ChosenSlower { latency } => {
                format!("it would be chosen if the latency of {} were {} or more", chosen(), millis(*latency))
            }
            ChoiceChange::Faster { latency } => {
                format!("it would be chosen with a latency of {} or less", millis(*latency))
            }
            ChoiceChange::ChosenGone => format!("it would be chosen if {} went down", chosen()),
            ChoiceChange::Shorter { bytes } => format!("a message of {bytes} bytes or less fits"),
            ChoiceChange::AirtimeFree { needs, free_in } => match free_in {
                Some(wait) => format!("{} of airtime are free again in {}", millis(*needs), span(*wait)),
                None => format!("it needs {} of airtime", millis(*needs)),
            },
            ChoiceChange::Opens { hours, in_minutes } => {
                format!("it opens in {}, {hours} UTC", span(Millis::from_secs(u64::from(*in_minutes) * 60)))
            }
            ChoiceChange::Steady { in_ } => format!("it counts as steady in {}, if it stays up", span(*in_)),
            ChoiceChange::NotReturned { in_ } => {
                format!("the radio is used in {}, if the other link stays away", span(*in_))
            }
            ChoiceChange::Up => "it has to come up".to_owned(),
            ChoiceChange::NotConfidential => {
                "a document that outsiders may see could go there: `tombolo policy DOC --confidential no`"
                    .to_owned()
            }
            ChoiceChange::OtherPreference { preference } => {
                format!("another setting than {preference} would allow it: `tombolo route`")
            }
            ChoiceChange::NotMetered => "a link that is not metered could carry it".to_owned(),
            ChoiceChange::NoOtherInTime => "it is used when no other link is in time".to_owned(),
        }
    }
}

/// Whether a decision is about a state, `plan@7`, or a command, by the start of its id.
fn is_about(subject: &Subject, text: &str) -> bool {
    match subject {
        Subject::Layer { name, sequence, .. } => text
            .rsplit_once('@')
            .is_some_and(|(of, at)| of == name && at.parse::<u64>().is_ok_and(|at| at == *sequence)),
        Subject::Command(id) => {
            text.len() >= COMMAND_DIGITS_MIN && data_encoding::HEXLOWER.encode(id).starts_with(text)
        }
        Subject::Notice | Subject::Parts | Subject::Engine => false,
    }
}

/// A verdict as it stands in `links` and `why`: whether the link is used, and the reason.
pub(super) fn verdict_text(decision: &Decision, verdict: &LinkVerdict) -> String {
    match verdict {
        LinkVerdict::Chosen { cost } if !cost.is_in_time() => "used: the least late".to_owned(),
        LinkVerdict::Chosen { .. } => match decision.question.route.order() {
            _ if decision.question.request.class.is_urgent() => "used: it arrives first there".to_owned(),
            (Preference::Auto, _) => "used: the cheapest in time".to_owned(),
            (preference, of) => format!("used: {preference} is set for {}", set_for(of)),
        },
        LinkVerdict::Loses { by, .. } => match by {
            LostBy::Order => "not used: another link comes first by preference".to_owned(),
            LostBy::Late => "not used: it would be later after the deadline".to_owned(),
            LostBy::Airtime => "not used: it would spend more of scarce airtime".to_owned(),
            LostBy::Price => "not used: another link costs less".to_owned(),
            LostBy::Arrival => "not used: another link is faster".to_owned(),
            LostBy::Tie => "not used: another link is as good, and came first".to_owned(),
            LostBy::Stays => "not used: another link carries, and a change would win time alone".to_owned(),
            LostBy::AskedOver => "not used: the peer has asked for this over another link".to_owned(),
        },
        LinkVerdict::Excluded { why } => excluded_text(decision, why),
    }
}

fn excluded_text(decision: &Decision, why: &Exclusion) -> String {
    let now = decision.question.now.mono;
    match why {
        Exclusion::NotConfidential => "not used: everybody could read it".to_owned(),
        Exclusion::DoesNotFit { bytes_max } => {
            format!("not used: {} bytes do not fit, {bytes_max} would", decision.question.request.bytes)
        }
        Exclusion::ClassForbidden => "not used: parts of large documents do not go by radio".to_owned(),
        Exclusion::Preference { preference, of } => {
            format!("not used: {preference} is set for {}", set_for(*of))
        }
        Exclusion::Metered => "not used: bytes cost money there, and this is bulk".to_owned(),
        Exclusion::Down { since } => format!("not used: down for {}", span(now.since(*since))),
        Exclusion::Closed { hours } => format!("not used: it is open {hours} UTC only"),
        Exclusion::AirtimeSpent { needs, left } => format!(
            "waits: this hour's airtime is spent, {} are left and {} needed",
            millis(*left),
            millis(*needs)
        ),
        Exclusion::AwaitsReturn { lost, until } => {
            format!("waits: {} has just failed, and has {} to return", medium(*lost), span(until.since(now)))
        }
        Exclusion::NotSteady { steady_at } => {
            format!("not used: it has just come back, and has to stay up for {}", span(steady_at.since(now)))
        }
        Exclusion::LastResort => "not used: the last resort, and another link is in time".to_owned(),
        Exclusion::StayedSilent => "not used: it has carried this already, and no answer came".to_owned(),
    }
}

/// `arrives in 12 ms, 900 ms of airtime (3 % of what is left), 1.1 tries`.
fn cost_text(cost: &Cost) -> String {
    let mut text = format!("arrives in {}", millis(cost.arrives));
    if !cost.is_in_time() {
        text += &format!(", {} after its deadline", millis(cost.late));
    }
    if cost.airtime > Millis::ZERO {
        let percent = cost.air_ppm as f64 / 10_000.0;
        text += &format!(", {} of airtime ({percent:.1} % of what is left)", millis(cost.airtime));
    }
    if cost.price_micro > 0 {
        text += &format!(", price {:.6}", cost.price_micro as f64 / 1e6);
    }
    if cost.tries_permille > 1_000 {
        text += &format!(", {:.1} tries", cost.tries_permille as f64 / 1_000.0);
    }
    text
}

fn message_text(decision: &Decision) -> String {
    let request = &decision.question.request;
    let secrecy = if request.confidential { "confidential" } else { "open to all" };
    let (preference, of) = decision.question.route.order();
    format!(
        "class {}, {} bytes, {secrecy}, due within {}; {preference} is set for {}",
        request.class.word(),
        request.bytes,
        span(request.deadline),
        set_for(of)
    )
}

fn set_for(of: SetFor) -> &'static str {
    match of {
        SetFor::Node => "this node",
        SetFor::Peer => "this peer",
        SetFor::Document => "this document",
    }
}

fn medium(medium: Medium) -> &'static str {
    match medium {
        Medium::Mesh => "the radio",
        Medium::Lan => "the LAN",
        Medium::Tor => "Tor",
        Medium::Memory => "the cable",
    }
}

/// `12 ms`, `1.5 s`, `3 min`.
fn millis(length: Millis) -> String {
    match length.ms() {
        ms @ 0..1_000 => format!("{ms} ms"),
        ms @ 1_000..120_000 => format!("{:.1} s", ms as f64 / 1_000.0),
        _ => span(length),
    }
}
