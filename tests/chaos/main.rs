#![allow(clippy::unwrap_used, reason = "a test says with a panic that it failed")]
