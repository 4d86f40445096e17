//! What the forms of the page do: trust, rename and remove a peer, invite one, settle a conflict. Each is a command of the node.

use std::collections::BTreeMap;

use axum::extract::{Form, Path, State};
use axum::response::Response;
use hyper::StatusCode;
use hyper::header::HeaderMap;
use serde::de::IntoDeserializer;
use serde::de::value::Error as WordError;

use super::access::Viewer;
use super::page;
use super::routes::{Web, home_again, html, no_form};
use super::snapshot::ask;
use crate::config::TimeSpan;
use crate::federation::TrustLevel;
use crate::layer::KeyPath;
use crate::node::{Admin, Command, Write};
use crate::time::Millis;

/// The fields of a form.
type FormFields = BTreeMap<String, String>;

/// Why a form is not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum FormError {
    #[error("this page has no such form")]
    Unknown,
    #[error("the form has no `{0}`")]
    Missing(&'static str),
    #[error("`{0}` is not what the form takes")]
    Bad(&'static str),
}

/// Carries out one form.
pub(super) async fn run(
    State(web): State<Web>,
    Path(act): Path<String>,
    headers: HeaderMap,
    Form(fields): Form<FormFields>,
) -> Response {
    let is_marked = fields.get("mark").is_some_and(|mark| web.access.is_form_mark(mark));
    if web.access.viewer(&headers) != Viewer::Operator || !is_marked {
        return no_form();
    }
    let addresses = web.client.addresses();
    let command = match command(&act, &fields) {
        Ok(Command::Admin(Admin::Invite { level, expires_in, .. })) => {
            Command::Admin(Admin::Invite { level, expires_in, addresses })
        }
        Ok(command) => command,
        Err(error) => return html(StatusCode::BAD_REQUEST, page::message(&format!("{error}."))),
    };
    let is_invite = matches!(command, Command::Admin(Admin::Invite { .. }));
    match ask(&web.client, command).await {
        Ok(invite) if is_invite => html(StatusCode::OK, page::invite(&invite)),
        Ok(_) => home_again(),
        Err(error) => html(StatusCode::CONFLICT, page::message(&format!("{error}."))),
    }
}

/// The command that a form asks for. The addresses of an invite are those of the running node.
fn command(act: &str, fields: &FormFields) -> Result<Command, FormError> {
    let field = |name: &'static str| {
        fields.get(name).map(|value| value.trim().to_owned()).ok_or(FormError::Missing(name))
    };
    let peer = || field("peer");
    Ok(match act {
        "trust" => Admin::Trust { peer: peer()?, level: level(&field("level")?)? }.into(),
        "rename" => Admin::Rename { peer: peer()?, name: field("name")? }.into(),
        "remove" if field("sure")? == "yes" => Admin::Remove { peer: peer()? }.into(),
        "remove" => return Err(FormError::Bad("sure")),
        "invite" => {
            let TimeSpan(span) = field("expires")?.parse().map_err(|_| FormError::Bad("expires"))?;
            let expires_in = Millis::from_ms(u64::try_from(span.as_millis()).unwrap_or(u64::MAX));
            Admin::Invite { level: level(&field("level")?)?, expires_in, addresses: Vec::new() }.into()
        }
        "settle" => {
            let key = fields.get("key").ok_or(FormError::Missing("key"))?;
            let key = KeyPath::parse(key).map_err(|_| FormError::Bad("key"))?;
            Write::Settle { doc: field("doc")?, key, take: fields.get("take").cloned() }.into()
        }
        _ => return Err(FormError::Unknown),
    })
}

fn level(word: &str) -> Result<TrustLevel, FormError> {
    let word: serde::de::value::StrDeserializer<'_, WordError> = word.into_deserializer();
    serde::Deserialize::deserialize(word).map_err(|_| FormError::Bad("level"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&str, &str)]) -> FormFields {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_form_is_one_command_or_a_named_mistake() {
        let trust = command("trust", &fields(&[("peer", "hut"), ("level", "observer")]));
        assert!(matches!(
            trust,
            Ok(Command::Admin(Admin::Trust { peer, level: TrustLevel::Observer })) if peer == "hut"
        ));
        for (act, pairs, error) in [
            ("trust", &[("peer", "hut"), ("level", "friend")][..], FormError::Bad("level")),
            ("trust", &[("level", "observer")], FormError::Missing("peer")),
            ("remove", &[("peer", "hut")], FormError::Missing("sure")),
            ("remove", &[("peer", "hut"), ("sure", "no")], FormError::Bad("sure")),
            ("invite", &[("expires", "soon"), ("level", "trusted")], FormError::Bad("expires")),
            ("settle", &[("doc", "plan")], FormError::Missing("key")),
            ("stop", &[], FormError::Unknown),
        ] {
            assert_eq!(command(act, &fields(pairs)).expect_err(act), error, "{act}");
        }
    }
}
