//! The portal of jambonz at one address, behind it rollcall and jambonz's API, with the configurations
//! of `docs/portal.md`.

mod jambonz;
mod split;
