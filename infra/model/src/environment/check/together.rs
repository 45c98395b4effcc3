use crate::environment::{Loaded, Problems};
/// What must hold between environments.
pub fn together(_environments: &[Loaded]) -> Problems {
    Problems::default()
}
