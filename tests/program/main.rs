//! Tests how programs are built, planned, cut and run.

mod carries;
mod executors;
mod graph;
mod models;
mod planner;
mod precision;
mod up_to;
