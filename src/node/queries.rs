//! Questions about a node: answered from a report, which reads the parts and changes nothing.

use crate::io::{CommandError, Query, Reply};
use crate::node::Node;
use crate::report::NodeReport;

impl Node {
    /// A report on all parts, which it only reads.
    pub fn report(&self) -> NodeReport<'_> {
        NodeReport {
            core: &self.core,
            replica: &self.replica,
            membership: &self.membership,
            unicast: &self.unicast,
            broadcast: &self.broadcast,
            calls: &self.calls,
        }
    }

    pub(super) fn query(&self, query: &Query) -> Result<Reply, CommandError> {
        let report = self.report();
        match query {
            Query::Id => Ok(Reply::Id(report.id())),
            Query::Peers => Ok(Reply::Peers(report.peers())),
            Query::List => Ok(Reply::Documents(report.documents())),
            Query::Get { doc, key } => report.value(doc, key.as_ref()).map(Reply::Value),
            Query::State { peer } => report.state(peer.as_deref()).map(Reply::State),
            Query::Status => Ok(Reply::Status(Box::new(report.status()))),
            Query::Links => Ok(Reply::Links(report.links())),
            Query::Airtime => Ok(Reply::Airtime(report.airtime())),
            Query::Conflicts { doc } => report.conflicts(doc.as_deref()).map(Reply::Conflicts),
        }
    }
}
