//! The settings of an account.

use serde::{Deserialize, Serialize};

use super::Secret;
use crate::domain::{AccountSid, ServiceProviderSid};

/// What rollcall knows of an account beside its calls.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(clippy::struct_field_names, reason = "the names are those of jambonz")]
pub struct Account {
    pub account_sid: AccountSid,
    /// What a person calls it.
    pub name: Option<String>,
    /// Who owns it: tokens of that service provider reach its calls.
    pub service_provider_sid: Option<ServiceProviderSid>,
    /// Signs its webhooks (`Jambonz-Signature`).
    pub webhook_secret: Option<Secret>,
    /// The user name that its webhooks bring (`Authorization: Basic`); no two accounts share one.
    pub hook_user: Option<String>,
    /// The password that goes with it.
    pub hook_password: Option<Secret>,
    /// How long its calls are kept, where that differs from the configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep: Option<Keep>,
}

/// How long the calls of an account are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// For good.
    Forever,
    /// So many milliseconds after they were listed.
    Millis(u64),
}

impl Account {
    /// An account without settings.
    pub fn new(account_sid: AccountSid) -> Self {
        Self {
            account_sid,
            name: None,
            service_provider_sid: None,
            webhook_secret: None,
            hook_user: None,
            hook_password: None,
            keep: None,
        }
    }
}
