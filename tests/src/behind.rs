//! Changes behind the program's back: API calls made straight to the emulator, as a person at a console would make them.
//! They go through boto3 in the emulator's own environment, so that this package needs no SDK.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::emulator;

/// Calls in order, in one process: `("ec2", "describe_vpcs", {...})`. The answers come in the same order.
pub struct Behind {
    url: String,
}

impl Behind {
    pub fn new(url: String) -> Self {
        Self { url }
    }

    pub fn calls(&self, calls: &[(&str, &str, Value)]) -> Result<Vec<Value>> {
        let list: Vec<Value> = calls
            .iter()
            .map(|(service, call, arguments)| json!({ "service": service, "call": call, "arguments": arguments }))
            .collect();
        let output = Command::new(emulator::python(&mut |_| ())?)
            .arg("-B")
            .arg(emulator::folder().join("behind.py"))
            .arg(&self.url)
            .arg(Value::from(list).to_string())
            .output()?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "behind.py: {}", complaint.lines().last().unwrap_or("no word"));
        serde_json::from_slice(&output.stdout).context("what behind.py answered")
    }

    pub fn call(&self, service: &str, call: &str, arguments: Value) -> Result<Value> {
        let mut answers = self.calls(&[(service, call, arguments)])?;
        Ok(answers.remove(0))
    }
}
