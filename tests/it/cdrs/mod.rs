//! CDRs, as jambonz and `InfluxDB` write them.

mod clients;
mod influxdb;
mod lines;
mod orders;
mod recorded;
mod requests;
pub mod writer;
