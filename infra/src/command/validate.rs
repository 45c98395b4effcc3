//! `infra validate`: every problem of the named environment, or of all of them, at once.

use infra_model::environment::{Environment, Problems, load_folder};
use infra_model::{blueprint, environment};
use serde_json::json;

use super::{Exit, Session};
use crate::files::Folders;

pub(super) fn run(session: &Session<'_>) -> anyhow::Result<Exit> {
    let folders = Folders::find();
    let loader = folders.loader();
    let (names, problems) = match &session.cli.global.environment {
        Some(name) => match Environment::load(name, &loader) {
            Ok(loaded) => {
                let beside = environment::neighbours(&loader, &loaded);
                let problems = drawn(&loaded).join(beside).join(loaded.warnings.clone());
                (vec![loaded.environment.name.clone()], problems)
            }
            Err(problems) => (Vec::new(), problems),
        },
        None => {
            let (environments, mut problems) = load_folder(&loader);
            for loaded in &environments {
                problems = problems.join(drawn(loaded));
            }
            (environments.into_iter().map(|loaded| loaded.environment.name).collect(), problems)
        }
    };
    if session.output.is_json() {
        session.output.json(&json!({ "environments": names, "problems": problems.json() }));
    } else {
        let color =
            if session.output.style().color { environment::Color::Always } else { environment::Color::Never };
        if !problems.is_empty() {
            session.output.text(&problems.text(color));
        }
        if !problems.has_errors() {
            session.output.text(&format!("valid: {}\n", names.join(", ")));
        }
    }
    Ok(if problems.has_errors() { Exit::Failed } else { Exit::Done })
}

/// What only shows when the resources are drawn.
fn drawn(loaded: &environment::Loaded) -> Problems {
    blueprint::blueprint(loaded).err().unwrap_or_default()
}
