//! Changes of settings, each with what it takes for granted.
//!
//! A command looks at the settings and says what they are to be. Others may change them meanwhile, on another node, so
//! each row says what it replaces ([`Replaces`]). What that is is read before anything else is looked at: where a row
//! does not fit, nothing of the command is done, and it says so.

use super::Failure;
use crate::access::{Access, Replaces, SettingRow};
use crate::clock;
use crate::domain::AccountSid;
use crate::intake::Intake;
use crate::store::{Change, StoreError};

/// Changes of which each needs all that was made before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InTurn {
    /// Who has which hook user: no two accounts share one.
    HookUsers,
    /// Values of tokens that are taken over: no two tokens share one.
    TokenValues,
    /// What an account is. This row stays when the account goes, so a message that comes once more does nothing, also
    /// where the account is again what it was before it.
    Account(AccountSid),
}

impl InTurn {
    /// The row that changes with each of them.
    fn row(self) -> String {
        match self {
            Self::HookUsers => "latest/hook-user".to_owned(),
            Self::TokenValues => "latest/token-value".to_owned(),
            Self::Account(sid) => format!("latest/account/{sid}"),
        }
    }

    /// With the change of this row the others of a submission count only where none of the kind was made since
    /// `replaces` was read.
    pub(super) fn change(self, replaces: Replaces) -> Change {
        let json = format!("\"{}\"", crate::random::uuid().simple()).into_bytes();
        Change::Admin(SettingRow { name: self.row(), json }, replaces)
    }

    pub(super) fn present(self, access: &Access) -> Replaces {
        present(access, &self.row())
    }
}

/// What a change of this row replaces now.
pub(super) fn present(access: &Access, name: &str) -> Replaces {
    access.digest(name).map_or(Replaces::Nothing, Replaces::Content)
}

/// A row that is new.
pub(super) fn new_row(row: SettingRow) -> Change {
    Change::Admin(row, Replaces::Nothing)
}

/// A row goes, whatever was changed of it meanwhile.
pub(super) fn removed(name: String) -> Change {
    Change::setting(SettingRow { name, json: Vec::new() })
}

/// Makes changes of settings, all of them or none, and waits until they count here.
pub(super) fn apply(intake: &Intake, changes: &[Change]) -> Result<(), Failure> {
    match intake.apply(changes, clock::now(), false) {
        Err(StoreError::Conflict(name)) => Err(Failure::conflict(conflict(&name))),
        applied => applied.map(drop).map_err(Failure::from),
    }
}

fn conflict(name: &str) -> String {
    let what = match name.split_once('/') {
        Some(("account", sid)) => format!("account {sid} was changed"),
        Some(("latest", "hook-user")) => "the hook user of another account was changed".to_owned(),
        Some(("latest", "token-value")) => "another token was taken over".to_owned(),
        Some(("latest", account)) => format!("{} was changed", account.replace('/', " ")),
        _ => format!("the setting {name} was changed"),
    };
    format!(
        "{what} by somebody else meanwhile, and nothing of this was done: look at it again, and repeat this if it \
         is still right"
    )
}
