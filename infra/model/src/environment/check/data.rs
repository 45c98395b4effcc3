use super::Report;
use crate::environment::types::Environment;
pub(super) fn check(_environment: &Environment, _report: &mut Report<'_>) {}
