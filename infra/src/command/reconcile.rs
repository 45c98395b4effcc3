//! What apply and destroy share: lease, snapshot, plan, question, execution, and the account of how it ended.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use infra_engine::account::{Account, Caller};
use infra_engine::execute::Outcome;
use infra_engine::lease::{Applicant, Creating, Lease, LeaseError};
use infra_engine::run::{self, Surroundings};
use infra_model::address::Address;
use infra_model::environment::nearest;
use infra_model::graph::Graph;
use infra_model::plan::{self, Options, Plan};
use infra_model::snapshot::Snapshot;
use serde_json::json;

use super::{Exit, Session, outputs};
use crate::aws::Aws;
use crate::cli;
use crate::output::Progress;

pub(super) struct Work<'a> {
    /// What shall stand: the environment, or nothing.
    pub target: &'a Graph,
    pub environment: &'a Graph,
    pub options: Options,
    /// The plan that somebody reviewed; another is refused.
    pub reviewed: Option<Plan>,
    pub question: Question,
    pub lease: &'a cli::Lease,
}

pub(super) struct Question {
    pub yes: bool,
    /// The word to type instead of `yes`.
    pub typed: Option<String>,
}

pub(super) async fn run(session: &Session<'_>, work: Work<'_>) -> anyhow::Result<Exit> {
    let (aws, caller) = session.account(work.environment).await?;
    let lease = match take(session, &aws, &caller, &work).await {
        Ok(lease) => lease,
        Err(LeaseError::Held { claim, left_s }) => {
            let held = LeaseError::Held { claim, left_s };
            session.output.refused(&format!("{held}; `--wait-s {left_s}` waits for it"));
            return Ok(Exit::Refused);
        }
        Err(error) => return Err(error.into()),
    };
    let exit = under_lease(session, &aws, &work, lease.as_ref()).await;
    // Of an environment that is gone nothing stays, not even a note.
    let emptied = work.target.resources.is_empty() && matches!(exit, Ok(Exit::Done));
    if let Some(lease) = lease
        && let Err(error) = lease.release(&aws, !emptied).await
    {
        session
            .output
            .note(&format!("the lease was not given back ({error}); it ends by itself within a minute"));
    }
    tell_calls(session, &aws);
    exit
}

async fn take(
    session: &Session<'_>,
    aws: &Aws,
    caller: &Caller,
    work: &Work<'_>,
) -> Result<Option<Lease>, LeaseError> {
    if work.lease.no_lease {
        session.output.note("working without a lease: nothing keeps a second apply out");
        return Ok(None);
    }
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let applicant = Applicant {
        caller: caller.arn.clone(),
        host,
        pid: std::process::id(),
        run: fresh_run(),
        now_s: &now_s,
        alive: &alive,
    };
    let patience = Duration::from_secs(work.lease.wait_s);
    Lease::take(aws, &work.environment.scope, &applicant, patience).await.map(Some)
}

async fn under_lease(
    session: &Session<'_>,
    aws: &Aws,
    work: &Work<'_>,
    lease: Option<&Lease>,
) -> anyhow::Result<Exit> {
    let none = Creating::new();
    let unfinished = lease.map_or(&none, |lease| &lease.unfinished);
    let waiting = |hidden: usize| {
        session.output.note(&format!(
            "the run before this one did not end and may have created {hidden} more resources than can be seen: looking for them for up to {} s",
            session.lag().as_secs()
        ));
    };
    let snapshot = run::observe(aws, &work.target.scope, unfinished, session.lag(), &waiting).await?;
    let plan = plan::plan(work.target, &snapshot, &work.options);
    if let Some(reviewed) = &work.reviewed
        && reviewed.digest != plan.digest
    {
        return Ok(refuse_stale(session, reviewed, &plan));
    }
    if session.output.is_json() {
        let nodes = infra_model::operations::operations(&plan, work.target, &snapshot).unwrap_or_default();
        let (expected_s, path) = infra_model::operations::critical_path(&nodes);
        let mut line = infra_model::render::plan_json(&plan, expected_s, &path);
        line["event"] = json!("plan");
        session.output.line(&line);
    } else {
        super::plan::show(session, &plan, work.target, &snapshot)?;
    }
    if !plan.problems.is_empty() {
        let exit = super::plan::exit(&plan);
        session.output.refused("the plan has problems; nothing was changed");
        return Ok(exit);
    }
    if !plan.steps.is_empty()
        && let Err(why) = agreed(session, &work.question)
    {
        session.output.refused(&format!("{why}; nothing was changed"));
        return Ok(Exit::Refused);
    }
    carry_out(session, aws, work, lease, &snapshot, &plan).await
}

fn refuse_stale(session: &Session<'_>, reviewed: &Plan, now: &Plan) -> Exit {
    let moved = reviewed.moved_since(now);
    if session.output.is_json() {
        session.output.line(
            &json!({"event": "refused", "why": "the account has moved since the plan", "moved": moved}),
        );
    }
    // What is wanted comes out of the plan file itself.
    let edited = reviewed.wanted_digests != now.wanted_digests;
    session.output.note(if edited {
        "refused: the plan file was changed after it was written, so nobody reviewed this:"
    } else {
        "refused: the account has moved since this plan was made:"
    });
    moved.iter().for_each(|what| session.output.note(&format!("  {what}")));
    session.output.note("plan again, and have it reviewed again");
    Exit::Refused
}

/// Why nobody agreed, if nobody did.
fn agreed(session: &Session<'_>, question: &Question) -> Result<(), String> {
    if question.yes {
        return Ok(());
    }
    let word = question.typed.as_deref().unwrap_or("yes");
    let ask = match &question.typed {
        Some(name) => format!("All of this is deleted. Type the environment's name ({name}) to go on:"),
        None => "Apply this plan? Only `yes` goes on:".to_owned(),
    };
    match session.output.ask(&ask) {
        Some(answer) if answer == word => Ok(()),
        Some(_) => Err(format!("the answer was not `{word}`")),
        None => Err("there is no terminal to ask on, and `--yes` was not given".to_owned()),
    }
}

async fn carry_out(
    session: &Session<'_>,
    aws: &Aws,
    work: &Work<'_>,
    lease: Option<&Lease>,
    snapshot: &Snapshot,
    plan: &Plan,
) -> anyhow::Result<Exit> {
    let (stop, _) = tokio::sync::watch::channel(false);
    let progress = Progress::new(session.output);
    let tell = |event| progress.event(event);
    let around =
        Surroundings { lease, run: fresh_run(), lag: session.lag(), now_s: &now_s, stop: &stop, tell: &tell };
    let running = run::carry_out(aws, work.target, snapshot, plan, &around);
    tokio::pin!(running);
    let finished = tokio::select! {
        finished = &mut running => finished?,
        () = interrupted() => {
            session.output.note("interrupted: finishing the calls in flight (once more ends at once; running again continues)");
            stop.send_replace(true);
            tokio::select! {
                finished = &mut running => finished?,
                () = interrupted() => return Ok(Exit::Failed),
            }
        }
    };
    progress.finish();
    let outputs = outputs::resolve(work.target, &|address| finished.objects.get(address));
    if session.output.is_json() {
        session.output.line(&ended_json(&finished.outcome, &outputs));
    } else {
        tell_end(session, &finished.outcome, plan);
        if !outputs.is_empty() && finished.outcome.complete() {
            session.output.text(&outputs::text(&outputs));
        }
    }
    Ok(if finished.outcome.complete() { Exit::Done } else { Exit::Failed })
}

async fn interrupted() {
    let mut terminated = match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        Ok(signal) => signal,
        Err(_) => return std::future::pending().await,
    };
    tokio::select! {
        answer = tokio::signal::ctrl_c() => if answer.is_err() { std::future::pending::<()>().await },
        _ = terminated.recv() => {}
    }
}

fn ended_json(outcome: &Outcome, outputs: &outputs::Resolved) -> serde_json::Value {
    let failed: Vec<_> = outcome
        .failed
        .iter()
        .map(|failure| json!({"address": failure.address, "kind": failure.kind, "what": failure.what, "why": failure.error.to_string()}))
        .collect();
    let skipped: Vec<_> = outcome
        .skipped
        .iter()
        .map(|(address, because)| json!({"address": address, "because": because}))
        .collect();
    json!({
        "event": "ended",
        "complete": outcome.complete(),
        "changes": outcome.done,
        "longest_chain": outcome.chain,
        "failed": failed,
        "not_done": skipped,
        "stopped": outcome.stopped,
        "outputs": outputs,
    })
}

fn tell_end(session: &Session<'_>, outcome: &Outcome, plan: &Plan) {
    let style = session.output.style();
    if outcome.complete() {
        if !plan.steps.is_empty() {
            session.output.text(&format!(
                "{} {} changes made.\n",
                style.paint_tone("32", "Done:"),
                outcome.done
            ));
        }
        return;
    }
    let mut text =
        format!("{} {} changes were made, then:\n", style.paint_tone("1;31", "Not finished:"), outcome.done);
    for failure in &outcome.failed {
        text.push_str(&format!("  {}  {}: {}\n", failure.address, failure.what, failure.error));
    }
    for (address, because) in &outcome.skipped {
        text.push_str(&format!("  {address}  not done: {because}\n"));
    }
    if let Some(why) = &outcome.stopped {
        text.push_str(&format!("  stopped: {why}\n"));
    }
    text.push_str("What is done stays done; running again continues.\n");
    session.output.text(&text);
}

/// With `-v`: how many calls it took.
pub(super) fn tell_calls(session: &Session<'_>, aws: &Aws) {
    if session.cli.global.verbose == 0 {
        return;
    }
    let counts = aws.calls().counts();
    let total: u64 = counts.iter().map(|(_, _, calls)| calls).sum();
    for (service, action, calls) in &counts {
        session.output.note(&format!("{calls:>5} {service}:{action}"));
    }
    session.output.note(&format!("{total:>5} calls"));
}

pub(super) fn unknown_address(graph: &Graph, address: &Address) -> String {
    let known = graph.resources.keys().map(Address::as_str);
    let near =
        nearest(address.as_str(), known).map(|near| format!("; did you mean {near}?")).unwrap_or_default();
    format!("the environment has no {address}{near} (`infra graph` shows all addresses)")
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Whether a process of this host lives; in doubt it does.
fn alive(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    pid.is_none_or(|pid| rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
}

/// A name for this run that no other has.
fn fresh_run() -> String {
    use std::hash::{BuildHasher, RandomState};
    let random = RandomState::new().hash_one((std::process::id(), now_s()));
    format!("{random:016x}")
}

/// Used by `adopt` and `forget`: one tag change on one object.
pub(super) async fn retag(
    aws: &Aws,
    address: Address,
    object: infra_model::snapshot::Observed,
    tags: std::collections::BTreeMap<String, String>,
    remove: Vec<String>,
) -> anyhow::Result<()> {
    let operation = infra_engine::account::Operation {
        address,
        kind: object.kind,
        verb: infra_engine::account::Verb::Tag { remove },
        fields: object.fields.clone(),
        observed: Some(object),
        tags,
        token: String::new(),
    };
    aws.perform(&operation).await?;
    Ok(())
}
