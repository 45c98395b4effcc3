//! Tests of the pure half of infra, one binary. Each module owns one area.

mod environment;
