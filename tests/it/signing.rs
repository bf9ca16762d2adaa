//! P6: what people sign is written whole or not at all.

use std::io::Write as _;

use crate::approvals::Site;
use crate::faults::SmallDisk;

/// Fills a disk but for so many bytes.
fn fill(disk: &std::path::Path, but: u64) {
    let mut filler = std::fs::File::create(disk.join("filler")).unwrap();
    while filler.write(&[0; 1 << 16]).is_ok() {}
    let length = filler.metadata().unwrap().len();
    filler.set_len(length - but).unwrap();
}

/// The names of what is on a disk but for what fills it.
fn names(disk: &std::path::Path) -> Vec<String> {
    let names = std::fs::read_dir(disk).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name != "filler").collect();
    names.sort();
    names
}

#[test]
fn p06_what_people_sign_and_their_signatures_are_written_whole_or_not_at_all() {
    let site = Site::new("");
    site.runbook(&format!(
        "steps:\n  - id: touch\n    script: |\n      touch DIR/ran\n{}",
        "      : long\n".repeat(1000)
    ));
    let path = site.path().join("disk");
    let disk = SmallDisk::at(&path);
    disk.resize(1 << 20);
    let plan = ["plan", "change.yaml", "-o", "disk/plan.yaml"];
    let full = |arguments: &[&str], but: u64, left: &[&str]| {
        fill(&path, but);
        let ran = site.interlock(arguments);
        assert_eq!(ran.code, 2, "{}", ran.stderr);
        assert!(ran.stderr.contains("No space left on device"), "{}", ran.stderr);
        assert_eq!(names(&path), left);
        std::fs::remove_file(path.join("filler")).unwrap();
    };
    // Room for a part of it; and when there is room again, nothing is in the way.
    full(&plan, 4096, &[]);
    let ran = site.interlock(&plan);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let good = std::fs::read(path.join("plan.yaml")).unwrap();
    full(&[&plan[..], &["--force"]].concat(), 4096, &["plan.yaml"]);
    assert_eq!(std::fs::read(path.join("plan.yaml")).unwrap(), good, "what was there is there");
    let approve = ["approve", "disk/plan.yaml", "--key", "bea", "--yes"];
    full(&approve, 0, &["plan.yaml"]);
    let ran = site.interlock(&approve);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(names(&path), ["plan.yaml", "plan.yaml.bea@example.org.sig"]);
}

#[test]
fn a_file_system_that_cannot_rename_without_replacing_gets_the_plan_all_the_same_and_never_over_another() {
    let site = Site::new("");
    site.runbook("steps:\n  - {id: touch, script: touch DIR/ran}\n");
    let out = site.path().join("out");
    std::fs::create_dir(&out).unwrap();
    let plan = || site.scratch.with_fault(&["plan", "change.yaml", "-o", "out/plan.yaml"], "renameat2:error=EINVAL");
    let ran = plan();
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let good = std::fs::read(out.join("plan.yaml")).unwrap();
    let ran = plan();
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(ran.stderr.contains("--force"), "{}", ran.stderr);
    assert_eq!(std::fs::read(out.join("plan.yaml")).unwrap(), good);
    assert_eq!(names(&out), ["plan.yaml"]);
}
