//! CDRs, as jambonz and `InfluxDB` write them.

mod influxdb;
mod lines;
mod recorded;
mod requests;
mod writer;
