//! What stands around the page: its head with the style, its foot with the form for the token; and the small pages beside it.

use std::fmt::Write as _;
use std::sync::LazyLock;

use qrcode::{Color, EcLevel, QrCode};
use serde_json::Value as Json;
use sha2::{Digest, Sha256};

use super::Rights;
use crate::web::html::{attribute, esc, marked, stamp};
use crate::words::{full_time, text};

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// The policy of all pages: nothing but this style and this script, and no request to any other place.
pub(in crate::web) static CONTENT_POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = |text: &str| data_encoding::BASE64.encode(&Sha256::digest(text.as_bytes()));
    format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; connect-src 'self'; img-src data:; \
         form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        hash(STYLE),
        hash(SCRIPT)
    )
});

/// A whole document around what stands in `main`.
pub(super) fn document(title: &str, main: &str, foot: &str) -> String {
    format!(
        "<!DOCTYPE html><html lang=en><head><meta charset=utf-8><meta name=viewport content=\"width=device-width,initial-scale=1\">\
         <title>{}</title><link rel=icon href=\"data:,\"><style>{STYLE}</style>\
         <noscript><meta http-equiv=refresh content=30></noscript></head><body><p id=lost role=alert></p><main>{main}</main>\
         <footer>{foot}<p>Tombolo {} · made by this node, asks no other · <a href=\"/metrics\">metrics</a></p></footer>\
         <script>{SCRIPT}</script></body></html>",
        esc(title),
        env!("CARGO_PKG_VERSION"),
    )
}

/// The form that takes the token, or ends the session.
pub(super) fn token_form(rights: Rights<'_>) -> String {
    match (rights.form, rights.has_token) {
        (Some(mark), _) => format!(
            "<form method=post action=\"/logout\"><input type=hidden name=mark value=\"{}\"><button>Lock changes</button></form>",
            attribute(mark)
        ),
        (None, true) => LOGIN.to_owned(),
        (None, false) => {
            "<p>Read only: set <code>token</code> in section <code>[web]</code> of <code>tombolo.toml</code> to change things here.</p>"
                .to_owned()
        }
    }
}

const LOGIN: &str = "<form method=post action=\"/login\"><label>Token <input type=password name=token autocomplete=current-password required></label>\
    <button>Unlock changes</button></form>";

/// The page of a viewer that has not shown the token where it is needed to read.
pub(in crate::web) fn locked(is_wrong: bool) -> String {
    let words = if is_wrong {
        "That is not the token of this node."
    } else {
        "This node shows itself to holders of its token."
    };
    let main = format!(
        "<header><h1 class=note><span class=sign aria-hidden=true>i</span><span>{words}</span></h1></header>\
         <p>It stands as <code>token</code> in section <code>[web]</code> of the node's <code>tombolo.toml</code>.</p>{LOGIN}"
    );
    document("Tombolo", &main, "")
}

/// A page with one sentence, and the way back.
pub(in crate::web) fn message(sentence: &str) -> String {
    let main = format!(
        "<header><h1 class=missing><span class=sign aria-hidden=true>!</span><span>{}</span></h1></header><p><a href=\"/\">Back to the node</a></p>",
        marked(sentence)
    );
    document("Tombolo", &main, "")
}

/// The page with a new invite: the code as a picture and as text.
pub(in crate::web) fn invite(invite: &Json) -> String {
    let expires = text(invite, "expires");
    let main = format!(
        "<header><h1><span class=sign aria-hidden=true>✓</span><span>A code for one {}</span></h1></header>\
         <p>Works once, until {}. On the other node: <code>tombolo join CODE</code></p>{}<code class=code>{}</code>\
         <p><a href=\"/\">Back to the node</a></p>",
        esc(text(invite, "level")),
        stamp(expires, &full_time(expires)),
        picture(text(invite, "compact")).unwrap_or_default(),
        esc(text(invite, "code")),
    );
    document("Invite · Tombolo", &main, "")
}

/// A QR code as SVG, one path; none for a text that is too long for any.
fn picture(text: &str) -> Option<String> {
    let code = QrCode::with_error_correction_level(text, EcLevel::M).ok()?;
    let side = code.width();
    let mut path = String::new();
    for y in 0..side {
        for x in (0..side).filter(|x| code[(*x, y)] == Color::Dark) {
            let _ = write!(path, "M{x} {y}h1v1h-1z");
        }
    }
    Some(format!(
        "<svg class=qr viewBox=\"-4 -4 {0} {0}\" shape-rendering=crispEdges role=img><title>The code, for a camera</title><path d=\"{path}\"/></svg>",
        side + 8
    ))
}
