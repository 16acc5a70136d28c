//! Entity tags of lists (RFC 9110, section 8.8.3): the last change of the accounts, and which these are.

use std::sync::LazyLock;

use data_encoding::HEXLOWER;

use http::header::{ETAG, HeaderValue, IF_NONE_MATCH};
use http::{HeaderMap, StatusCode};

use super::response::{Response, empty};
use crate::domain::AccountSid;
use crate::store::{Scope, Store};

/// Tags of another start are never known: the data may have been put back to an older state, and
/// another release may write lists otherwise.
static LIFE: LazyLock<String> =
    LazyLock::new(|| crate::random::uuid().simple().to_string().chars().take(12).collect());
/// The same where a log is followed, of which each node has the same changes under the same numbers: tags of the same
/// log and release are known to every node.
static RELEASE: LazyLock<String> = LazyLock::new(|| digest(env!("CARGO_PKG_VERSION").as_bytes()));

/// A weak tag: while it stays the same, so does every list of the accounts.
pub(super) struct Tag(String);

impl Tag {
    /// The tag of what is read from now on. `shape` tells the forms of one list apart.
    pub fn of(store: &Store, scope: Scope, shape: &str) -> Self {
        let last_change = match scope {
            Scope::ServiceProvider(provider) => {
                let accounts: Vec<AccountSid> =
                    store.access(|access| access.accounts_of(provider).collect());
                let last_change = store.last_change_of(scope, &accounts);
                let sids: Vec<u8> = accounts.iter().flat_map(|account| account.bytes()).collect();
                format!("{last_change}-{}", digest(&sids))
            }
            Scope::Account(_) | Scope::Everybody => store.last_change_of(scope, &[]).to_string(),
        };
        let life = match store.log_epoch() {
            Some(log) => format!("{log}-{}", *RELEASE),
            None => LIFE.clone(),
        };
        Self(format!("W/\"{life}-{last_change}{shape}\""))
    }

    /// Whether the request has it already.
    pub fn is_known(&self, headers: &HeaderMap) -> bool {
        let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
        let own = opaque(&self.0);
        let values = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|tag| tag.trim() == "*" || opaque(tag) == own)
    }

    /// 304, with the tag.
    pub fn not_modified(&self) -> Response {
        let mut reply = empty(StatusCode::NOT_MODIFIED);
        self.put(&mut reply);
        reply
    }

    /// Adds the tag to an answer.
    pub fn put(&self, reply: &mut Response) {
        if let Ok(tag) = HeaderValue::from_str(&self.0) {
            reply.headers_mut().insert(ETAG, tag);
        }
    }
}

/// 16 hexadecimal digits, which are others for other bytes.
fn digest(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    HEXLOWER.encode(digest.as_ref().get(..8).unwrap_or_default())
}
