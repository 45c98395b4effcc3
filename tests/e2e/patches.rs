//! The emulator's own tests: every patch, asked through boto3 by Python's unittest in the emulator's environment.

use std::process::Command;

use e2e::emulator;

#[test]
fn every_patch_behaves_as_aws_documents() {
    let python = emulator::python(&mut |_| ()).unwrap();
    let told =
        Command::new(python).args(["-B", "-m", "unittest"]).current_dir(emulator::folder()).output().unwrap();
    let said = String::from_utf8_lossy(&told.stderr);
    assert!(told.status.success(), "{said}");
    assert!(said.contains("Ran ") && !said.contains("Ran 0 "), "unittest found no tests:\n{said}");
}
