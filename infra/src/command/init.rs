//! `infra init`: the shipped environments and policies as files to start from.

use anyhow::Context as _;
use infra_model::shipped;

use super::{Exit, Session};
use crate::cli::Init;

pub(super) fn run(session: &Session<'_>, arguments: &Init) -> anyhow::Result<Exit> {
    let (mut written, mut kept) = (Vec::new(), Vec::new());
    for (path, text) in shipped::FILES {
        let target = arguments.folder.join(path);
        if let Some(folder) = target.parent() {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("cannot make the folder {}", folder.display()))?;
        }
        // Only a file that is not there yet: what somebody wrote is never overwritten, also not in a race.
        let file = std::fs::OpenOptions::new().write(true).create_new(true).open(&target);
        match file {
            Ok(mut file) => {
                std::io::Write::write_all(&mut file, text.as_bytes())
                    .with_context(|| format!("cannot write {}", target.display()))?;
                written.push(target.display().to_string());
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                kept.push(target.display().to_string())
            }
            Err(error) => return Err(error).with_context(|| format!("cannot write {}", target.display())),
        }
    }
    if session.output.is_json() {
        session.output.json(&serde_json::json!({ "written": written, "kept": kept }));
        return Ok(Exit::Done);
    }
    let mut text = String::new();
    written.iter().for_each(|path| text.push_str(&format!("wrote {path}\n")));
    kept.iter().for_each(|path| text.push_str(&format!("kept  {path} (it was there)\n")));
    text.push_str("\nNext: put your account id and region into environments/base.toml, then `infra validate` and `infra plan -e dev`.\n");
    session.output.text(&text);
    Ok(Exit::Done)
}
