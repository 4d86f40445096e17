//! Deploys sent and received, and what became of them.

use tombolo_transports::PeerId;

use crate::clock::rfc3339;
use crate::commands::{
    CalledEnd, Deploy, InstallProgress, Outcome, ReceivedCommand, RunEnd, SentCommand, SentState,
};
use crate::identity::did;
use crate::io::{CommandError, view};
use crate::report::{CommandReport, NodeReport};
use crate::time::Wall;

impl NodeReport<'_> {
    /// All deploys that are remembered, newest first.
    pub fn deploys(&self) -> Vec<view::DeployView> {
        let report = self.of_commands();
        let sent = self.commands.outbox.commands();
        let sent = sent.map(|command| (command.created_at, report.sent_deploy(command)));
        let received = self.commands.inbox.records();
        let received = received.map(|record| (record.taken_at, report.received_deploy(record)));
        let mut all: Vec<(Wall, view::DeployView)> = sent.chain(received).collect();
        all.sort_by(|(a, x), (b, y)| b.cmp(a).then_with(|| x.id.cmp(&y.id)));
        all.into_iter().map(|(_, view)| view).collect()
    }

    /// The deploy with an id, or the one whose id begins so.
    ///
    /// # Errors
    /// [`CommandError::UnknownDeploy`] where none or several fit.
    pub fn deploy(&self, id: &str) -> Result<view::DeployView, CommandError> {
        let unknown = || CommandError::UnknownDeploy(id.to_owned());
        let mut found = self.deploys();
        found.retain(|deploy| !id.is_empty() && deploy.id.starts_with(&id.to_ascii_lowercase()));
        match found.len() {
            1 => found.pop().ok_or_else(unknown),
            _ => Err(unknown()),
        }
    }
}

impl CommandReport<'_> {
    /// A deploy that this node has sent.
    pub(crate) fn sent_deploy(&self, command: &SentCommand) -> view::DeployView {
        let waits = match self.commands.outbox.delayed(&command.id) {
            Some(why) => why.to_string(),
            None => "it has not been answered yet: it is offered whenever the peer can be reached".to_owned(),
        };
        let (status, message) = match &command.state {
            SentState::Waiting => ("waiting", waits),
            SentState::Taken => ("taken", "the peer runs it".to_owned()),
            SentState::Answered { outcome, .. } => (outcome.label(), outcome.sentence()),
            SentState::Expired => ("expired", "it expired before an answer came".to_owned()),
            SentState::Calling => ("calling", "the peer is called, and has not answered yet".to_owned()),
            SentState::Called { end, .. } => called(end),
        };
        let view = self.sent_view(command);
        view::DeployView {
            id: command.id.to_string(),
            direction: "sent",
            status,
            message,
            created_at: rfc3339(command.created_at),
            expires: rfc3339(command.expires()),
            ..view
        }
    }

    /// What of a sent deploy depends on how it ended.
    fn sent_view(&self, command: &SentCommand) -> view::DeployView {
        let view = |ended| self.deploy_view(&command.deploy, &command.to, ended);
        match &command.state {
            SentState::Answered { outcome, at } => view(Some((outcome, *at))),
            SentState::Called { end, at } => {
                let (code, output) = match end {
                    CalledEnd::Refused { code, .. } => (code.clone(), None),
                    CalledEnd::Installed { output } => (None, Some(output.clone())),
                    CalledEnd::Failed { .. } | CalledEnd::Lost { .. } | CalledEnd::Unreached { .. } => {
                        (None, None)
                    }
                };
                view::DeployView {
                    via: Some("rpc"),
                    deployed: matches!(end, CalledEnd::Installed { .. }),
                    reason: code,
                    output: output.filter(|output| !output.is_empty()),
                    ended_at: Some(rfc3339(*at)),
                    ..view(None)
                }
            }
            SentState::Calling => view::DeployView { via: Some("rpc"), ..view(None) },
            SentState::Waiting | SentState::Taken | SentState::Expired => view(None),
        }
    }

    /// A deploy that another node has sent here.
    pub(crate) fn received_deploy(&self, record: &ReceivedCommand) -> view::DeployView {
        let (status, message, ended) = match &record.progress {
            InstallProgress::Taken => ("taken", "the command runs".to_owned(), None),
            InstallProgress::Ended { outcome, at } => {
                (outcome.label(), outcome.sentence(), Some((outcome, *at)))
            }
        };
        let view = self.deploy_view(&record.deploy, &record.key.sender, ended);
        view::DeployView {
            id: record.key.id.to_string(),
            direction: "received",
            status,
            message,
            created_at: rfc3339(record.taken_at),
            expires: rfc3339(record.expires()),
            ..view
        }
    }

    fn deploy_view(
        &self,
        deploy: &Deploy,
        peer: &PeerId,
        ended: Option<(&Outcome, Wall)>,
    ) -> view::DeployView {
        let outcome = ended.map(|(outcome, _)| outcome);
        let known = self.replica.federation().peer(peer);
        view::DeployView {
            id: String::new(),
            direction: "",
            deployed: outcome.is_some_and(Outcome::is_installed),
            app_id: deploy.id.clone(),
            version: deploy.version.clone(),
            marketplace_url: deploy.marketplace_url.clone(),
            peer: self.replica.name_of(self.core, peer),
            peer_did: did(peer),
            peer_onion: known.map(|peer| peer.onion.clone()).unwrap_or_default(),
            via: None,
            status: "",
            reason: match outcome {
                Some(Outcome::Refused(why)) => Some(why.label().to_owned()),
                Some(Outcome::Ended(_) | Outcome::Unknown) | None => None,
            },
            message: String::new(),
            exit_code: match outcome {
                Some(Outcome::Ended(result)) => match result.end {
                    RunEnd::Exit(code) => Some(code),
                    RunEnd::Success | RunEnd::Signal(_) | RunEnd::TimedOut | RunEnd::NotStarted => None,
                },
                Some(Outcome::Refused(_) | Outcome::Unknown) | None => None,
            },
            output: outcome.and_then(Outcome::output).map(str::to_owned),
            created_at: String::new(),
            expires: String::new(),
            ended_at: ended.map(|(_, at)| rfc3339(at)),
        }
    }
}

/// Status and sentence of a deploy whose JSON call has ended.
fn called(end: &CalledEnd) -> (&'static str, String) {
    match end {
        CalledEnd::Installed { .. } => ("installed", "the peer answered that it is installed".to_owned()),
        CalledEnd::Failed { message } => ("failed", message.clone()),
        CalledEnd::Refused { message, .. } => ("refused", message.clone()),
        CalledEnd::Lost { why } => {
            ("unknown", format!("whether the app is installed is not known: {why}. The call is not repeated"))
        }
        CalledEnd::Unreached { why } => ("unreached", format!("the peer was not reached: {why}")),
    }
}
