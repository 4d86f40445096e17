//! Questions of a person or a program on this machine, and their answers.

use crate::io::view::VersionedView;
use crate::io::{CommandError, PartialReply, Query, Reply};
use crate::merge::version_of;
use crate::report::NodeReport;
use crate::report::documents::ShownValue;

impl NodeReport<'_> {
    /// Answers a question about the node.
    ///
    /// # Errors
    /// [`CommandError`] where a peer, a document or a deploy is not known, or has no value.
    pub fn answer(&self, query: &Query) -> Result<Reply, CommandError> {
        match query {
            Query::Id => Ok(Reply::Id(self.id())),
            Query::Peers => Ok(Reply::Peers(self.peers())),
            Query::Invites => Ok(Reply::Invites(self.invites())),
            Query::List => Ok(Reply::Documents(self.documents())),
            Query::Get { doc, key } => Ok(match self.shown(doc, key.as_ref())? {
                ShownValue::Whole(value) => Reply::Value(value),
                ShownValue::Leaves(leaves) => Reply::Partial(Box::new(PartialReply::Value(leaves))),
            }),
            Query::State { peer } => self.state(peer.as_deref()).map(Box::new).map(Reply::State),
            Query::Status => Ok(Reply::Status(Box::new(self.status()))),
            Query::Links => Ok(Reply::Links(self.links())),
            Query::Ping { peer } => self.ping(peer).map(Reply::Ping),
            Query::Why { about } => self.why(about.as_deref()).map(Reply::Why),
            Query::Routes => Ok(Reply::Routes(self.routes())),
            Query::Layers => Ok(Reply::Layers(self.layers())),
            Query::Hearing => Ok(Reply::Hearing(self.hearing())),
            Query::Airtime => Ok(Reply::Airtime(self.airtime())),
            Query::Document { doc } => Ok(match self.shown(doc, None)? {
                ShownValue::Whole(value) => {
                    Reply::Document(VersionedView { version: version_of(&value), value })
                }
                ShownValue::Leaves(leaves) => Reply::Partial(Box::new(PartialReply::Document(leaves))),
            }),
            Query::Conflicts { doc } => self.conflicts(doc.as_deref()).map(Reply::Conflicts),
            Query::Log => Ok(Reply::Log(self.log())),
            Query::Alarms => Ok(Reply::Alarms(self.raised_alarms())),
            Query::Watches => Ok(Reply::Watches(self.watches())),
            Query::Revocations => Ok(Reply::Revocations(self.revocations())),
            Query::Deploys { id: None } => Ok(Reply::Deploys(self.deploys())),
            Query::Deploys { id: Some(id) } => self.deploy(id).map(|view| Reply::Deploy(Box::new(view))),
        }
    }
}
